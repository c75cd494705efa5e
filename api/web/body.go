package web

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	// stalledUpload is how long a client may send nothing of a body.
	stalledUpload = 2 * time.Minute
	// ignoredBody is how long a body that is not needed may take.
	ignoredBody = 10 * time.Second
)

// Body reads a request's body without an end to its length, but not from a client
// that has stopped sending: after two minutes of nothing reading fails. Errors are
// Invalid, or TooLarge past a limit; io.EOF is as ever.
type Body struct {
	r  io.Reader
	of *http.Request
	rc *http.ResponseController

	mu      sync.Mutex
	set     time.Time // when the deadline was last moved
	stopped bool

	err error // of the reader's goroutine alone
}

// NewBody returns the body of r. Nothing else may read it.
func NewBody(w http.ResponseWriter, r *http.Request) *Body {
	return &Body{r: r.Body, of: r, rc: http.NewResponseController(w)}
}

// Read implements io.Reader.
func (b *Body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	b.extend()
	n, err := b.r.Read(p)
	if err == nil {
		return n, nil
	}
	b.release()
	var big *http.MaxBytesError
	switch {
	case errors.Is(err, io.EOF):
		b.err = io.EOF
	case errors.As(err, &big):
		b.err = api.TooLarge.Errorf("the body is over %d bytes", big.Limit)
	default:
		b.Spoil()
		b.err = api.Invalid.Errorf("read the body: %w", cut(err))
	}
	return n, b.err
}

// cut words why a body ends too early, which is often in terms of sockets.
func cut(err error) error {
	var socket *net.OpError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("it stalled: nothing more of it came in time")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("it was cut off before its end: send it again")
	case errors.As(err, &socket):
		return fmt.Errorf("its connection broke: %w", socket.Err)
	}
	return err
}

// Ignore reads a body that is not needed, so that it does not stand in the way of the
// answer: net/http waits for it, be it for ever. The error is TooLarge over most bytes,
// and Invalid where it has not come whole within ten seconds.
func Ignore(w http.ResponseWriter, r *http.Request, most int64) error {
	if r.ContentLength == 0 {
		return nil
	}
	if r.ContentLength > most {
		return api.TooLarge.Errorf("the body is over %d bytes", most)
	}
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(ignoredBody)) // what has no connection cannot stall
	n, err := io.Copy(io.Discard, io.LimitReader(r.Body, most+1))
	if err != nil {
		w.Header().Set("Connection", "close") // no more waiting for it
		return api.Invalid.Errorf("the body, which is not needed, did not come whole: %w", cut(err))
	}
	if n > most {
		return api.TooLarge.Errorf("the body is over %d bytes", most)
	}
	_ = rc.SetReadDeadline(time.Time{})
	return nil
}

// Stop makes a Read in progress, and those to come, fail. The connection is of no use
// to another request then. It may be called from any goroutine.
func (b *Body) Stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped = true
	b.deadline(time.Unix(1, 0))
}

func (b *Body) extend() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now := time.Now(); !b.stopped && now.Sub(b.set) > time.Second {
		b.set = now
		b.deadline(now.Add(stalledUpload))
	}
}

// release takes the deadline off: what net/http reads next is the wait for another
// request, or for this client to go, and may take long.
func (b *Body) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.stopped {
		b.deadline(time.Time{})
	}
}

// deadline moves the connection's. A connection that has none cannot stall.
func (b *Body) deadline(t time.Time) { _ = b.rc.SetReadDeadline(t) }
