package pintracker

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// each status that a pin can have, and how it comes by it; the content of pin 0 is
// missing and that of pin 1 slow.
var statusCases = []struct {
	name string
	want api.TrackerStatus
	text string
	make func(r *rig, c api.Cid)
}{
	{"not in the state", api.StatusUnpinned, "", func(r *rig, c api.Cid) {}},
	{"pinned", api.StatusPinned, "", func(r *rig, c api.Cid) { r.pin(pinOf(c, me)) }},
	{"pinned everywhere", api.StatusPinned, "", func(r *rig, c api.Cid) {
		p := pinOf(c)
		p.ReplicationFactorMin, p.ReplicationFactorMax = -1, -1
		r.pin(p)
	}},
	{"pinned directly", api.StatusPinned, "", func(r *rig, c api.Cid) {
		p := pinOf(c, me)
		p.Mode = api.PinDirect
		r.pin(p)
	}},
	{"leaving", api.StatusPinned, "", func(r *rig, c api.Cid) {
		p := pinOf(c, other)
		p.Leaving = []api.PeerID{me}
		r.pin(p)
	}},
	{"held by others", api.StatusRemote, "", func(r *rig, c api.Cid) { r.pin(pinOf(c, other)) }},
	{"meta pin", api.StatusSharded, "", func(r *rig, c api.Cid) {
		p := pinOf(c, me)
		p.Type = api.PinMeta
		r.pin(p)
	}},
	{"gone from the node", api.StatusUnexpectedlyUnpinned, unexpected, func(r *rig, c api.Cid) {
		r.pin(pinOf(c, me))
		synctest.Wait()
		r.node.set(func() { delete(r.node.pinned, c) })
	}},
	{"in another mode on the node", api.StatusUnexpectedlyUnpinned, unexpected, func(r *rig, c api.Cid) {
		r.pin(pinOf(c, me))
		synctest.Wait()
		r.node.set(func() { r.node.pinned[c] = api.PinDirect })
	}},
	{"fetching", api.StatusPinning, "", func(r *rig, c api.Cid) {
		r.node.offer(c, content{bytes: 100_000})
		r.pin(pinOf(c, me))
	}},
	{"failed", api.StatusPinError, "broken", func(r *rig, c api.Cid) {
		r.node.offer(c, content{err: errors.New("broken")})
		r.pin(pinOf(c, me))
	}},
	{"unpinned", api.StatusUnpinned, "", func(r *rig, c api.Cid) {
		r.pin(pinOf(c, me))
		synctest.Wait()
		r.unpin(c)
	}},
	{"unpin failed", api.StatusUnpinError, "stuck", func(r *rig, c api.Cid) {
		r.pin(pinOf(c, me))
		synctest.Wait()
		r.node.offer(c, content{err: errors.New("stuck")})
		r.unpin(c)
	}},
	{"unpin waits", api.StatusUnpinQueued, "", func(r *rig, c api.Cid) { // late: it stops all unpins
		r.pin(pinOf(c, me))
		synctest.Wait()
		r.answer(api.Unavailable.Errorf("no leader"))
		r.unpin(c)
	}},
	{"in the state, not yet tracked", api.StatusPinQueued, "", func(r *rig, c api.Cid) { // last: nothing later is tracked
		r.state.put(pinOf(c, me))
	}},
}

func withStatuses(t *testing.T, check func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		r.start()
		defer r.stop()
		synctest.Wait()
		for i, tt := range statusCases {
			tt.make(r, numbered(i))
			synctest.Wait()
		}
		check(t, r)
	})
}

func TestTracker_Status(t *testing.T) {
	withStatuses(t, func(t *testing.T, r *rig) {
		for i, tt := range statusCases {
			info := r.Status(t.Context(), numbered(i))
			if info.Status != tt.want || info.Error != tt.text {
				t.Errorf("%s: %v %q, want %v %q", tt.name, info.Status, info.Error, tt.want, tt.text)
			}
			if info.Peer != me || info.PeerName != "mine" || info.IPFS != peerNamed("ipfs") {
				t.Errorf("%s: from %q %q %q", tt.name, info.Peer, info.PeerName, info.IPFS)
			}
			if info.Timestamp.IsZero() || info.Status == api.StatusPinned && !info.Timestamp.Equal(info.Created) {
				t.Errorf("%s: timestamp %v", tt.name, info.Timestamp)
			}
		}
	})
}

