package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// A Kind is a class of error. It is itself an error, so errors.Is finds it in any
// error made by Errorf or wrapped around one.
type Kind string

// The kinds. What a caller can do about an error follows from its kind; a door
// turns it into a status in one table.
const (
	Invalid     Kind = "invalid request"   // the caller's fault; nothing happened
	NotFound    Kind = "not found"         // nothing happened
	Conflict    Kind = "conflict"          // something else stands in the way; nothing happened
	Denied      Kind = "permission denied" // not for this caller; nothing happened
	TooLarge    Kind = "too large"         // over a limit; nothing happened
	Full        Kind = "no space left"     // a disk or the allowed storage is full
	Unavailable Kind = "unavailable"       // nothing happened; worth a retry
	Unknown     Kind = "outcome unknown"   // it may have happened or not; look before a retry
	Unsupported Kind = "not supported"     // this peer cannot do it
	Internal    Kind = "internal error"    // a fault of ours
)

// Error implements error.
func (k Kind) Error() string { return string(k) }

// Errorf makes an error of kind k whose text is only the formatted one; %w works.
func (k Kind) Errorf(format string, args ...any) error {
	return &kindError{kind: k, err: fmt.Errorf(format, args...)}
}

type kindError struct {
	kind Kind
	err  error
}

func (e *kindError) Error() string   { return e.err.Error() }
func (e *kindError) Unwrap() []error { return []error{e.kind, e.err} }

// KindOf tells the kind of err: that of the outermost error that has one, else
// Unavailable for a context's end, else Internal. It is "" for nil.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	var e *kindError
	if errors.As(err, &e) {
		return e.kind
	}
	var k Kind
	if errors.As(err, &k) {
		return k
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return Unavailable
	}
	return Internal
}

// httpStatuses is the one table of what each kind of error is on HTTP.
var httpStatuses = map[Kind]int{
	Invalid:     http.StatusBadRequest,
	NotFound:    http.StatusNotFound,
	Conflict:    http.StatusConflict,
	Denied:      http.StatusForbidden,
	TooLarge:    http.StatusRequestEntityTooLarge,
	Full:        http.StatusInsufficientStorage,
	Unavailable: http.StatusServiceUnavailable,
	Unknown:     http.StatusGatewayTimeout,
	Unsupported: http.StatusNotImplemented,
	Internal:    http.StatusInternalServerError,
	Lagging:     http.StatusAccepted, // done, but not to be seen here yet
}

// Status is the HTTP status of an error of kind k.
func (k Kind) Status() int {
	if status, ok := httpStatuses[k]; ok {
		return status
	}
	return http.StatusInternalServerError
}

// Fault is an error as it crosses between peers.
type Fault struct {
	Kind    Kind   `cbor:"1,keyasint"`
	Message string `cbor:"2,keyasint"`
}

// FaultOf returns err as a Fault, nil for nil.
func FaultOf(err error) *Fault {
	if err == nil {
		return nil
	}
	return &Fault{Kind: KindOf(err), Message: err.Error()}
}

// Err returns the Fault as an error of its kind, nil for nil.
func (f *Fault) Err() error {
	if f == nil {
		return nil
	}
	return f.Kind.Errorf("%s", f.Message)
}

// Error is the body of a failed HTTP request: the status and what went wrong.
type Error struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("%s (%d)", e.Message, e.Code) }

// Unwrap gives the Kind that the status stands for, so that KindOf and errors.Is tell
// the same on both sides of a door. A status that no kind has is Invalid where it
// blames the caller, else Internal.
func (e *Error) Unwrap() error {
	for kind, status := range httpStatuses {
		if status == e.Code {
			return kind
		}
	}
	switch {
	case e.Code == http.StatusUnauthorized:
		return Denied
	case e.Code == http.StatusRequestHeaderFieldsTooLarge:
		return TooLarge
	case e.Code >= 400 && e.Code < 500:
		return Invalid
	}
	return Internal
}
