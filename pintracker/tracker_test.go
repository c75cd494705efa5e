package pintracker

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

func TestTracker_PinsAndUnpins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		c := numbered(1)
		r.start()
		defer r.stop()
		r.pin(pinOf(c, me))
		synctest.Wait()
		r.want(c, api.StatusPinned)
		r.unpin(c)
		synctest.Wait()
		r.want(c, api.StatusUnpinned)
		if _, ok := r.node.pinned[c]; ok {
			t.Fatal("still on the node")
		}
		if n, _ := r.Pending(); n != 0 {
			t.Fatalf("%d pending", n)
		}
	})
}

func TestTracker_PinsOfOthersCostTheNodeNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Exclusive: true})
		r.start()
		defer r.stop()
		synctest.Wait()
		for i := range 100 {
			r.pin(pinOf(numbered(i), other))
			r.unpin(numbered(i))
		}
		synctest.Wait()
		if len(r.node.unpins)+len(r.node.finds)+len(r.node.pins) != 0 {
			t.Fatalf("node was asked: %d unpins, %d finds, %d pins", len(r.node.unpins), len(r.node.finds), len(r.node.pins))
		}
	})
}

func TestTracker_GoodPinsDoNotWaitBehindUnreachable(t *testing.T) {
	const unreachable, good = 5000, 500
	tests := []struct {
		name   string
		before time.Duration // how long the unreachable ones have been tried
	}{
		{"all new", 0},
		{"unreachable failing for a minute", time.Minute},
		{"unreachable failing for an hour", time.Hour},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Options{})
				for i := range unreachable {
					r.node.content[numbered(i)] = content{missing: true}
				}
				for i := unreachable; i < unreachable+good; i++ {
					r.node.content[numbered(i)] = content{bytes: 10, takes: 10 * time.Millisecond}
				}
				r.start()
				defer r.stop()
				for i := range unreachable {
					r.pin(pinOf(numbered(i), me))
				}
				time.Sleep(tt.before)
				for i := unreachable; i < unreachable+good; i++ {
					r.pin(pinOf(numbered(i), me))
				}
				time.Sleep(5 * time.Second)
				synctest.Wait()
				if n := len(r.node.pinned); n != good {
					t.Fatalf("%d of %d pinned after 5 s", n, good)
				}
				info := r.want(numbered(0), r.status(numbered(0)))
				if info.Cause != api.CauseNoProvider || info.AttemptCount == 0 {
					t.Fatalf("unreachable: cause %q after %d attempts", info.Cause, info.AttemptCount)
				}
			})
		})
	}
}
