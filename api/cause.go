package api

import (
	"context"
	"errors"
)

// Wrap marks err with cause c, keeping its text and its Kind. It is nil for a nil err.
// A mark put on later, further out, is the one that CauseOf finds.
func (c Cause) Wrap(err error) error {
	if err == nil {
		return nil
	}
	return &causeError{cause: c, err: err}
}

type causeError struct {
	cause Cause
	err   error
}

func (e *causeError) Error() string { return e.err.Error() }
func (e *causeError) Unwrap() error { return e.err }

// CauseOf tells why a pin failed: the outermost mark on err; without one,
// CauseDiskFull for an error of kind Full, CauseTooBig for TooLarge,
// CauseBackendDown for Unavailable, else, and for a context's end, CauseOther. It is
// "" for nil.
func CauseOf(err error) Cause {
	if err == nil {
		return ""
	}
	var e *causeError
	if errors.As(err, &e) {
		return e.cause
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return CauseOther
	}
	switch KindOf(err) {
	case Full:
		return CauseDiskFull
	case TooLarge:
		return CauseTooBig
	case Unavailable:
		return CauseBackendDown
	}
	return CauseOther
}
