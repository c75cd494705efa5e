package pintracker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pinfold-cluster/pinfold/api"
)

// fakeRemote reaches other Trackers of the process, over the wire's encoding.
type fakeRemote struct {
	peers map[api.PeerID]*Tracker
	fail  map[api.PeerID]error
	hang  map[api.PeerID]bool
	after int // pages that a peer in fail or hang answers before
	pages map[api.PeerID]int
	calls chan api.PeerID // of single statuses; nil: not told
	dead  map[api.PeerID]error
}

func (f *fakeRemote) reach(ctx context.Context, p api.PeerID) (*Tracker, error) {
	if f.fail[p] != nil {
		return nil, f.fail[p]
	}
	if f.hang[p] {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return f.peers[p], nil
}

func (f *fakeRemote) Status(ctx context.Context, p api.PeerID, c api.Cid) (api.PinInfo, error) {
	if f.calls != nil {
		f.calls <- p
	}
	t, err := f.reach(ctx, p)
	if err != nil {
		return api.PinInfo{}, err
	}
	return wire(t.Status(ctx, c))
}

func (f *fakeRemote) Recover(ctx context.Context, p api.PeerID, c api.Cid) (api.PinInfo, error) {
	t, err := f.reach(ctx, p)
	if err != nil {
		return api.PinInfo{}, err
	}
	return t.Recover(ctx, c)
}

func (f *fakeRemote) Statuses(ctx context.Context, p api.PeerID, q api.StatusQuery) (api.StatusPage, error) {
	if f.pages != nil {
		f.pages[p]++
		if f.pages[p] <= f.after {
			page, err := f.peers[p].StatusPage(ctx, q)
			if err != nil {
				return page, err
			}
			return wire(page)
		}
	}
	t, err := f.reach(ctx, p)
	if err != nil {
		return api.StatusPage{}, err
	}
	page, err := t.StatusPage(ctx, q)
	if err != nil {
		return page, err
	}
	return wire(page)
}

func (f *fakeRemote) RecoverAll(ctx context.Context, p api.PeerID, q api.StatusQuery) (api.StatusPage, error) {
	t, err := f.reach(ctx, p)
	if err != nil {
		return api.StatusPage{}, err
	}
	return t.RecoverAll(ctx, q)
}

// wire is v after it has crossed between peers.
func wire[T any](v T) (out T, err error) {
	data, err := api.Encode(v)
	if err != nil {
		return out, err
	}
	return out, api.Decode(data, &out)
}

var (
	p0, p1, p2 = peerNamed("p0"), peerNamed("p1"), peerNamed("p2")
	threePeers = []api.PeerID{p0, p1, p2}
)

// clusterOf is three peers with the same pins; on each, those that it is to hold are
// pinned. It is seen from p0.
func clusterOf(t testing.TB, pins ...api.Pin) (*Global, *fakeRemote) {
	t.Helper()
	remote := &fakeRemote{peers: map[api.PeerID]*Tracker{}, fail: map[api.PeerID]error{}, hang: map[api.PeerID]bool{}}
	var members []api.Member
	for i, id := range threePeers {
		node, state := newFakeNode(), newFakePins(pins...)
		for _, p := range pins {
			if p.HeldBy(id) {
				node.pinned[p.Cid] = p.Mode
			}
		}
		self := Self{ID: id, Name: fmt.Sprintf("peer%d", i), IPFS: func() api.IPFSID { return api.IPFSID{ID: peerNamed("ipfs" + string(id))} }}
		tr, err := New(self, node, state, func(context.Context) error { return nil }, t.TempDir(), Options{}, quietLog)
		if err != nil {
			t.Fatal(err)
		}
		tr.journal.sync = pebble.NoSync
		t.Cleanup(func() {
			if err := tr.Close(); err != nil {
				t.Error(err)
			}
		})
		remote.peers[id] = tr
		members = append(members, api.Member{ID: id, Name: self.Name})
	}
	dead := func(p api.PeerID) error { return remote.dead[p] }
	return NewGlobal(func() []api.Member { return members }, dead, remote.peers[p0], remote), remote
}

// twoOfThree is n pins, each on two of the three peers.
func twoOfThree(n int) []api.Pin {
	var pins []api.Pin
	for i := range n {
		p := pinOf(numbered(i), threePeers[i%3], threePeers[(i+1)%3])
		p.Name = fmt.Sprint("pin ", i)
		pins = append(pins, p)
	}
	return pins
}

func collect(t *testing.T, g *Global, filter api.TrackerStatus) []api.GlobalPinInfo {
	t.Helper()
	var all []api.GlobalPinInfo
	for info, err := range g.List(t.Context(), filter) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, info)
	}
	if !slices.IsSortedFunc(all, func(a, b api.GlobalPinInfo) int { return compare(a.Cid, b.Cid) }) {
		t.Fatal("out of order")
	}
	return all
}

