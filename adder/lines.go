package adder

import "github.com/pinfold-cluster/pinfold/api"

// lines are those of the answer. The last one names what is pinned, so it waits until
// that has happened.
type lines struct {
	out     func(api.AddedOutput) error
	holders func() []api.PeerID
	held    *api.AddedOutput
}

// progress tells how much of a file has been read.
func (l *lines) progress(name string, bytes uint64) error {
	if err := l.release(); err != nil {
		return err
	}
	return l.out(api.AddedOutput{Name: name, Bytes: bytes})
}

// added tells of a finished node.
func (l *lines) added(o api.AddedOutput) error {
	if err := l.release(); err != nil {
		return err
	}
	o.Allocations = l.holders()
	l.held = &o
	return nil
}

func (l *lines) release() error {
	if l.held == nil {
		return nil
	}
	o := *l.held
	l.held = nil
	return l.out(o)
}

// last lets the last line go, with the peers that hold the root.
func (l *lines) last(holders []api.PeerID) error {
	if l.held != nil {
		l.held.Allocations = holders
	}
	return l.release()
}
