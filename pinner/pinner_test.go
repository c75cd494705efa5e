package pinner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

func ask(n int, o api.PinOptions) api.Pin { return api.Pin{Cid: testCid(n), PinOptions: o} }

func copies(low, high int) api.PinOptions {
	return api.PinOptions{ReplicationFactorMin: low, ReplicationFactorMax: high}
}

func (c *cluster) pin(peer int, p api.Pin) api.Pin {
	c.t.Helper()
	got, index, err := c.pinners[c.ids[peer]].Pin(c.t.Context(), p)
	if err != nil {
		c.t.Fatalf("pin: %v", err)
	}
	if got.Revision != index || index == 0 {
		c.t.Fatalf("revision %d, index %d", got.Revision, index)
	}
	return got
}

func TestPinner_PinAndUnpinThroughEveryPeer(t *testing.T) {
	c := newCluster(t, 3, Options{})
	c.run()
	for i, id := range c.ids {
		p := c.pinners[id]
		pinned := c.pin(i, ask(i, api.PinOptions{Name: "n", ReplicationFactorMin: 2, ReplicationFactorMax: 2}))
		if stored := c.get(testCid(i)); stored.Name != "n" || !slices.Equal(stored.Allocations, pinned.Allocations) || len(stored.Allocations) != 2 || stored.Revision != pinned.Revision {
			t.Fatalf("peer %d: told %+v, stored %+v", i, pinned, stored)
		}
		was, index, err := p.Unpin(t.Context(), testCid(i))
		if err != nil || was.Name != "n" || index <= pinned.Revision {
			t.Fatalf("unpin: %+v, %d, %v", was, index, err)
		}
		if _, _, err := p.Unpin(t.Context(), testCid(i)); !errors.Is(err, api.NotFound) || err.Error() != "pin is not part of the pinset" {
			t.Fatalf("second unpin: %v", err)
		}
	}
}

func TestD09_BadRequestsAreRefused(t *testing.T) {
	c := newCluster(t, 3, Options{})
	c.run()
	c.pin(0, ask(1, api.PinOptions{}))
	var zero api.Cid
	for _, tt := range []struct {
		name string
		pin  api.Pin
		kind api.Kind
		text string
	}{
		{"no CID", api.Pin{Cid: zero}, api.Invalid, "CID"},
		{"min above max", ask(2, copies(3, 2)), api.Invalid, "cluster.replication_factor_min is larger than max"},
		{"everywhere and not", ask(2, copies(-1, 2)), api.Invalid, "both"},
		{"absurd", ask(2, copies(-2, -2)), api.Invalid, "-1 or positive"},
		{"huge", ask(2, copies(1, 1<<30)), api.Invalid, "above"},
		{"more than peers", ask(2, copies(4, 4)), api.Invalid, "not enough peers to allocate CID. Needed at least: 4. Wanted at most: 4. Available candidates: 3."},
		{"expired", ask(2, api.PinOptions{ExpireAt: time.Now().Add(-time.Second)}), api.Invalid, "pin.ExpireAt set before current time"},
		{"expires after all time", ask(2, api.PinOptions{ExpireAt: time.Date(10001, 1, 1, 0, 0, 0, 0, time.UTC)}), api.Invalid, "ExpireAt"},
		{"name that is no text", ask(2, api.PinOptions{Name: "\xff"}), api.Invalid, "UTF-8"},
		{"metadata that is no text", ask(2, api.PinOptions{Metadata: map[string]string{"a": "\xff"}}), api.Invalid, "UTF-8"},
		{"huge name", ask(2, api.PinOptions{Name: strings.Repeat("x", 20000)}), api.TooLarge, "bytes"},
		{"unknown type", api.Pin{Cid: testCid(2), Type: 9}, api.Invalid, "type"},
		{"unknown peer", ask(2, api.PinOptions{UserAllocations: []api.PeerID{testPeer(77)}}), api.Invalid, "not a peer"},
		{"recursive to direct", ask(1, api.PinOptions{Mode: api.PinDirect}), api.Conflict, "cannot repin a CID which is already pinned in recursive mode (new pin is pinned as direct). Unpin it first."},
		{"another type", api.Pin{Cid: testCid(1), Type: api.PinMeta}, api.Conflict, "cannot repin CID with different tracking method, clear state with pin rm to proceed. New: meta-pin. Was: pin"},
		{"update of nothing", ask(2, api.PinOptions{PinUpdate: testCid(99)}), api.NotFound, "pin is not part of the pinset"},
		{"too large for all", api.Pin{Cid: testCid(2), PinOptions: copies(1, 1), Size: 1 << 50}, api.Full, "not enough peers"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := c.st.(pinset).Digest().Pins
			for _, id := range c.ids[:2] {
				_, _, err := c.pinners[id].Pin(t.Context(), tt.pin)
				if api.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.text) {
					t.Fatalf("got %v (%s), want %s: %s", err, api.KindOf(err), tt.kind, tt.text)
				}
			}
			if c.st.(pinset).Digest().Pins != before {
				t.Fatal("the pinset changed")
			}
		})
	}
}

