package pinner

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

func TestPlace(t *testing.T) {
	c := newCluster(t, 3, Options{ReplicationFactorMin: 2, ReplicationFactorMax: 3})
	p := c.pinners[c.ids[1]] // needs no leader and no Run
	p.started = time.Time{}  // and is past the time when it waits for peers
	c.set(2, func(h *api.PeerHealth) { h.Free = 100 })
	c.set(1, func(h *api.PeerHealth) { h.Tags = map[string]string{"group": "x"} })
	for _, tt := range []struct {
		name string
		o    api.PinOptions
		size uint64
		want []api.PeerID
		min  int
		kind api.Kind
	}{
		{"defaults", api.PinOptions{}, 0, c.peers(0, 1, 2), 2, ""},
		{"what fits", api.PinOptions{}, 1000, c.peers(0, 1), 2, ""},
		{"named", api.PinOptions{ReplicationFactorMin: 1, ReplicationFactorMax: 1, UserAllocations: c.peers(2)}, 0, c.peers(2), 1, ""},
		{"spread", api.PinOptions{ReplicationFactorMin: 2, ReplicationFactorMax: 2, UserAllocations: c.peers(0)}, 0, c.peers(0, 1), 2, ""},
		{"everywhere", copies(-1, -1), 0, c.peers(0, 1, 2), 2, ""},
		{"too large", copies(3, 3), 1000, nil, 0, api.Full},
		{"more than there are", copies(4, 4), 0, nil, 0, api.Invalid},
		{"expired", api.PinOptions{ExpireAt: time.Now().Add(-time.Hour)}, 0, nil, 0, api.Invalid},
		{"unknown peer", api.PinOptions{UserAllocations: []api.PeerID{testPeer(77)}}, 0, nil, 0, api.Invalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := p.Place(t.Context(), tt.o, tt.size)
			if api.KindOf(err) != tt.kind || !slices.Equal(got.Peers, tt.want) || got.Min != tt.min {
				t.Fatalf("got %v, %v; want %v of which %d, %q", got, err, tt.want, tt.min, tt.kind)
			}
		})
	}
	c.die(0)
	if got, err := p.Place(t.Context(), copies(-1, -1), 0); err != nil || !slices.Equal(got.Peers, c.peers(1, 2)) {
		t.Fatalf("everywhere that lives: %v, %v", got, err)
	}
	c.die(2)
	if _, err := p.Place(t.Context(), copies(-1, -1), 0); !errors.Is(err, api.Unavailable) {
		t.Fatalf("without a majority: %v", err)
	}
}

func TestAllocation_BurstSharesEvenly(t *testing.T) {
	c := newCluster(t, 5, Options{})
	c.run()
	var reqs []api.Request
	for i := range 1000 {
		reqs = append(reqs, api.Request{Type: api.RequestPin, Pin: ask(i, copies(2, 2))})
	}
	given := map[api.PeerID]int{}
	for _, r := range c.pinners[c.ids[2]].PinMany(t.Context(), reqs) {
		if r.Fault != nil {
			t.Fatal(r.Fault.Err())
		}
		for _, p := range r.Pin.Allocations {
			given[p]++
		}
	}
	for p, n := range given {
		if n < 320 || n > 480 {
			t.Errorf("peer %s got %d of 2000 copies on five peers", p, n)
		}
	}
}

func TestAllocation_PromisesAreTakenOff(t *testing.T) {
	for _, settled := range []bool{false, true} {
		t.Run(fmt.Sprint("measured after: ", settled), func(t *testing.T) {
			c := newCluster(t, 2, Options{})
			c.run()
			for i := range c.ids { // room for four and for two pins of 100
				c.set(i, func(h *api.PeerHealth) { h.Free, h.Index = int64(400-200*i), c.st.Applied() })
			}
			pin := func(n int, o api.PinOptions) error {
				if settled { // room is measured again, and never goes down
					for i := range c.ids {
						c.set(i, func(h *api.PeerHealth) { h.Index = c.st.Applied() })
					}
				}
				p := ask(n, o)
				p.Size = 100
				_, _, err := c.pinners[c.ids[n%2]].Pin(t.Context(), p)
				return err
			}
			for i := range 6 {
				if err := pin(i, copies(1, 1)); err != nil {
					t.Fatalf("pin %d: %v", i, err)
				}
				if err := pin(i, api.PinOptions{Name: "again", ReplicationFactorMin: 1, ReplicationFactorMax: 1}); err != nil {
					t.Fatalf("pin %d again takes no room: %v", i, err)
				}
			}
			if !settled {
				var on [2]int
				for i := range 6 {
					on[slices.Index(c.ids, c.get(testCid(i)).Allocations[0])]++
				}
				if on != [2]int{4, 2} {
					t.Errorf("pins are on %v, want 4 and 2", on)
				}
			}
			if err := pin(6, copies(1, 1)); errors.Is(err, api.Full) == settled {
				t.Fatalf("a seventh: %v", err)
			}
		})
	}
}

func TestAllocation_WaitsForPeersAfterStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newBubble(t, 2, Options{})
		c.set(1, func(h *api.PeerHealth) { h.Measured = false })
		c.run()
		go func() {
			time.Sleep(time.Second)
			c.set(1, func(h *api.PeerHealth) { h.Measured = true })
		}()
		c.pin(1, ask(1, copies(2, 2)))
	})
}