// statuses are what info says of the three peers, in their order; -1 of one it leaves out.
func statuses(info api.GlobalPinInfo) (s [3]api.TrackerStatus) {
	for i, id := range threePeers {
		short, ok := info.PeerMap[id.String()]
		if s[i] = short.Status; !ok {
			s[i] = none
		}
	}
	return s
}

const none api.TrackerStatus = 1 << 31

func TestGlobal_StatusAsksOnlyHolders(t *testing.T) {
	g, remote := clusterOf(t, twoOfThree(1)...)
	remote.calls = make(chan api.PeerID, 10)
	info, err := g.Status(t.Context(), numbered(0))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := statuses(info), [3]api.TrackerStatus{api.StatusPinned, api.StatusPinned, api.StatusRemote}; got != want {
		t.Fatalf("got %v, want %v", got, want)
	}
	if p := <-remote.calls; p != p1 || len(remote.calls) != 0 {
		t.Fatalf("asked %v and %d others", p, len(remote.calls))
	}
	if short := info.PeerMap[threePeers[1].String()]; short.PeerName != "peer1" || short.IPFS != peerNamed("ipfs"+string(p1)) || info.Name != "pin 0" {
		t.Fatalf("%+v of %q", short, info.Name)
	}
}

// A peer that the log has not told of a pin yet will hold it: "unpinned" would say that
// it does not.
func TestGlobal_HolderThatHasNotHeardYet(t *testing.T) {
	g, remote := clusterOf(t, twoOfThree(1)...) // on p0 and p1
	remote.peers[p1].pins = newFakePins()
	want := [3]api.TrackerStatus{api.StatusPinned, api.StatusPinQueued, api.StatusRemote}
	info, err := g.Status(t.Context(), numbered(0))
	if got := statuses(info); err != nil || got != want {
		t.Fatalf("status: got %v, %v, want %v", got, err, want)
	}
	if got := statuses(collect(t, g, api.StatusUndefined)[0]); got != want {
		t.Fatalf("list: got %v, want %v", got, want)
	}
	elsewhere := pinOf(numbered(0), p2)
	remote.peers[p1].pins = newFakePins(elsewhere)
	info, err = g.Status(t.Context(), numbered(0))
	if got := statuses(info); err != nil || got != want {
		t.Fatalf("with an older record: got %v, %v, want %v", got, err, want)
	}
}

func TestGlobal_StatusOfAnUnknownCid(t *testing.T) {
	g, _ := clusterOf(t)
	info, err := g.Status(t.Context(), numbered(0))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := statuses(info), [3]api.TrackerStatus{api.StatusUnpinned, api.StatusUnpinned, api.StatusUnpinned}; got != want {
		t.Fatalf("got %v, want %v", got, want)
	}
	if info.Allocations == nil || info.Origins != nil || info.Metadata != nil || info.Created.IsZero() {
		t.Fatalf("%+v", info)
	}
}

