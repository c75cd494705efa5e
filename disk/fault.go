// Package disk opens Pebble databases such that a disk which fails or is full ends in
// an error. Pebble itself panics where its log or its list of files cannot be written,
// at times with locks in a state that a recovered goroutine trips over.
//
// The one idea: whoever meets such an error stands still for ever, having raised a
// Fault; so whatever writes runs beside its caller. Once the fault is raised all writes,
// those under way too, return its error, and closing leaves the database to the end of
// the process, which is to come soon.
package disk

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"

	"github.com/pinfold-cluster/pinfold/api"
)

// A Fault keeps the first error after which a database cannot be written any more. It is
// part of a pebble.Logger: Pebble tells it by Fatalf.
type Fault struct {
	what string
	once sync.Once
	done chan struct{} // closed once err is set
	err  error
}

// NewFault returns one that is not raised. Its errors begin with what.
func NewFault(what string) *Fault { return &Fault{what: what, done: make(chan struct{})} }

// Run returns nil once ctx has ended, or the error once the fault is raised: then the
// process should end.
func (f *Fault) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-f.done:
		return f.err
	}
}

// Err is the error, nil so far. It is Full, with its cause, where the disk is full.
func (f *Fault) Err() error {
	select {
	case <-f.done:
		return f.err
	default:
		return nil
	}
}

// Fatalf is Pebble's last word. It raises the fault and, as it must, never returns.
func (f *Fault) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	for _, a := range args {
		if cause, ok := a.(error); ok {
			err = cause // says which file
		}
	}
	f.raise(err)
	select {}
}

// stop returns where err is nil. Else it raises the fault and never returns.
func (f *Fault) stop(err error) error {
	if err != nil {
		f.raise(err)
		select {}
	}
	return nil
}

func (f *Fault) raise(err error) {
	f.once.Do(func() {
		full := errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
		f.err = fmt.Errorf("%s cannot be written: %w", f.what, err)
		if full {
			f.err = api.CauseDiskFull.Wrap(api.Full.Errorf("%w", f.err))
		}
		close(f.done)
	})
}

// Do returns what write does, or the fault's error once it is raised. Then write may
// stand still for ever: nothing that it uses may be released.
func (f *Fault) Do(write func() error) error {
	if err := f.Err(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- write() }()
	select {
	case err := <-done:
		return err
	case <-f.done:
		return f.err
	}
}