func TestPinner_Defaults(t *testing.T) {
	three := Options{ReplicationFactorMin: 2, ReplicationFactorMax: 3}
	for _, tt := range []struct {
		o        Options
		ask      api.PinOptions
		low, max int
		holders  int
	}{
		{Options{}, copies(0, 0), -1, -1, 0},
		{Options{}, copies(2, 0), 2, 2, 2},
		{Options{}, copies(0, 2), 2, 2, 2},
		{three, copies(0, 0), 2, 3, 3},
		{three, copies(3, 0), 3, 3, 3},
		{three, copies(0, 1), 1, 1, 1},
		{three, copies(0, 3), 2, 3, 3},
		{three, copies(1, 0), 1, 3, 3},
		{three, copies(-1, -1), -1, -1, 0},
	} {
		t.Run(fmt.Sprintf("%v of %d/%d", tt.ask, tt.o.ReplicationFactorMin, tt.o.ReplicationFactorMax), func(t *testing.T) {
			c := newCluster(t, 3, tt.o)
			c.run()
			p := c.pin(1, ask(1, tt.ask))
			if p.ReplicationFactorMin != tt.low || p.ReplicationFactorMax != tt.max || len(p.Allocations) != tt.holders {
				t.Fatalf("got %d/%d on %d", p.ReplicationFactorMin, p.ReplicationFactorMax, len(p.Allocations))
			}
		})
	}
}

func TestD06_DirectStaysDirect(t *testing.T) {
	c := newCluster(t, 1, Options{})
	c.run()
	c.pin(0, ask(1, api.PinOptions{Mode: api.PinDirect}))
	if got := c.get(testCid(1)); got.MaxDepth != 0 || got.Mode != api.PinDirect {
		t.Fatalf("stored %s to depth %d", got.Mode, got.MaxDepth)
	}
}

func TestPinner_ExpiryKeepsItsSecond(t *testing.T) {
	c := newCluster(t, 1, Options{})
	c.run()
	at := time.Now().Add(time.Hour).Truncate(time.Second).Add(time.Millisecond)
	c.pin(0, ask(1, api.PinOptions{ExpireAt: at}))
	if got := c.get(testCid(1)).ExpireAt; got.Before(at) || got.Sub(at) > time.Second {
		t.Fatalf("asked to go at %v, goes at %v", at, got)
	}
}

func TestPinner_Update(t *testing.T) {
	c := newCluster(t, 4, Options{})
	c.run()
	exp := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	from := c.pin(0, ask(1, api.PinOptions{ReplicationFactorMin: 2, ReplicationFactorMax: 2, Name: "old", Metadata: map[string]string{"k": "v"}, ExpireAt: exp}))

	got := c.pin(1, ask(2, api.PinOptions{PinUpdate: testCid(1)}))
	if got.Name != "old" || got.Metadata["k"] != "v" || got.ReplicationFactorMax != 2 || !got.ExpireAt.Equal(exp) || !slices.Equal(got.Allocations, from.Allocations) {
		t.Fatalf("not like its source: %+v", got)
	}
	got = c.pin(1, ask(3, api.PinOptions{PinUpdate: testCid(1), Name: "new", ReplicationFactorMin: 3, ReplicationFactorMax: 3, Metadata: map[string]string{"x": "y"}}))
	if got.Name != "new" || len(got.Metadata) != 1 || len(got.Allocations) != 3 {
		t.Fatalf("options given are not honoured: %+v", got)
	}
	c.get(testCid(1)) // the source stays
}