func TestGlobal_UnreachablePeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, remote := clusterOf(t, twoOfThree(3)...)
		remote.fail[p1] = api.Unavailable.Errorf("connection refused")
		remote.hang[p2] = true
		start := time.Now()
		info, err := g.Status(t.Context(), numbered(1)) // on p1 and p2
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != peerTimeout {
			t.Fatalf("took %v", took)
		}
		want := [3]api.TrackerStatus{api.StatusRemote, api.StatusClusterError, api.StatusClusterError}
		if got := statuses(info); got != want {
			t.Fatalf("got %v, want %v", got, want)
		}
		if short := info.PeerMap[threePeers[1].String()]; short.Error != "connection refused" || short.PeerName != "peer1" {
			t.Fatalf("%+v", short)
		}
		all := collect(t, g, api.StatusUndefined)
		if len(all) != 3 {
			t.Fatalf("%d items", len(all))
		}
		for _, listed := range all {
			alone, err := g.Status(t.Context(), listed.Cid)
			if err != nil || statuses(alone) != statuses(listed) {
				t.Fatalf("listed %v, alone %v, %v", statuses(listed), statuses(alone), err)
			}
		}
		if n := len(collect(t, g, api.StatusClusterError)); n != 3 {
			t.Fatalf("%d items with cluster errors", n)
		}
		if n := len(collect(t, g, api.StatusPinned)); n != 2 {
			t.Fatalf("%d items pinned", n)
		}
		errs := 0
		for _, err := range g.RecoverAll(t.Context()) {
			if err != nil {
				errs++
			}
		}
		if errs != 2 {
			t.Fatalf("recovery told of %d peers it could not ask, want 2", errs)
		}
	})
}

// Nobody waits for a peer that is known to be dead; its row says why.
func TestGlobal_DeadPeerIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, remote := clusterOf(t, twoOfThree(300)...)
		remote.hang[p2] = true
		remote.dead = map[api.PeerID]error{p2: api.Unavailable.Errorf("the peer is dead")}
		start := time.Now()
		info, err := g.Status(t.Context(), numbered(1)) // on p1 and p2
		if err != nil || info.PeerMap[p2.String()].Error != "the peer is dead" || statuses(info)[1] != api.StatusPinned {
			t.Fatalf("%+v, %v", info, err)
		}
		if all := collect(t, g, api.StatusUndefined); len(all) != 300 {
			t.Fatalf("%d items", len(all))
		}
		if all := collect(t, g, api.StatusClusterError); len(all) != 200 || all[0].PeerMap[p2.String()].Error != "the peer is dead" {
			t.Fatalf("%d items with cluster errors", len(all))
		}
		for _, err := range g.RecoverAll(t.Context()) {
			if err == nil || !strings.Contains(err.Error(), "the peer is dead") {
				t.Fatalf("recovery: %v", err)
			}
		}
		if took := time.Since(start); took > 0 {
			t.Fatalf("took %v", took)
		}
	})
}

