package consensus

import "sync"

// A fault keeps the first error after which this peer must not go on: a disk that
// failed or hangs, an entry that cannot be read, a snapshot that cannot be restored.
// Run ends with it.
type fault struct {
	once sync.Once
	done chan struct{} // closed once err is set
	err  error
}

func newFault() *fault { return &fault{done: make(chan struct{})} }

// raise records err unless an earlier one is there.
func (f *fault) raise(err error) {
	f.once.Do(func() {
		f.err = err
		close(f.done)
	})
}

// stop raises err and never returns: raft may not act on what its disk has not kept,
// and would panic, or step down and be elected again, if it were told.
func (f *fault) stop(err error) {
	f.raise(err)
	select {}
}

// raised tells the error, nil so far.
func (f *fault) raised() error {
	select {
	case <-f.done:
		return f.err
	default:
		return nil
	}
}