func TestPinner_RepinPlacesAnewAndOldHoldersLeave(t *testing.T) {
	c := newCluster(t, 3, Options{})
	c.hold(0) // nobody has anything
	c.run()
	c.pin(0, ask(1, api.PinOptions{ReplicationFactorMin: 1, ReplicationFactorMax: 1, UserAllocations: c.peers(0)}))
	for _, tt := range []struct {
		o       api.PinOptions
		holders []api.PeerID
		leaving []api.PeerID
	}{
		{api.PinOptions{ReplicationFactorMin: 1, ReplicationFactorMax: 1}, c.peers(0), nil},
		{api.PinOptions{ReplicationFactorMin: 1, ReplicationFactorMax: 1, UserAllocations: c.peers(1)}, c.peers(1), c.peers(0)},
		{copies(3, 3), c.peers(0, 1, 2), nil},
		{api.PinOptions{ReplicationFactorMin: 1, ReplicationFactorMax: 1, UserAllocations: c.peers(2)}, c.peers(2), c.peers(0, 1)},
		{copies(-1, -1), nil, nil},
		{api.PinOptions{ReplicationFactorMin: 2, ReplicationFactorMax: 2, UserAllocations: c.peers(0, 1)}, c.peers(0, 1), c.peers(2)},
	} {
		got := c.pin(1, ask(1, tt.o))
		if !slices.Equal(got.Allocations, tt.holders) || !slices.Equal(got.Leaving, tt.leaving) {
			t.Fatalf("%+v: holders %v, leaving %v; want %v, %v", tt.o, got.Allocations, got.Leaving, tt.holders, tt.leaving)
		}
	}
}

func TestPinner_PresetAllocationsAreKeptAndToppedUp(t *testing.T) {
	c := newCluster(t, 4, Options{})
	c.hold(0)
	c.run()
	for i := range c.ids { // no room anywhere: what is stored already needs none
		c.set(i, func(h *api.PeerHealth) { h.Free = 10 })
	}
	pin := ask(1, copies(2, 2))
	pin.Allocations, pin.Size = c.peers(2, 3), 1<<30
	if got := c.pin(0, pin); !slices.Equal(got.Allocations, c.peers(2, 3)) {
		t.Fatalf("preset allocations became %v", got.Allocations)
	}
	pin = ask(2, copies(1, 2))
	pin.Allocations = append(c.peers(3), testPeer(77)) // one was removed meanwhile
	if got := c.pin(0, pin); len(got.Allocations) != 2 || !slices.Contains(got.Allocations, c.ids[3]) || len(got.Leaving) != 0 {
		t.Fatalf("not topped up: %v, leaving %v", got.Allocations, got.Leaving)
	}
	// Pinned before: the new destinations come first, the others leave.
	c.pin(0, ask(3, api.PinOptions{ReplicationFactorMin: 2, ReplicationFactorMax: 2, UserAllocations: c.peers(0, 1)}))
	pin = ask(3, copies(2, 2))
	pin.Allocations = c.peers(2, 3)
	if got := c.pin(0, pin); !slices.Equal(got.Allocations, c.peers(2, 3)) || !slices.Equal(got.Leaving, c.peers(0, 1)) {
		t.Fatalf("holders %v, leaving %v", got.Allocations, got.Leaving)
	}
}

func TestPinner_UnpinOfShardPartsIsRefused(t *testing.T) {
	c := newCluster(t, 1, Options{})
	c.run()
	for typ, text := range map[api.PinType]string{
		api.PinShard:      "cannot unpin a shard directly. Unpin content root CID instead",
		api.PinClusterDAG: "cannot unpin a Cluster DAG directly. Unpin content root CID instead",
	} {
		c.pin(0, api.Pin{Cid: testCid(int(typ)), Type: typ, MaxDepth: 1, PinOptions: copies(-1, -1)})
		_, _, err := c.pinners[c.ids[0]].Unpin(t.Context(), testCid(int(typ)))
		if !errors.Is(err, api.Conflict) || err.Error() != text {
			t.Errorf("%s: %v", typ, err)
		}
	}
}

