package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// history is what writers were told. Each CID has one writer, which leaves it alone
// after an answer that says nothing of the outcome; so what the pinset must hold of
// it is known, or it is in doubt for good.
type history struct {
	mu      sync.Mutex
	want    map[api.Cid]want
	acks    []ack
	refused int // writes of which nothing is to have happened
	doubt   int
}

type want struct {
	pinned, inDoubt bool
	name            string
}

type ack struct {
	through    string
	began, was time.Time
}

// A change makes c what w says through p. It tells whether that was refused for the
// moment, which means that nothing happened.
type change func(ctx context.Context, p *testPeer, c api.Cid, w want) (refused bool, err error)

// overREST makes changes as clients do.
func overREST(ctx context.Context, p *testPeer, c api.Cid, w want) (refused bool, err error) {
	if w.pinned {
		o := copies(1)
		o.Name = w.name
		_, err = p.http.Pin(ctx, c, o)
	} else {
		_, err = p.http.Unpin(ctx, c)
	}
	return code(err) == http.StatusServiceUnavailable, err
}

// write keeps n writers busy through p until ctx ends. Each pins, pins again under
// another name, and unpins CIDs of its own.
func (h *history) write(ctx context.Context, p *testPeer, n int, change change) {
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			var own []api.Cid
			for ctx.Err() == nil {
				c := randomCid()
				if len(own) > 0 && rand.IntN(3) == 0 {
					c = own[rand.IntN(len(own))]
				}
				if again := h.one(ctx, p, c, change); again {
					own = append(own, c)
					continue
				}
				select {
				case <-ctx.Done():
				case <-time.After(20 * time.Millisecond):
				}
			}
		})
	}
	all.Wait()
}

// one changes c and tells whether it may be changed again.
func (h *history) one(ctx context.Context, p *testPeer, c api.Cid, change change) bool {
	h.mu.Lock()
	now := h.want[c]
	h.mu.Unlock()
	if now.inDoubt {
		return false
	}
	next := want{pinned: true, name: fmt.Sprint(rand.Uint64())}
	if now.pinned && rand.IntN(2) == 0 {
		next = want{}
	}
	began := time.Now()
	refused, err := change(ctx, p, c, next)
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case err == nil:
		h.acks = append(h.acks, ack{p.name, began, time.Now()})
	case code(err) == http.StatusAccepted || api.KindOf(err) == api.Lagging: // done, though p cannot show it yet
		err = nil
	case refused:
		h.refused++
		next = now // check finds it if that is not true
	default:
		next.inDoubt = true
		h.doubt++
		if code(err) != 0 && code(err) < 500 {
			p.t.Errorf("write through %s: %v", p.name, err)
		}
	}
	h.want[c] = next
	return err == nil
}

func newHistory() *history { return &history{want: map[api.Cid]want{}} }

// acknowledged is how many writes were.
func (h *history) acknowledged() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.acks)
}

// wait returns once n more writes than before were acknowledged.
func (h *history) wait(t *testing.T, n int) {
	t.Helper()
	n += h.acknowledged()
	eventually(t, patience, func() error {
		if got := h.acknowledged(); got < n {
			return fmt.Errorf("%d writes were acknowledged, want %d", got, n)
		}
		return nil
	})
}

// recovered tells how long after a moment the first write that began later was
// acknowledged through p.
func (h *history) recovered(p *testPeer, after time.Time) (time.Duration, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range h.acks {
		if a.through == p.name && a.began.After(after) {
			return a.was.Sub(after), true
		}
	}
	return 0, false
}

// check compares what p lists with what writers were told.
func (h *history) check(t *testing.T, p *testPeer) {
	t.Helper()
	got := p.pinset()
	h.mu.Lock()
	defer h.mu.Unlock()
	for c, w := range h.want {
		pin, there := got[c]
		delete(got, c)
		if w.inDoubt {
			continue
		}
		if there != w.pinned || pin.Name != w.name {
			t.Errorf("%s has %s as %t %q, acknowledged was %t %q", p.name, c, there, pin.Name, w.pinned, w.name)
		}
	}
	if len(got) > 0 {
		t.Errorf("%s has %d pins that nobody made", p.name, len(got))
	}
}
