package web

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	// lingering is how long a client that was refused may go on sending.
	lingering = time.Second
	// unreadBody is how long net/http waits for the rest of a body that nobody read, before
	// an error goes out and after any answer: else for ever.
	unreadBody = 5 * time.Second
)

// ErrorOf turns err into what a client reads: the status of its kind, and its text
// on one line.
func ErrorOf(err error) *api.Error {
	var e *api.Error
	if errors.As(err, &e) {
		return e
	}
	code := api.KindOf(err).Status()
	var big *http.MaxBytesError
	if errors.As(err, &big) {
		code = http.StatusRequestEntityTooLarge
	}
	return &api.Error{Code: code, Message: oneLine(err.Error())}
}

// An ErrorWriter is a door that words its errors in its own way. Where the handler given
// to Wrap is one, the shared checks word theirs so too.
type ErrorWriter interface {
	WriteError(w http.ResponseWriter, e *api.Error)
}

// doorOf finds the door that w is an answer of, nil where it words no errors.
func doorOf(w http.ResponseWriter) ErrorWriter {
	for {
		switch v := w.(type) {
		case *recorder:
			return v.door
		case interface{ Unwrap() http.ResponseWriter }:
			w = v.Unwrap()
		default:
			return nil
		}
	}
}

// WriteError answers with err. Nothing may have been written before.
func WriteError(w http.ResponseWriter, err error) {
	e := ErrorOf(err)
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(unreadBody)) // what has no connection waits for nothing
	if door := doorOf(w); door != nil {
		door.WriteError(w, e)
		return
	}
	// Two strings and a number: this cannot fail, and a lost client needs no answer.
	body, _ := json.Marshal(e)
	w.Header().Set("Content-Type", jsonType)
	w.WriteHeader(e.Code)
	_, _ = w.Write(append(body, '\n'))
}

// HandlerFunc answers a request, or returns why not. It returns an error only where
// it has not written anything.
type HandlerFunc func(w http.ResponseWriter, r *http.Request) error

// Handle makes an http.Handler of f that answers with its errors. Those that are a
// fault of ours are logged. Where f has set "Connection: close", because it did not
// read the body to its end, what the client still sends is read for a second: else
// its connection is reset, and it may not see the answer.
func Handle(log *slog.Logger, f HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := f(w, r)
		if err == nil {
			return
		}
		if r.Context().Err() == nil && api.KindOf(err) == api.Internal {
			log.Error("request failed", "method", r.Method, "path", r.URL.Path, "err", err)
		}
		WriteError(w, err)
		if w.Header().Get("Connection") == "close" {
			linger(w, r)
		}
	}
}

func linger(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	if rc.Flush() != nil || rc.SetReadDeadline(time.Now().Add(lingering)) != nil {
		return // no connection, no reset
	}
	_, _ = io.Copy(io.Discard, r.Body)
}

func oneLine(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
