package gateway

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	// patience is how long a request keeps its slot without moving a byte where another
	// wants it.
	patience = 3 * time.Second
	// retryAfter is when a client is told to come back.
	retryAfter = 10 * time.Second
)

// errGaveWay is the cause of the end of a request that had stalled, because of a client
// that does not read or content that does not come, when another wanted its slot.
var errGaveWay = errors.New("the gateway is busy, and this request has not moved for a while")

// slots bounds the requests that are answered at once. Where all slots are taken, the
// request that has moved no byte for longest, patience at least, gives its slot up: so
// neither clients that do not read nor content that nobody has hold up the others.
type slots struct {
	max int

	mu    sync.Mutex
	taken map[*slot]struct{}
}

// slot is a request that is being answered.
type slot struct {
	cancel context.CancelCauseFunc
	began  time.Time
	conn   *conn // nil where the request came by no listener of ours

	mu      sync.Mutex
	moved   time.Time // when the client has last taken bytes; at first, when it came
	writing bool      // a write is in progress
	failed  bool      // what was sent is not whole, and its end must not look as if it were
}

func newSlots(n int) *slots { return &slots{max: n, taken: map[*slot]struct{}{}} }

// take takes a slot for s, and tells whether there was one.
func (a *slots) take(s *slot) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.taken) >= a.max && !a.freeOne() {
		return false
	}
	a.taken[s] = struct{}{}
	return true
}

func (a *slots) freeOne() bool {
	var victim *slot
	oldest := time.Now().Add(-patience)
	for s := range a.taken {
		if moved := s.lastMoved(); !moved.After(oldest) {
			victim, oldest = s, moved
		}
	}
	if victim == nil {
		return false
	}
	delete(a.taken, victim)
	victim.giveWay()
	return true
}

func (a *slots) leave(s *slot) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.taken, s)
}

func (s *slot) lastMoved() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.moved
}

// giveWay ends the request: with an answer where it waits for content, by the connection
// where it waits for its client.
func (s *slot) giveWay() {
	s.cancel(errGaveWay)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writing && s.conn != nil {
		s.conn.cut()
	}
}

func (s *slot) fail() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = true
}

type slotKey struct{}

// bound answers requests by h within slots: 429 where none is free. At debug level it
// tells log of each.
func bound(all *slots, h http.Handler, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		now := time.Now()
		s := &slot{cancel: cancel, began: now, moved: now}
		s.conn, _ = ctx.Value(connKey{}).(*conn)
		a := &answer{ResponseWriter: w, slot: s, status: http.StatusOK}
		defer func() {
			log.Debug("request", "method", r.Method, "host", r.Host, "path", r.URL.Path, "status", a.status, "bytes", a.sent, "remote", r.RemoteAddr,
				"took", time.Since(s.began))
		}()
		if !all.take(s) {
			if r.ContentLength != 0 {
				w.Header().Set("Connection", "close")
			}
			http.Error(a, "the gateway is answering as many requests as it may; try again later", http.StatusTooManyRequests)
			return
		}
		defer all.leave(s)
		h.ServeHTTP(a, r.WithContext(context.WithValue(ctx, slotKey{}, s)))
		s.mu.Lock()
		failed := s.failed
		s.mu.Unlock()
		if failed {
			panic(http.ErrAbortHandler) // the connection ends without the end of the body
		}
	})
}

// answer tells the slot of what the client takes. What went wrong is not cached, and
// where a later try may do better, it says when.
type answer struct {
	http.ResponseWriter
	slot   *slot
	status int
	sent   int64 // bytes of the body
}

func (a *answer) WriteHeader(code int) {
	a.status = code
	if code >= http.StatusBadRequest {
		a.Header().Del("Etag")
		a.Header().Del("Cache-Control")
	}
	switch code {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		a.Header().Set("Retry-After", strconv.Itoa(int(retryAfter.Seconds())))
		a.Header().Set("Cache-Control", "no-store")
	}
	a.ResponseWriter.WriteHeader(code)
}

func (a *answer) Write(p []byte) (int, error) {
	a.slot.mu.Lock()
	a.slot.writing = true
	a.slot.mu.Unlock()
	n, err := a.ResponseWriter.Write(p)
	a.sent += int64(n)
	a.slot.mu.Lock()
	defer a.slot.mu.Unlock()
	a.slot.writing = false
	if n > 0 {
		a.slot.moved = time.Now()
	}
	return n, err
}

// Flush implements http.Flusher.
func (a *answer) Flush() {
	if f, ok := a.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// Hijack implements http.Hijacker: boxo ends an answer that stalls by the connection.
func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(a.ResponseWriter).Hijack()
}
