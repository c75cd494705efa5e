package pintracker

import (
	"errors"
	"math/rand/v2"
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

// D17: the incumbent sends an unpin to every node for every pin of others.
func TestD17_PinsOfOthersCostTheNodeNothing(t *testing.T) {
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
	const good = 500
	tests := []struct {
		name        string
		before      time.Duration // how long the unreachable ones have been tried
		window      int
		unreachable int
	}{
		{"all new", 0, 0, 5000},
		{"unreachable failing for minutes", 200 * time.Second, 0, 5000},
		{"all new, and more than are in memory", 0, 300, 1000},
		{"failing, and more than are in memory", 200 * time.Second, 300, 1000},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				unreachable := tt.unreachable
				r := newRig(t, Options{Window: tt.window})
				for i := range unreachable {
					r.node.offer(numbered(i), content{missing: true})
				}
				for i := unreachable; i < unreachable+good; i++ {
					r.node.offer(numbered(i), content{bytes: 10, takes: 10 * time.Millisecond})
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
				info := r.Status(t.Context(), numbered(0))
				if info.Cause != api.CauseNoProvider || info.AttemptCount == 0 {
					t.Fatalf("unreachable: cause %q after %d attempts", info.Cause, info.AttemptCount)
				}
			})
		})
	}
}

func TestTracker_StalledFetchesGiveTheirSlotsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Workers: 4})
		const stalling = 20
		r.start()
		defer r.stop()
		for i := range stalling {
			r.node.offer(numbered(i), content{bytes: 5, stalls: true})
			r.pin(pinOf(numbered(i), me))
			time.Sleep(time.Millisecond)
		}
		for i := stalling; i < stalling+10; i++ {
			r.pin(pinOf(numbered(i), me))
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := len(r.node.pinned); n != 10 {
			t.Fatalf("%d of 10 pinned while %d stall", n, stalling)
		}
		time.Sleep(6 * time.Second)
		info := r.want(numbered(0), api.StatusPinError)
		if info.Cause != api.CauseStalled || info.Bytes != 5 || info.AttemptCount != 1 || info.Error == "" {
			t.Fatalf("stalled: %+v", info.PinInfoShort)
		}
	})
}

func TestTracker_SlowFetchKeepsItsSlotAndTellsItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Workers: 1})
		slow, next := pinOf(numbered(1), me), pinOf(numbered(2), me)
		slow.Size = 1 << 20
		r.node.offer(slow.Cid, content{bytes: 10_000})
		r.start()
		defer r.stop()
		r.pin(slow)
		synctest.Wait()
		r.pin(next)
		time.Sleep(5100 * time.Millisecond)
		synctest.Wait()
		info := r.want(slow.Cid, api.StatusPinning)
		if info.Rate < 900 || info.Rate > 1100 || info.Bytes < 5000 {
			t.Fatalf("%d bytes at %d bytes/s, want 5100 at 1000", info.Bytes, info.Rate)
		}
		r.want(next.Cid, api.StatusPinQueued)
		if n, bytes := r.Pending(); n != 2 || bytes != 1<<20-info.Bytes {
			t.Fatalf("pending %d pins, %d bytes", n, bytes)
		}
		time.Sleep(5 * time.Second)
		r.want(slow.Cid, api.StatusPinned)
		r.want(next.Cid, api.StatusPinned)
		if n, bytes := r.Pending(); n != 0 || bytes != 0 {
			t.Fatalf("pending %d pins, %d bytes", n, bytes)
		}
	})
}

func TestTracker_RetriesWithBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		c := numbered(1)
		r.node.offer(c, content{err: api.CauseBadBlock.Wrap(errors.New("bad varint"))})
		r.start()
		defer r.stop()
		r.pin(pinOf(c, me))
		wait := 5 * time.Second
		for n := 1; n <= 12; n++ {
			synctest.Wait()
			info := r.want(c, api.StatusPinError)
			if info.AttemptCount != n || info.Cause != api.CauseBadBlock || info.Error != "bad varint" {
				t.Fatalf("attempt %d: %+v", n, info.PinInfoShort)
			}
			next := time.Until(info.NextTry)
			if next < wait || next > wait*5/4+time.Second {
				t.Fatalf("attempt %d: next try in %v, want %v to %v", n, next, wait, wait*5/4)
			}
			time.Sleep(next)
			wait = min(2*wait, time.Hour)
		}
		r.node.set(func() { delete(r.node.content, c) })
		if info, err := r.Recover(t.Context(), c); err != nil || info.Status == api.StatusPinError {
			t.Fatalf("recover: %v, %v", info.Status, err)
		}
		synctest.Wait()
		r.want(c, api.StatusPinned)
	})
}

