package pintracker

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// What does not fit in memory is told of, counted, tried in turn and taken back as if it did.
func TestBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const all, window = 300, 20
		r := newRig(t, Options{Window: window, Finders: 10, Exclusive: true, MaxBackoff: time.Minute})
		for i := range all {
			r.node.offer(numbered(i), content{missing: true})
		}
		for i := range all {
			r.pin(pinOf(numbered(i), me))
		}
		count := func(where string, want map[api.TrackerStatus]int) {
			t.Helper()
			got, listed := map[api.TrackerStatus]int{}, map[api.TrackerStatus]int{}
			for i := range all {
				info := r.Status(t.Context(), numbered(i))
				got[info.Status]++
				if info.Status == api.StatusPinError && (info.AttemptCount == 0 || info.Cause != api.CauseNoProvider || info.NextTry.IsZero()) {
					t.Errorf("%s: %+v", where, info)
				}
			}
			for s := range got {
				if s == api.StatusUnpinned { // no list has these
					continue
				}
				for after, more := api.CidUndef, true; more; {
					page, err := r.StatusPage(t.Context(), api.StatusQuery{Filter: s, After: after, Limit: 50})
					r.check(err)
					listed[s] += len(page.Items)
					after, more = page.Last, page.More
				}
				if listed[s] != got[s] {
					t.Errorf("%s: %d are %v, listed are %d", where, got[s], s, listed[s])
				}
			}
			for s, n := range want {
				if got[s] != n {
					t.Errorf("%s: %d are %v, want %d", where, got[s], s, n)
				}
			}
			if n := r.ops.byCid.Len(); n > window {
				t.Errorf("%s: %d in memory", where, n)
			}
		}
		count("before it runs", map[api.TrackerStatus]int{api.StatusPinQueued: all})
		if n, _ := r.Pending(); n != all {
			t.Errorf("%d pending, want %d", n, all)
		}
		r.start()
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		count("when all have been tried", map[api.TrackerStatus]int{api.StatusUnexpectedlyUnpinned: 0})
		if n, _ := r.Pending(); n < all*9/10 || n > all*11/10 {
			t.Errorf("%d pending, want about %d", n, all)
		}
		r.stop()
		r.open()
		count("after a restart", map[api.TrackerStatus]int{api.StatusPinError: all})
		r.start()
		for i := range 100 {
			r.unpin(numbered(i))
		}
		time.Sleep(time.Minute)
		r.node.mend()
		r.Heard(me) // nobody else
		r.Heard(other)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if n := len(r.node.pinned); n != all-100 {
			t.Errorf("%d on the node, want %d", n, all-100)
		}
		count("at the end", map[api.TrackerStatus]int{api.StatusPinned: all - 100, api.StatusUnpinned: 100})
		time.Sleep(time.Hour)
		synctest.Wait()
		if n, _ := r.Pending(); n != 0 || r.backlog.open {
			t.Errorf("%d pending: %+v", n, r.backlog)
		}
		r.stop()
		r.open()
		if n, _ := r.Pending(); n != 0 {
			t.Errorf("the journal has %d still", n)
		}
	})
}

// A pin that has failed and is left to the backlog is tried at once when it is asked for.
func TestBacklog_Recover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Window: 4, Finders: 4, Backoff: time.Hour})
		for i := range 20 {
			r.node.offer(numbered(i), content{missing: true})
			r.pin(pinOf(numbered(i), me))
		}
		r.start()
		defer r.stop()
		time.Sleep(10 * time.Minute)
		c := numbered(7)
		was := r.want(c, api.StatusPinError)
		r.node.mend()
		if _, err := r.Tracker.Recover(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if is := r.want(c, api.StatusPinned); was.AttemptCount == 0 {
			t.Errorf("was %+v, is %+v", was, is)
		}
	})
}

// What waits takes some bytes each as long as there is room, and nothing beyond: of one
// request with a million pins most are beyond.
func TestBacklog_TakesNoMemory(t *testing.T) {
	const most = 400 // bytes of an operation, and of what is told of it
	r := newRig(t, Options{Exclusive: true})
	window := r.Tracker.o.Window
	pins := make([]api.Pin, 3*window)
	for i := range pins {
		pins[i] = pinOf(numbered(i), me)
	}
	grown := func(pins []api.Pin) int64 {
		before := inUse()
		for _, p := range pins {
			r.Track(p)
		}
		return inUse() - before
	}
	if n := grown(pins[:window]); n > int64(window*most) {
		t.Errorf("%d operations take %d bytes, %d each", window, n, n/int64(window))
	}
	if n := grown(pins[window:]); n > int64(window*most/10) {
		t.Errorf("%d more that wait take %d bytes", len(pins)-window, n)
	}
	if n, _ := r.Pending(); n != len(pins) {
		t.Errorf("%d are pending, want %d", n, len(pins))
	}
	runtime.KeepAlive(pins)
}

// inUse is what the heap holds, in bytes.
func inUse() int64 {
	runtime.GC()
	runtime.GC() // what the first has found to be in a pool no more
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