// The incumbent lists the recursive pins of its node alone, and takes direct ones for lost.
func TestD04_DirectPinsAreListedAsPinned(t *testing.T) {
	withStatuses(t, func(t *testing.T, r *rig) {
		var direct api.Cid
		for i, tt := range statusCases {
			if tt.name == "pinned directly" {
				direct = numbered(i)
			}
		}
		for filter, want := range map[api.TrackerStatus]bool{api.StatusUndefined: true, api.StatusPinned: true, api.StatusUnexpectedlyUnpinned: false} {
			page, err := r.StatusPage(t.Context(), api.StatusQuery{Limit: 100, Filter: filter})
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(page.Items, func(p api.PinInfo) bool { return p.Cid == direct })
			if (i >= 0) != want || i >= 0 && page.Items[i].Status != api.StatusPinned {
				t.Errorf("filter %v: at %d of %+v", filter, i, page.Items)
			}
		}
	})
}

// Every page, of every size, with every filter, tells what Status does: in order, each
// once, and by the one status that it has.
func TestD10_FiltersGoByTheOneStatus(t *testing.T) {
	withStatuses(t, func(t *testing.T, r *rig) {
		tracked := len(statusCases) - 1 // filters that only operations pass are blind to the last for an instant
		r.state.remove(numbered(tracked))
		filters := []api.TrackerStatus{api.StatusUndefined, api.StatusError, api.StatusQueued, opStatuses,
			api.StatusPinned | api.StatusRemote, api.StatusPinned | api.StatusPinning, fromPeers}
		for bit := api.StatusClusterError; bit <= api.StatusUnexpectedlyUnpinned; bit <<= 1 {
			filters = append(filters, bit)
		}
		for _, filter := range filters {
			var want []api.PinInfo
			for i := range tracked {
				info := r.Status(t.Context(), numbered(i))
				if info.Status != api.StatusUnpinned && info.Status.Match(filter) {
					want = append(want, info)
				}
			}
			slices.SortFunc(want, func(a, b api.PinInfo) int { return compare(a.Cid, b.Cid) })
			for limit := 1; limit < len(statusCases)+2; limit++ {
				checkItems(t, r, api.StatusQuery{Limit: limit, Filter: filter}, want)
			}
			for i := range want {
				want[i] = brief(want[i])
			}
			checkItems(t, r, api.StatusQuery{Limit: 4, Filter: filter, Brief: true}, want)
		}
	})
}

func checkItems(t *testing.T, r *rig, q api.StatusQuery, want []api.PinInfo) {
	t.Helper()
	var got []api.PinInfo
	for more := true; more; {
		page, err := r.StatusPage(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Items) > q.Limit || page.More && compare(page.Last, q.After) <= 0 {
			t.Fatalf("filter %v, limit %d: %d items, last %v", q.Filter, q.Limit, len(page.Items), page.Last)
		}
		got = append(got, page.Items...)
		more, q.After = page.More, page.Last
	}
	same := func(a, b api.PinInfo) bool {
		return a.Cid == b.Cid && a.Name == b.Name && a.Status == b.Status && a.Error == b.Error && a.Peer == b.Peer && a.PeerName == b.PeerName &&
			a.AttemptCount == b.AttemptCount && (q.Brief || a.Timestamp.Equal(b.Timestamp))
	}
	if !slices.EqualFunc(got, want, same) {
		t.Fatalf("filter %v, limit %d:\ngot  %+v\nwant %+v", q.Filter, q.Limit, got, want)
	}
}

func TestTracker_StatusOfADeadNode(t *testing.T) {
	withStatuses(t, func(t *testing.T, r *rig) {
		r.node.set(func() { r.node.down = true })
		info := r.want(numbered(1), api.StatusClusterError)
		if info.Error != errDown.Error() {
			t.Fatalf("error %q", info.Error)
		}
		page, err := r.StatusPage(t.Context(), api.StatusQuery{Limit: 100})
		if err != nil || len(page.Items) != len(statusCases)-2 {
			t.Fatalf("%d items, %v", len(page.Items), err)
		}
		for _, item := range page.Items {
			if one := r.Status(t.Context(), item.Cid); one.Status != item.Status || one.Error != item.Error {
				t.Fatalf("%v in the page, %v alone", item.Status, one.Status)
			}
		}
	})
}

func TestTracker_RecoverAll(t *testing.T) {
	withStatuses(t, func(t *testing.T, r *rig) {
		failed := 0
		for i := range statusCases {
			if r.Status(t.Context(), numbered(i)).Status.Match(recoverable) {
				failed++
			}
		}
		r.answer(nil)
		r.node.mend()
		page, err := r.RecoverAll(t.Context(), api.StatusQuery{})
		if err != nil || len(page.Items) != failed || failed != 4 {
			t.Fatalf("%d of %d recovered, %v", len(page.Items), failed, err)
		}
		time.Sleep(time.Minute)
		for _, item := range page.Items {
			if s := r.status(item.Cid); s != api.StatusPinned && s != api.StatusUnpinned {
				t.Errorf("%v after its recovery", s)
			}
		}
	})
}