func TestTracker_RetriesAtOnceWhenAHolderIsHeardOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		shared, mine := numbered(1), numbered(2)
		r.node.offer(shared, content{missing: true})
		r.node.offer(mine, content{missing: true})
		r.start()
		defer r.stop()
		r.pin(pinOf(shared, me, other))
		r.pin(pinOf(mine, me))
		time.Sleep(time.Hour)
		r.node.mend()
		before := r.want(mine, api.StatusPinError).AttemptCount
		r.Heard(other)
		synctest.Wait()
		r.want(shared, api.StatusPinned)
		if info := r.want(mine, api.StatusPinError); info.AttemptCount != before {
			t.Fatal("a pin that the peer does not hold was retried too")
		}
		r.Retry(mine)
		synctest.Wait()
		r.want(mine, api.StatusPinned)
	})
}

func TestTracker_UntrackStopsAFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		c := numbered(1)
		r.node.offer(c, content{takes: 10 * time.Second})
		r.start()
		defer r.stop()
		r.pin(pinOf(c, me))
		time.Sleep(500 * time.Millisecond)
		r.want(c, api.StatusPinning)
		r.unpin(c)
		synctest.Wait()
		r.want(c, api.StatusUnpinned)
		if len(r.node.unpins) != 1 || len(r.node.pinned) != 0 {
			t.Fatalf("%d unpins, %d pinned", len(r.node.unpins), len(r.node.pinned))
		}
		r.pin(pinOf(c, me))
		time.Sleep(2 * time.Minute)
		r.want(c, api.StatusPinned)
	})
}

func TestTracker_ModeChangePinsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		p := pinOf(numbered(1), me)
		r.start()
		defer r.stop()
		r.pin(p)
		synctest.Wait()
		p.Mode = api.PinDirect
		r.pin(p)
		synctest.Wait()
		r.want(p.Cid, api.StatusPinned)
		if r.node.pinned[p.Cid] != api.PinDirect || len(r.node.unpins) != 0 {
			t.Fatalf("mode %v after %d unpins", r.node.pinned[p.Cid], len(r.node.unpins))
		}
		p.Name = "renamed"
		r.pin(p)
		synctest.Wait()
		if n := r.node.pins[p.Cid]; n != 2 {
			t.Fatalf("a new name made it pin again: %d calls", n)
		}
	})
}

func TestTracker_KeepsFailuresOverARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		c, lost := pinOf(numbered(1), me), pinOf(numbered(2), me)
		c.Size = 77
		full := api.Full.Errorf("no room for %d bytes", 77)
		r.node.offer(c.Cid, content{bytes: 9, stalls: true})
		r.node.offer(lost.Cid, content{err: full})
		r.start()
		r.pin(c)
		r.pin(lost)
		time.Sleep(18 * time.Second)
		before := r.want(c.Cid, api.StatusPinError)
		r.stop()
		r.state.remove(lost.Cid) // while nobody listens

		r.open()
		after := r.want(c.Cid, api.StatusPinError)
		if after.AttemptCount != before.AttemptCount || after.Cause != api.CauseStalled || after.Error != before.Error ||
			!after.NextTry.Equal(before.NextTry) || !after.Timestamp.Equal(before.Timestamp) || after.Bytes != 9 {
			t.Fatalf("before %+v\nafter  %+v", before.PinInfoShort, after.PinInfoShort)
		}
		if n, bytes := r.Pending(); n != 2 || bytes != 77 {
			t.Fatalf("pending %d pins, %d bytes", n, bytes)
		}
		r.node.mend()
		r.start()
		time.Sleep(time.Hour)
		r.want(c.Cid, api.StatusPinned)
		r.want(lost.Cid, api.StatusUnpinned)
		r.stop()
		r.open()
		if n, _ := r.Pending(); n != 0 {
			t.Fatalf("%d pending after both are done with", n)
		}
	})
}