// A pin or add that needs a peer which has just joined waits for its first metrics,
// long after the leader's start; not for ever.
func TestAllocation_WaitsForAJoiner(t *testing.T) {
	for name, need := range map[string]func(joiner api.PeerID) api.PinOptions{
		"as one of two": func(api.PeerID) api.PinOptions { return copies(2, 2) },
		"by name": func(joiner api.PeerID) api.PinOptions {
			o := copies(1, 1)
			o.UserAllocations = []api.PeerID{joiner}
			return o
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newBubble(t, 1, Options{})
				c.run()
				after(time.Hour)
				leader, joiner := c.pinners[c.leader], testPeer(7)
				c.pin(0, ask(1, copies(1, 1))) // the members are known
				c.mu.Lock()
				c.apply([]api.Op{{Type: api.OpJoin, Member: &api.Member{ID: joiner}}})
				c.mu.Unlock()
				go func() {
					time.Sleep(time.Second)
					c.mu.Lock()
					c.health = append(c.health, api.PeerHealth{ID: joiner, Alive: true, Since: time.Now()})
					c.mu.Unlock()
					time.Sleep(time.Second)
					c.set(1, func(h *api.PeerHealth) { h.Measured, h.Free = true, 1<<40 })
				}()
				if p := c.pin(0, ask(2, need(joiner))); !slices.Contains(p.Allocations, joiner) {
					t.Fatalf("on %v", p.Allocations)
				}
				c.set(1, func(h *api.PeerHealth) { h.Measured, h.Since = false, time.Now() })
				go func() {
					time.Sleep(2 * time.Second)
					c.set(1, func(h *api.PeerHealth) { h.Measured = true })
				}()
				if p, err := leader.Place(t.Context(), need(joiner), 0); err != nil || !slices.Contains(p.Peers, joiner) {
					t.Fatalf("add to %v: %v", p.Peers, err)
				}
				after(time.Minute)
				c.set(1, func(h *api.PeerHealth) { h.Measured, h.Since = false, time.Now() })
				start := time.Now()
				if _, err := leader.Place(t.Context(), copies(2, 2), 0); !errors.Is(err, api.Unavailable) || time.Since(start) > 11*time.Second {
					t.Fatalf("never measured: %v after %v", err, time.Since(start))
				}
			})
		})
	}
}

func TestPromises_AreBounded(t *testing.T) {
	p := newPromises()
	none := func() uint64 { return 0 }
	for i := range 3 * maxPoints {
		p.track(api.Pin{Allocations: []api.PeerID{"a"}, Size: 10, Revision: uint64(i + 1)}, none)
	}
	if n := len(p.peers["a"].points); n > maxPoints {
		t.Fatalf("%d points", n)
	}
	if bytes, pins := p.since("a", 3*maxPoints-5); bytes != 50 || pins != 5 {
		t.Fatalf("%d bytes in %d pins, want 50 in 5", bytes, pins)
	}
	p.track(api.Pin{PinOptions: copies(-1, -1), Size: 7, Revision: 3*maxPoints + 1}, none)
	if bytes, pins := p.since("b", 3*maxPoints-5); bytes != 7 || pins != 1 {
		t.Fatalf("everywhere: %d bytes in %d pins, want 7 in 1", bytes, pins)
	}
}

// What Serve lets through is sure to be stored: c.check fails where the state or the
// log's encoding refuses it.
func FuzzServe(f *testing.F) {
	for _, p := range []api.Pin{
		ask(1, api.PinOptions{Name: "n", Metadata: map[string]string{"a": "b"}, ReplicationFactorMin: 1, ReplicationFactorMax: 2}),
		ask(1, api.PinOptions{ExpireAt: time.Now().Add(time.Hour * 1e5), PinUpdate: testCid(1), Mode: api.PinDirect}),
		{Cid: testCid(1), Type: api.PinShard, MaxDepth: 2, Reference: testCid(2), Allocations: []api.PeerID{testPeer(0)}},
	} {
		b, err := api.Encode(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var p api.Pin
		if api.Decode(data, &p) != nil {
			return
		}
		c := newCluster(t, 2, Options{})
		leader := c.pinners[c.ids[0]]
		leader.started = time.Time{}
		out, err := leader.Serve(t.Context(), c.ids[0], api.Batch{Session: 1, Acked: 1, Requests: []api.Request{{Type: api.RequestPin, Pin: p, Seq: 1}, {Type: api.RequestUnpin, Pin: p, Seq: 2}}})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range out.Results {
			if r.Fault != nil && (r.Fault.Kind == api.Internal || r.Fault.Kind == api.Unknown || r.Fault.Kind == retry) {
				t.Fatalf("%s: %s", r.Fault.Kind, r.Fault.Message)
			}
		}
	})
}

func BenchmarkServe(b *testing.B) {
	for _, n := range []int{1, 64, 256} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := newCluster(b, 3, Options{})
			leader := c.pinners[c.ids[0]]
			seq, i := uint64(0), 0
			for b.Loop() {
				batch := api.Batch{Session: 1, Acked: seq + 1}
				for range n {
					seq, i = seq+1, i+1
					batch.Requests = append(batch.Requests, api.Request{Type: api.RequestPin, Pin: ask(i, copies(2, 2)), Seq: seq})
				}
				if _, err := leader.Serve(b.Context(), c.ids[0], batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(i)/b.Elapsed().Seconds(), "pins/s")
		})
	}
}
