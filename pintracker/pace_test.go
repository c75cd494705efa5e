package pintracker

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
)

// slowNode is a node whose blocks come over one line, in the order in which they were
// asked for. What is given up before its turn does not come.
type slowNode struct {
	*fakeNode
	rate  int // bytes a second
	asked chan *block
	came  atomic.Uint64
}

type block struct {
	bytes int
	gone  atomic.Bool
	here  chan struct{}
}

func newSlowNode(rate int) *slowNode {
	return &slowNode{fakeNode: newFakeNode(), rate: rate, asked: make(chan *block, 10_000)}
}

// carry carries blocks until ctx ends.
func (n *slowNode) carry(ctx context.Context) {
	const packet = 16 << 10
	for {
		select {
		case <-ctx.Done():
			return
		case b := <-n.asked:
			if b.gone.Load() {
				continue
			}
			for left := b.bytes; left > 0; left -= packet {
				if wait(ctx, time.Second*packet/time.Duration(n.rate)) != nil {
					return
				}
				n.came.Add(uint64(min(left, packet)))
			}
			close(b.here)
		}
	}
}

func (n *slowNode) get(ctx context.Context, bytes int) error {
	b := &block{bytes: bytes, here: make(chan struct{})}
	n.asked <- b
	select {
	case <-b.here:
		return nil
	case <-ctx.Done():
		b.gone.Store(true)
		return ctx.Err()
	}
}

func (n *slowNode) Find(ctx context.Context, p api.Pin) error {
	if err := n.fakeNode.Find(ctx, p); err != nil {
		return err
	}
	return n.get(ctx, 16<<10)
}

func (n *slowNode) Pin(ctx context.Context, p api.Pin, progress func(uint64)) error {
	var blocks errgroup.Group
	var got atomic.Uint64
	for range p.Size / firstBytes {
		blocks.Go(func() error {
			err := n.get(ctx, firstBytes)
			if err == nil {
				progress(got.Add(firstBytes))
			}
			return err
		})
	}
	if err := blocks.Wait(); err != nil {
		return err
	}
	return n.fakeNode.Pin(ctx, p, func(uint64) {})
}

// On a slow line, too, what nobody has holds up nothing: it is waited for only while what
// there is has the line.
func TestTracker_SlowLineBesideUnreachable(t *testing.T) {
	const rate, size = 256 << 10, 4 << 20
	for _, tt := range []struct {
		name              string
		unreachable, good int
		within            time.Duration
	}{
		{"large ones", 150, 7, 150 * time.Second},          // the line needs 112 s
		{"many that nobody has", 1500, 3, 6 * time.Minute}, // seven a second are looked for
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				node := newSlowNode(rate)
				r := newRig(t, Options{Rate: rate, CameIn: node.came.Load})
				r.Tracker.node = node
				go node.carry(t.Context())
				all := tt.unreachable + tt.good
				apart := all / tt.good
				for i := range all {
					if i%apart != apart-1 {
						node.offer(numbered(i), content{missing: true})
					}
				}
				r.start()
				defer r.stop()
				for i := range all {
					p := pinOf(numbered(i), me)
					p.Size = size
					r.pin(p)
				}
				time.Sleep(tt.within)
				synctest.Wait()
				if n := len(node.pinned); n != tt.good {
					t.Errorf("%d of %d pinned after %s", n, tt.good, tt.within)
				}
				if came, want := node.came.Load(), uint64(tt.good*size); came > want*11/10 {
					t.Errorf("%d bytes came in for %d", came, want)
				}
			})
		})
	}
}