func TestTracker_DeadNodeIsTriedGently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		r.node.down = true
		r.start()
		defer r.stop()
		for i := range 5000 {
			r.pin(pinOf(numbered(i), me))
		}
		time.Sleep(10 * time.Minute)
		failures := 0
		for i := range 5000 {
			failures += r.Status(t.Context(), numbered(i)).AttemptCount
		}
		if failures == 0 || failures > 1500 {
			t.Fatalf("%d tries in 10 minutes", failures)
		}
		r.node.set(func() { r.node.down = false })
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if n := len(r.node.pinned); n != 5000 {
			t.Fatalf("%d of 5000 pinned 20 s after the node is back", n)
		}
	})
}

// Whatever the order of pins, unpins, moves, failures and restarts, node and state
// agree in the end.
func TestTracker_Converges(t *testing.T) {
	for seed := range uint64(8) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			o := Options{Exclusive: seed%2 == 0, Workers: 3, Finders: 5}
			if seed >= 4 {
				o.Window = 2 + int(seed%3) // less than there is to do
			}
			r := newRig(t, o)
			r.start()
			for range 300 {
				c := numbered(rng.IntN(20))
				old, known := r.state.pins[c]
				switch n := rng.IntN(20); {
				case n < 8:
					p := pinOf(c, me, other)
					p.Mode = api.PinMode(rng.IntN(2))
					r.pin(p)
				case n < 13 && known:
					r.unpin(c)
				case n < 15 && known && old.HeldBy(me):
					old.Allocations, old.Leaving = []api.PeerID{other}, []api.PeerID{me}
					r.pin(old)
					old.Leaving = nil
					time.Sleep(time.Duration(rng.IntN(2)) * time.Second)
					r.pin(old)
				case n < 17:
					r.node.offer(c, content{err: errors.New("broken"), missing: rng.IntN(2) == 0})
				case n < 19:
					r.node.offer(c, content{takes: time.Second})
				default:
					r.stop()
					if known {
						r.state.remove(c) // unheard
					}
					r.open()
					r.start()
				}
				time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
			}
			r.node.mend()
			time.Sleep(2 * time.Hour)
			synctest.Wait()
			for i := range 20 {
				c := numbered(i)
				p := r.state.pins[c]
				mode, pinned := r.node.pinned[c]
				if pinned != p.HeldBy(me) || pinned && mode != p.Mode {
					t.Errorf("seed %d, pin %d: on the node %v, held %v", seed, i, pinned, p.HeldBy(me))
				}
			}
			if n := r.ops.byCid.Len(); n != 0 || r.ops.pins != 0 || r.ops.bytes != 0 || r.ops.busy != 0 || r.ops.finding != 0 || r.ops.retrying != 0 {
				t.Errorf("seed %d: %d operations left: %+v", seed, n, r.ops)
			}
			if r.backlog.open || r.backlog.count != (tally{}) {
				t.Errorf("seed %d: left: %+v", seed, r.backlog)
			}
			r.stop()
		})
	}
}

func TestTracker_NewPinDoesNotWaitForPatientSearches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Finders: 8})
		r.start()
		defer r.stop()
		for i := range 200 {
			r.node.offer(numbered(i), content{missing: true})
			r.pin(pinOf(numbered(i), me))
		}
		time.Sleep(time.Hour)
		for i := 200; i < 220; i++ {
			r.pin(pinOf(numbered(i), me))
			time.Sleep(100 * time.Millisecond)
			r.want(numbered(i), api.StatusPinned)
		}
	})
}

func TestTracker_ChangeDuringAFetchIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		p := pinOf(numbered(1), me)
		r.node.offer(p.Cid, content{takes: 10 * time.Second})
		r.start()
		defer r.stop()
		r.pin(p)
		time.Sleep(5 * time.Second)
		p.Mode = api.PinDirect
		r.pin(p)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if mode := r.node.pinned[p.Cid]; mode != api.PinDirect {
			t.Fatalf("pinned as %v", mode)
		}
		r.want(p.Cid, api.StatusPinned)
	})
}
