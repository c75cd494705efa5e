package main

import (
	"errors"
	"slices"
)

// opened is what has been opened, to be closed in the reverse order.
type opened struct {
	closers []func() error
}

func (o *opened) closes(f func() error) { o.closers = append(o.closers, f) }

// Close releases everything, in the reverse order of opening.
func (o *opened) Close() error {
	var errs []error
	for _, f := range slices.Backward(o.closers) {
		errs = append(errs, f())
	}
	o.closers = nil
	return errors.Join(errs...)
}