func TestGlobal_ListTellsWhatStatusDoes(t *testing.T) {
	pins := twoOfThree(900)
	pins[5].Type = api.PinMeta
	pins[6].ReplicationFactorMin, pins[6].Allocations = -1, nil
	g, remote := clusterOf(t, pins...)
	failed, lost := pins[1].Cid, pins[2].Cid // on p1 and p2; on p2 and p0
	t1, t2 := remote.peers[p1], remote.peers[p2]
	t1.Track(pins[1])
	t1.mu.Lock()
	t1.park(t1.ops.get(failed), api.CauseDiskFull.Wrap(fmt.Errorf("no room")), 12, time.Now())
	t1.mu.Unlock()
	delete(t2.node.(*fakeNode).pinned, lost)
	unpinning := numbered(9999) // in nobody's state any more
	t2.Untrack(pinOf(unpinning, p2))

	for _, filter := range []api.TrackerStatus{api.StatusUndefined, api.StatusPinned, api.StatusRemote, api.StatusSharded,
		api.StatusError, api.StatusUnexpectedlyUnpinned, api.StatusUnpinQueued, api.StatusRemote | api.StatusPinError} {
		want := map[api.Cid]map[string]api.PinInfoShort{}
		for _, c := range append(cidsOf(pins), unpinning) {
			info, err := g.Status(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			maps.DeleteFunc(info.PeerMap, func(_ string, s api.PinInfoShort) bool { return !s.Status.Match(filter) })
			if len(info.PeerMap) > 0 {
				want[c] = info.PeerMap
			}
		}
		got := collect(t, g, filter)
		if len(got) != len(want) {
			t.Fatalf("filter %v: %d items, want %d", filter, len(got), len(want))
		}
		for _, info := range got {
			same := func(a, b api.PinInfoShort) bool {
				return a.Status == b.Status && a.Error == b.Error && a.Cause == b.Cause && a.PeerName == b.PeerName && a.AttemptCount == b.AttemptCount && a.Bytes == b.Bytes
			}
			if !maps.EqualFunc(info.PeerMap, want[info.Cid], same) {
				t.Fatalf("filter %v, %s:\ngot  %+v\nwant %+v", filter, info.Cid, info.PeerMap, want[info.Cid])
			}
		}
	}
	all := collect(t, g, api.StatusPinError)
	if len(all) != 1 || all[0].Name != "pin 1" || len(all[0].Allocations) != 2 {
		t.Fatalf("%+v", all)
	}
}

func cidsOf(pins []api.Pin) (all []api.Cid) {
	for _, p := range pins {
		all = append(all, p.Cid)
	}
	return all
}

func TestGlobal_PeerThatFailsHalfway(t *testing.T) {
	g, remote := clusterOf(t, twoOfThree(3000)...)
	remote.fail[p1] = api.Unavailable.Errorf("reset")
	remote.pages, remote.after = map[api.PeerID]int{}, 1
	counts := map[api.TrackerStatus]int{}
	for _, info := range collect(t, onlyPages(g, p1), api.StatusUndefined) {
		counts[info.PeerMap[threePeers[1].String()].Status]++
	}
	if counts[api.StatusPinned] != firstPage || counts[api.StatusClusterError] != 2000-firstPage || counts[api.StatusRemote] != 1000 {
		t.Fatalf("of the peer: %v", counts)
	}
}

// onlyPages is g with p and the own peer as the only members.
func onlyPages(g *Global, p api.PeerID) *Global {
	return NewGlobal(func() []api.Member { return []api.Member{{ID: p0}, {ID: p}} }, g.dead, g.local, g.remote)
}

type disorderly struct{ *fakeRemote }

func (d disorderly) Statuses(ctx context.Context, p api.PeerID, q api.StatusQuery) (api.StatusPage, error) {
	page, err := d.fakeRemote.Statuses(ctx, p, q)
	if p == p1 {
		slices.Reverse(page.Items)
	}
	if p == p2 {
		page.Last, page.More = q.After, true // for ever
	}
	return page, err
}

func TestGlobal_PeersThatBreakTheOrderAreErrors(t *testing.T) {
	g, remote := clusterOf(t, twoOfThree(300)...)
	g.remote = disorderly{remote}
	n := 0
	for _, info := range collect(t, g, api.StatusUndefined) {
		for _, s := range info.PeerMap {
			if s.Status == api.StatusClusterError {
				n++
			}
		}
	}
	if n != 400 {
		t.Fatalf("%d cluster errors, want all 400 of two peers", n)
	}
}

func TestGlobal_LeavingTheLoopEndsTheReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which fails where goroutines are left
		g, _ := clusterOf(t, twoOfThree(3000)...)
		for _, err := range g.List(t.Context(), api.StatusUndefined) {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
	})
}

func TestGlobal_Recover(t *testing.T) {
	g, remote := clusterOf(t, twoOfThree(3)...)
	t1 := remote.peers[p1]
	delete(t1.node.(*fakeNode).pinned, numbered(0))
	info, err := g.Recover(t.Context(), numbered(0))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := statuses(info), [3]api.TrackerStatus{api.StatusPinned, api.StatusPinQueued, api.StatusRemote}; got != want {
		t.Fatalf("got %v, want %v", got, want)
	}
	delete(remote.peers[p0].node.(*fakeNode).pinned, numbered(2))
	var got []api.Cid
	for info, err := range g.RecoverAll(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, info.Cid)
	}
	if !slices.Equal(got, []api.Cid{numbered(2)}) {
		t.Fatalf("recovered %v", got)
	}
}
