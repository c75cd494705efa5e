package pintracker

import (
	"context"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	// beat is how often fetches are looked at.
	beat = 500 * time.Millisecond
	// quiet is how long a fetch keeps its slot without new bytes, where bytes have no bound.
	quiet = time.Second
	// firstStall is what part of Options.Stall a fetch may stand still at its first try,
	// as a divisor; it doubles with each.
	firstStall = 8
)

// watch measures the fetches: one to which no bytes come gives its slot to another,
// takes it back when they come again, and is stopped where they do not.
func (t *Tracker) watch(ctx context.Context) error {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			t.measure(now)
		}
	}
}

func (t *Tracker) measure(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.look(now)
	s := &t.ops
	followed := t.news.followed()
	for o := range s.fetching {
		r := o.run
		bytes := r.bytes.Load()
		grown := bytes - min(r.seen, bytes)
		r.rate = (r.rate + uint64(float64(grown)/beat.Seconds())) / 2
		r.seen = bytes
		if grown > 0 {
			r.moved = now
			if followed {
				t.tellOf(o)
			}
		}
		still := t.waited(r.moved, now)
		switch idle := still >= t.o.quiet(); {
		case idle && !r.idle:
			r.idle = true
			s.busy--
			signal(t.wake)
		case !idle && r.idle:
			r.idle = false
			s.busy++ // over the limit, if need be: nothing new starts until it is under
		}
		if limit := t.o.stall(o.rank); still >= limit {
			r.cancel(api.CauseStalled.Wrap(api.Unavailable.Errorf("no new blocks for %s, %d bytes so far", limit, bytes)))
		}
	}
}