func TestPinner_PinManyAnswersInOrder(t *testing.T) {
	c := newCluster(t, 3, Options{})
	c.run()
	const n = 3000
	var reqs []api.Request
	for i := range n {
		switch i % 10 {
		case 9: // of the pin before it
			reqs = append(reqs, api.Request{Type: api.RequestUnpin, Pin: api.Pin{Cid: testCid(i - 1)}})
		case 5:
			reqs = append(reqs, api.Request{Type: api.RequestUnpin, Pin: api.Pin{Cid: testCid(i)}})
		default:
			reqs = append(reqs, api.Request{Type: api.RequestPin, Pin: ask(i, api.PinOptions{Name: fmt.Sprint(i), ReplicationFactorMin: 1, ReplicationFactorMax: 1})})
		}
	}
	results := c.pinners[c.ids[1]].PinMany(t.Context(), reqs)
	for i, r := range results {
		switch {
		case i%10 == 5:
			if r.Fault == nil || r.Fault.Kind != api.NotFound {
				t.Fatalf("%d: %+v, want not found", i, r)
			}
		case r.Fault != nil || r.Pin.Cid != reqs[i].Pin.Cid || r.Index == 0:
			t.Fatalf("%d: %+v, %v", i, r, r.Fault)
		}
	}
	if got, _ := c.st.Totals(); got != n*7/10 {
		t.Fatalf("%d pins, want %d", got, n*7/10)
	}
	if c.commits > n/8 {
		t.Errorf("%d commits for %d requests: they do not go together", c.commits, n)
	}
}

func TestPinner_ConcurrentChangesOfOneCid(t *testing.T) {
	c := newCluster(t, 3, Options{})
	c.run()
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			p := c.pinners[c.ids[i%3]]
			for n := range 4 {
				if _, _, err := p.Pin(t.Context(), ask(n, copies(1, 2))); err != nil {
					t.Errorf("pin: %v", err)
				}
			}
			if _, _, err := p.Unpin(t.Context(), testCid(9)); !errors.Is(err, api.NotFound) {
				t.Errorf("unpin: %v", err)
			}
		})
	}
	wg.Wait()
	if got, _ := c.st.Totals(); got != 4 {
		t.Fatalf("%d pins, want 4", got)
	}
	for _, p := range c.pinners {
		p.queue.mu.Lock()
		if len(p.queue.last)+len(p.queue.open)+len(p.queue.waiting)+len(p.locks.held) > 0 {
			t.Errorf("left over: %d chains, %d numbers, %d waiting, %d locks", len(p.queue.last), len(p.queue.open), len(p.queue.waiting), len(p.locks.held))
		}
		p.queue.mu.Unlock()
	}
}

func TestPinner_LaggingSaysCommitted(t *testing.T) {
	c := newCluster(t, 2, Options{CatchUp: 10 * time.Millisecond})
	c.lag[c.ids[1]] = true
	c.run()
	p, index, err := c.pinners[c.ids[1]].Pin(t.Context(), ask(1, api.PinOptions{}))
	if !errors.Is(err, api.Lagging) || index == 0 || !p.Cid.Defined() || !strings.Contains(err.Error(), fmt.Sprintf("committed at index %d", index)) {
		t.Fatalf("got %+v, %d, %v", p, index, err)
	}
	res := c.pinners[c.ids[1]].PinMany(t.Context(), []api.Request{{Type: api.RequestPin, Pin: ask(2, api.PinOptions{})}})
	if res[0].Fault == nil || res[0].Fault.Kind != api.Lagging || res[0].Index == 0 {
		t.Fatalf("got %+v", res[0])
	}
}

func TestPinner_NoLeaderIsUnavailable(t *testing.T) {
	c := newCluster(t, 2, Options{})
	c.leader = ""
	c.run()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, _, err := c.pinners[c.ids[1]].Pin(ctx, ask(1, api.PinOptions{}))
	if !errors.Is(err, api.Unavailable) || !strings.Contains(err.Error(), "timed out waiting for leader") {
		t.Fatalf("got %v", err)
	}
	c.lead(0)
	c.pin(1, ask(2, api.PinOptions{}))
	if _, err := c.st.Get(t.Context(), testCid(1)); !errors.Is(err, api.NotFound) {
		t.Fatalf("refused and carried out: %v", err)
	}
}
