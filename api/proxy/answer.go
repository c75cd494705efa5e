package proxy

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
)

// exposed are the headers that pages of other origins may read.
const exposed = "X-Stream-Output, X-Chunked-Output, X-Content-Length"

// answer is how a command answers: with one value, a stream of values, or bytes.
// Nothing is sent before the first of them, so that an error may still be the answer.
type answer struct {
	w     http.ResponseWriter
	lines *web.Stream
	begun bool // the status is sent
	body  bool // the request has one, which may not be read to its end
}

func newAnswer(w http.ResponseWriter, body bool) *answer { return &answer{w: w, body: body} }

func (a *answer) header() http.Header {
	h := a.w.Header()
	h.Set("Access-Control-Allow-Headers", exposed)
	h.Set("Access-Control-Expose-Headers", exposed)
	h.Set("Trailer", api.StreamErrorTrailer)
	if a.body {
		h.Set("Connection", "close")
	}
	return h
}

// once answers with v alone.
func (a *answer) once(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	a.header().Set("Content-Type", "application/json")
	a.begun = true
	a.w.WriteHeader(http.StatusOK)
	_, err = a.w.Write(append(line, '\n'))
	return err
}

// emit sends v as a line.
func (a *answer) emit(v any) error {
	if err := a.begin(); err != nil {
		return err
	}
	return a.lines.Send(v)
}

// begin starts a stream of values that may turn out empty.
func (a *answer) begin() error {
	if a.lines != nil {
		return nil
	}
	h := a.header()
	a.lines, a.begun = web.NewStream(a.w), true
	h.Set("X-Chunked-Output", "1")
	return a.lines.Start()
}

// size announces how many bytes copy is going to send.
func (a *answer) size(n uint64) {
	a.w.Header().Set("X-Content-Length", strconv.FormatUint(n, 10))
}

// stalledClient is how long a client may take nothing of an answer.
const stalledClient = time.Minute

// copy answers with the bytes of r, of the media type given.
func (a *answer) copy(r io.Reader, mediaType string) error {
	rc := http.NewResponseController(a.w)
	defer func() { _ = rc.SetWriteDeadline(time.Time{}) }() // a connection without deadlines cannot stall
	buf := make([]byte, 256<<10)
	for {
		n, err := r.Read(buf)
		if err != nil && err != io.EOF {
			if n > 0 && a.begun {
				_, _ = a.w.Write(buf[:n]) // the error tells that this is not all
			}
			return err
		}
		if !a.begun {
			a.begun = true
			h := a.header()
			h.Set("X-Stream-Output", "1")
			h.Set("Content-Type", mediaType)
			a.w.WriteHeader(http.StatusOK)
		}
		if gone := a.writeNow(rc, buf[:n], err != io.EOF); gone != nil || err == io.EOF {
			return gone
		}
	}
}

// writeNow sends bytes, and sees to it that they do not wait for more where flush is
// set. A client that takes nothing for a while has gone.
func (a *answer) writeNow(rc *http.ResponseController, b []byte, flush bool) error {
	_ = rc.SetWriteDeadline(time.Now().Add(stalledClient)) // a connection without deadlines cannot stall
	if _, err := a.w.Write(b); err != nil {
		return errGone
	}
	if !flush {
		return nil
	}
	if err := rc.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return errGone
	}
	return nil
}

// errGone says that nobody takes the answer any more.
var errGone = api.Unavailable.Errorf("the client has gone")

// failed is an error on the wire.
type failed struct {
	Message string
	Code    int
	Type    string
}

// clientError is a fault that Kubo answers with 400.
type clientError struct{ error }

func (e clientError) Unwrap() error { return e.error }

// end completes the answer. What it returns is worth logging.
func (a *answer) end(err error) error {
	switch {
	case a.lines != nil && err == nil:
		return a.lines.EndQuietly()
	case a.lines != nil:
		return a.lines.End(err)
	case a.begun:
		if err != nil {
			a.w.Header().Set(api.StreamErrorTrailer, web.ErrorOf(err).Message)
		}
		return nil
	case err == nil:
		if err := a.begin(); err != nil {
			return nil // the client has gone
		}
		return a.lines.EndQuietly()
	}
	f, status := failed{Message: err.Error(), Type: "error"}, http.StatusInternalServerError
	var fault clientError
	if errors.As(err, &fault) {
		f.Code, status = 1, http.StatusBadRequest
	}
	body, _ := json.Marshal(f) // two strings and a number: this cannot fail
	a.w.Header().Del("X-Content-Length")
	a.header().Set("Content-Type", "application/json")
	a.w.WriteHeader(status)
	_, _ = a.w.Write(append(body, '\n'))
	return nil
}
