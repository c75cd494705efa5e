package pinner

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

func TestRelieved(t *testing.T) {
	ids := []api.PeerID{"a", "b", "c", "d"}
	then := time.Unix(1000, 0)
	pin := func(low int, holders, leaving []api.PeerID) api.Pin {
		return api.Pin{Cid: testCid(1), PinOptions: copies(low, low), Allocations: holders, Leaving: leaving, Timestamp: then}
	}
	for _, tt := range []struct {
		name             string
		pin              api.Pin
		alive, has       []api.PeerID
		died             []api.PeerID // after the pin was made; alive again
		holders, leaving []api.PeerID // nil: unchanged
	}{
		{"all confirmed", pin(2, ids[:2], ids[2:3]), ids, ids[:3], nil, ids[:2], []api.PeerID{}},
		{"one still fetches", pin(1, ids[:2], ids[2:3]), ids, []api.PeerID{"a", "c"}, nil, nil, nil},
		{"one is dead, the others are enough", pin(1, ids[:2], ids[2:3]), []api.PeerID{"a", "c"}, []api.PeerID{"a", "c"}, nil, ids[:2], []api.PeerID{}},
		{"one is dead, the others are too few", pin(2, ids[:2], ids[2:3]), []api.PeerID{"a", "c"}, []api.PeerID{"a", "c"}, nil, nil, nil},
		{"nobody answers", pin(1, ids[:2], ids[2:3]), nil, nil, nil, nil, nil},
		{"the replaced one is back in time", pin(2, ids[:2], ids[2:3]), ids, []api.PeerID{"a", "c"}, []api.PeerID{"c"}, []api.PeerID{"a", "c"}, []api.PeerID{"b"}},
		{"the one that gave way to it goes next", pin(2, []api.PeerID{"a", "c"}, ids[1:2]), ids, []api.PeerID{"a", "b", "c"}, []api.PeerID{"c"}, []api.PeerID{"a", "c"}, []api.PeerID{}},
		{"back, without its copy", pin(2, ids[:2], ids[2:3]), ids, []api.PeerID{"a"}, []api.PeerID{"c"}, nil, nil},
		{"back too late", pin(2, ids[:2], ids[2:3]), ids, ids[:3], []api.PeerID{"c"}, ids[:2], []api.PeerID{}},
		{"a leaving one was removed", pin(2, ids[:2], []api.PeerID{"c", "z"}), ids, []api.PeerID{"a"}, nil, ids[:2], ids[2:3]},
	} {
		t.Run(tt.name, func(t *testing.T) {
			has, died := held{}, map[api.PeerID]time.Time{}
			for _, p := range tt.has {
				has[p] = map[api.Cid]bool{testCid(1): true}
			}
			for _, p := range tt.died {
				died[p] = then.Add(time.Hour)
			}
			got, err := relieved(tt.pin, &view{members: ids, alive: tt.alive}, has, died)
			if tt.holders == nil {
				if !errors.Is(err, unchanged) {
					t.Fatalf("got %v leaving %v, %v; want no change", got.pin.Allocations, got.pin.Leaving, err)
				}
				return
			}
			if err != nil || !slices.Equal(got.pin.Allocations, tt.holders) || !slices.Equal(got.pin.Leaving, tt.leaving) {
				t.Fatalf("got %v leaving %v, %v; want %v leaving %v", got.pin.Allocations, got.pin.Leaving, err, tt.holders, tt.leaving)
			}
		})
	}
}

func TestLock_NoneOvertakesItsCid(t *testing.T) {
	p := &Pinner{locks: newLocks()}
	first, second, other := &change{cid: testCid(1)}, &change{cid: testCid(1)}, &change{cid: testCid(2)}
	mine, others, busy := p.lock([]*change{first, second, other})
	if !slices.Equal(mine, []*change{first, other}) || !slices.Equal(others, []*change{second}) || busy == nil {
		t.Fatalf("%d locked, %d wait", len(mine), len(others))
	}
	p.locks.release(testCid(2).KeyString())

	// The holder lets go between the looks at first and at second.
	third := &change{cid: testCid(1)}
	released := &releasing{locks: p.locks, key: testCid(1).KeyString()}
	mine, others, _ = p.lock([]*change{third})
	if len(mine) != 0 || len(others) != 1 {
		t.Fatal("a held lock was taken")
	}
	released.now()
	if mine, _, _ = p.lock(others); len(mine) != 1 {
		t.Fatal("a free lock was not taken")
	}
}

type releasing struct {
	locks *locks
	key   string
}

func (r *releasing) now() { r.locks.release(r.key) }

func TestQueue_EndedSession(t *testing.T) {
	q := newQueue(func() uint64 { return 0 })
	sure := q.add(api.Request{Pin: ask(1, api.PinOptions{})})
	unsure := q.add(api.Request{Pin: ask(2, api.PinOptions{})})
	calls := q.take()
	before, _ := q.batch(calls)
	q.missed(unsure, errors.New("reset"), true)
	q.ended(sure)
	q.ended(unsure)
	if unsure.res.Fault == nil || unsure.res.Fault.Kind != api.Unknown {
		t.Fatalf("what may have happened in the ended session: %+v", unsure.res)
	}
	b, left := q.batch(calls)
	if len(left) != 1 || left[0] != sure || b.Session <= before.Session || b.Requests[0].Seq != 1 || b.Acked != 1 {
		t.Fatalf("what did not happen goes on in another session: %+v", b)
	}
}

func TestQueue_SessionRisesThoughTheClockFell(t *testing.T) {
	far := uint64(1) << 63
	if q := newQueue(func() uint64 { return far }); q.session <= far {
		t.Fatalf("session %d after %d", q.session, far)
	}
}

func TestQueue_GivenUpInACallIsUnknown(t *testing.T) {
	for _, sent := range []bool{false, true} {
		q := newQueue(func() uint64 { return 0 })
		c := q.add(api.Request{Pin: ask(1, api.PinOptions{})})
		calls := q.take()
		want := api.Unavailable
		if sent {
			q.batch(calls)
			want = api.Unknown
		}
		q.giveUp(c, context.DeadlineExceeded)
		if c.res.Fault.Kind != want {
			t.Errorf("sent: %v: %+v, want %s", sent, c.res.Fault, want)
		}
	}
}

func TestAllocation_PromisesOfOneBatch(t *testing.T) {
	c := newCluster(t, 2, Options{})
	for i := range c.ids {
		c.set(i, func(h *api.PeerHealth) { h.Free = int64(400 - 200*i) })
	}
	b := api.Batch{Session: 1, Acked: 1}
	for i := range 7 {
		pin := ask(i, copies(1, 1))
		pin.Size = 100
		b.Requests = append(b.Requests, api.Request{Type: api.RequestPin, Pin: pin, Seq: uint64(i + 1)})
	}
	out, err := c.pinners[c.ids[0]].Serve(t.Context(), c.ids[0], b)
	if err != nil {
		t.Fatal(err)
	}
	on := map[api.PeerID]int{}
	for _, r := range out.Results[:6] {
		if r.Fault != nil {
			t.Fatal(r.Fault.Err())
		}
		on[r.Pin.Allocations[0]]++
	}
	if on[c.ids[0]] != 4 || on[c.ids[1]] != 2 || out.Results[6].Fault == nil || out.Results[6].Fault.Kind != api.Full {
		t.Fatalf("pins are on %v, want 4 and 2; the seventh: %+v", on, out.Results[6].Fault)
	}
}
