package sim

import (
	"io"
	"os"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
)

// window bounds what is under way in one direction of a stream, in bytes: yamux's first.
const window = 256 << 10

// pipe is one direction of a stream. What is written can be read once it has arrived.
type pipe struct {
	mu      sync.Mutex
	chunks  []chunk
	size    int       // bytes in chunks
	ended   bool      // nothing more is written
	err     error     // reading and writing fail
	read    time.Time // deadlines
	write   time.Time
	changed chan struct{} // closed at the next change
}

type chunk struct {
	at time.Time // it arrives
	b  []byte
}

func newPipe() *pipe { return &pipe{changed: make(chan struct{})} }

// change does f and wakes all who wait.
func (p *pipe) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	close(p.changed)
	p.changed = make(chan struct{})
}

// Read is io.Reader's.
func (p *pipe) Read(b []byte) (int, error) {
	for {
		p.mu.Lock()
		n, until, err := p.take(b)
		changed := p.changed
		p.mu.Unlock()
		if n > 0 || err != nil {
			return n, err
		}
		wait(changed, until)
	}
}

// take reads what has arrived. Where that is nothing yet, it says when to look again:
// the zero time for after a change.
func (p *pipe) take(b []byte) (n int, until time.Time, err error) {
	now := time.Now()
	switch {
	case p.err != nil:
		return 0, until, p.err
	case !p.read.IsZero() && !now.Before(p.read):
		return 0, until, os.ErrDeadlineExceeded
	case len(p.chunks) == 0 && p.ended:
		return 0, until, io.EOF
	case len(p.chunks) == 0:
		return 0, p.read, nil
	case now.Before(p.chunks[0].at):
		return 0, earlier(p.chunks[0].at, p.read), nil
	}
	first := &p.chunks[0]
	n = copy(b, first.b)
	if first.b = first.b[n:]; len(first.b) == 0 {
		p.chunks = p.chunks[1:]
	}
	if p.size >= window && p.size-n < window { // a writer may wait
		close(p.changed)
		p.changed = make(chan struct{})
	}
	p.size -= n
	return n, until, nil
}

// send queues a copy of b, which arrives at the time that arrival gives.
func (p *pipe) send(b []byte, arrival func() time.Time) error {
	for {
		p.mu.Lock()
		err, full := p.err, p.size >= window
		if p.ended {
			err = io.ErrClosedPipe
		}
		if err == nil && !p.write.IsZero() && !time.Now().Before(p.write) {
			err = os.ErrDeadlineExceeded
		}
		until, changed := p.write, p.changed
		p.mu.Unlock()
		if err != nil {
			return err
		}
		if !full {
			break
		}
		wait(changed, until)
	}
	own := append([]byte(nil), b...)
	p.change(func() {
		p.chunks = append(p.chunks, chunk{arrival(), own})
		p.size += len(own)
	})
	return nil
}

// finish ends writing: who reads gets all that was sent before io.EOF.
func (p *pipe) finish() { p.change(func() { p.ended = true }) }

// reset breaks the pipe.
func (p *pipe) reset() {
	p.change(func() {
		if p.err == nil {
			p.err = network.ErrReset
		}
		p.chunks, p.size = nil, 0
	})
}

// wait returns at a change, or at the time given unless that is zero.
func wait(changed <-chan struct{}, until time.Time) {
	if until.IsZero() {
		<-changed
		return
	}
	t := time.NewTimer(time.Until(until))
	defer t.Stop()
	select {
	case <-changed:
	case <-t.C:
	}
}

// earlier of two times; a zero b is never.
func earlier(a, b time.Time) time.Time {
	if b.IsZero() || a.Before(b) {
		return a
	}
	return b
}
