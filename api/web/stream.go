package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	// flushDelay is the longest that a line waits for others to share its flush.
	flushDelay = 10 * time.Millisecond
	// flushBytes is how much waits at most.
	flushBytes = 32 << 10
	// stalledClient is how long a client may take nothing of a stream.
	stalledClient = time.Minute
)

// Stream answers with JSON lines. The status is 200 once there is a line. The first
// line goes out at once, and so does one after a pause; others wait up to 10 ms and
// share a flush. The X-Stream-Error trailer, always there, is empty or says what
// ended the stream; X-Pinfold-Error-Code then has the status of that.
//
// One goroutine may use a Stream. It must call End before its handler returns.
type Stream struct {
	w  http.ResponseWriter
	rc *http.ResponseController

	mu      sync.Mutex // guards what follows from the timer
	buf     []byte
	started bool
	ended   bool
	armed   bool // the timer is running
	timer   *time.Timer
	flushed time.Time
	err     error // of writing
}

// NewStream starts an answer of lines to w.
func NewStream(w http.ResponseWriter) *Stream {
	w.Header().Set("Content-Type", jsonType)
	w.Header().Set("Trailer", api.StreamErrorTrailer)
	return &Stream{w: w, rc: http.NewResponseController(w)}
}

// Start sends the status and headers before there is a line.
func (s *Stream) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flush()
	return s.err
}

// Send writes v as a line. An error means that the client has gone or that v cannot
// be encoded.
func (s *Stream) Send(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode a line: %w", err)
	}
	return s.Append(func(b []byte) ([]byte, error) { return append(b, line...), nil })
}

// Append writes the line that encode appends to its argument. What it appended is
// dropped where it fails.
func (s *Stream) Append(encode func([]byte) ([]byte, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	b, err := encode(s.buf)
	if err != nil {
		return err
	}
	s.buf = append(b, '\n')
	switch {
	case len(s.buf) >= flushBytes:
		s.write()
	case time.Since(s.flushed) >= flushDelay:
		s.flush()
	case !s.armed:
		s.arm()
	}
	return s.err
}

// EndQuietly completes an answer that did not fail, without the trailer.
func (s *Stream) EndQuietly() error {
	err := s.End(nil)
	s.w.Header().Del(api.StreamErrorTrailer)
	return err
}

// End completes the answer: 204 where there was no line. Where there was none and err
// is not nil it returns err, for the handler to return. Otherwise it returns nil.
func (s *Stream) End(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
	}
	s.ended = true
	if !s.started && len(s.buf) == 0 {
		if err != nil {
			s.w.Header().Del("Trailer")
			return err
		}
		s.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	s.flush()
	s.deadline(time.Time{})
	message := ""
	if err != nil {
		e := ErrorOf(err)
		message = e.Message
		s.w.Header().Set(http.TrailerPrefix+api.StreamCodeTrailer, strconv.Itoa(e.Code))
	}
	s.w.Header().Set(api.StreamErrorTrailer, message)
	return nil
}

func (s *Stream) arm() {
	s.armed = true
	if s.timer != nil {
		s.timer.Reset(flushDelay)
		return
	}
	s.timer = time.AfterFunc(flushDelay, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.armed = false
		if !s.ended && s.err == nil && len(s.buf) > 0 {
			s.flush()
		}
	})
}

// write hands what waits to the connection.
func (s *Stream) write() {
	if s.err != nil {
		return
	}
	if !s.started {
		s.started = true
		s.w.WriteHeader(http.StatusOK)
	}
	s.deadline(time.Now().Add(stalledClient))
	_, s.err = s.w.Write(s.buf)
	s.buf = s.buf[:0]
}

func (s *Stream) flush() {
	s.write()
	if s.err != nil {
		return
	}
	if err := s.rc.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		s.err = err
	}
	s.flushed = time.Now()
}

func (s *Stream) deadline(t time.Time) {
	if err := s.rc.SetWriteDeadline(t); err != nil && !errors.Is(err, http.ErrNotSupported) && s.err == nil {
		s.err = err
	}
}
