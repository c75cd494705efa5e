package pinner

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// remove takes peers out of the cluster.
func (c *cluster) remove(peers ...int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range peers {
		c.apply([]api.Op{{Type: api.OpRemove, Peer: c.ids[p]}})
		c.health = slices.DeleteFunc(c.health, func(h api.PeerHealth) bool { return h.ID == c.ids[p] })
	}
}

// onMany pins those from first to before end on exactly those peers.
func (c *cluster) onMany(first, end int, peers ...int) {
	c.t.Helper()
	var reqs []api.Request
	for i := first; i < end; i++ {
		reqs = append(reqs, api.Request{Type: api.RequestPin, Pin: ask(i, api.PinOptions{ReplicationFactorMin: len(peers), ReplicationFactorMax: len(peers), UserAllocations: c.peers(peers...)})})
	}
	for _, r := range c.pinners[c.leader].PinMany(c.t.Context(), reqs) {
		if r.Fault != nil {
			c.t.Fatal(r.Fault.Err())
		}
	}
}

// naming counts the pins that name peer i as a holder.
func (c *cluster) naming(i int) (n int) {
	c.t.Helper()
	for p, err := range c.st.Allocated(context.Background(), c.ids[i], api.CidUndef) {
		if err != nil {
			c.t.Fatal(err)
		}
		if slices.Contains(p.Allocations, c.ids[i]) {
			n++
		}
	}
	return n
}

func (c *cluster) repairStatus() api.RepairStatus { return c.pinners[c.leader].Repair() }

func TestRepair_RemovedPeersPinsWaitForRoom(t *testing.T) {
	const pins = 200
	for _, newTerm := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := newBubble(t, 3, Options{Grace: grace})
			c.run()
			c.onMany(0, pins, 0, 1)
			c.set(2, func(h *api.PeerHealth) { h.Free = 0 })
			after(time.Minute)
			c.remove(1)
			if newTerm {
				c.lead(2)
			}
			after(10 * time.Minute)
			if s := c.repairStatus(); s.Below != pins || s.Cause != noRoom {
				t.Fatalf("no room: %+v", s)
			}
			c.set(1, func(h *api.PeerHealth) { h.Free = 1 << 40 }) // the third: one is gone from the list
			after(grace)
			if n, left := c.naming(2), c.naming(1); n != pins || left != 0 {
				t.Fatalf("room again: %d pins on the third peer, %d on the removed one", n, left)
			}
			if s := c.repairStatus(); s.Below != 0 || s.Cause != "" || s.Placed != pins {
				t.Fatalf("room again: %+v", s)
			}
		})
	}
}

// A peer is removed while a new leader goes over the whole pinset, and its view of
// the members is not the newest.
func TestRepair_RemovalAsTheTermBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newBubble(t, 5, Options{Grace: grace, Rate: 100})
		c.run()
		c.onMany(0, 300, 0, 3)
		c.onMany(300, 600, 0, 4)
		after(time.Minute)
		c.mu.Lock()
		c.leader = ""
		c.mu.Unlock()
		after(time.Minute)
		c.remove(4)
		c.lead(2)
		for !c.repairStatus().Running {
			after(time.Second / 10)
		}
		c.remove(3)
		after(time.Minute)
		if a, b := c.naming(3), c.naming(4); a != 0 || b != 0 {
			t.Fatalf("%d and %d pins are still on the removed peers", a, b)
		}
	})
}

func TestRepair_PinWithTooFewHoldersGetsMoreLater(t *testing.T) {
	for name, gone := range map[string]func(*cluster, ...int){"dead": func(c *cluster, peers ...int) {
		for _, p := range peers {
			c.die(p)
		}
	}, "removed": (*cluster).remove} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newBubble(t, 7, Options{Grace: grace})
				c.run()
				c.on(1, 0, 1, 2, 3)
				full := func(free int64) {
					for i := range c.health {
						if id := c.health[i].ID; id == c.ids[4] || id == c.ids[5] {
							c.set(i, func(h *api.PeerHealth) { h.Free = free })
						}
					}
				}
				full(0)
				gone(c, 1, 2)
				after(2 * grace)
				if p := c.get(testCid(1)); !slices.Equal(p.Allocations, c.peers(0, 3, 6)) {
					t.Fatalf("one of two can be replaced: on %v", p.Allocations)
				}
				if s := c.repairStatus(); s.Below != 1 || s.Cause != noRoom {
					t.Fatalf("one too few: %+v", s)
				}
				full(1 << 40)
				after(grace)
				c.want(1, "room again", c.get(testCid(1)).Allocations, nil)
				if p := c.get(testCid(1)); len(p.Allocations) != 4 {
					t.Fatalf("room again: on %v", p.Allocations)
				}
				if s := c.repairStatus(); s.Below != 0 {
					t.Fatalf("room again: %+v", s)
				}
			})
		})
	}
}

func TestRepair_RateHoldsForEachPin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate = 50
		c := newBubble(t, 4, Options{Grace: grace, Rate: rate})
		c.run()
		c.onMany(0, 400, 0, 1)
		c.onMany(400, 401, 0, 3)
		c.set(3, func(h *api.PeerHealth) { h.ReadOnly = true }) // none of the many goes there
		after(time.Second)
		c.die(1)
		after(grace - time.Second)
		for c.naming(1) == 400 {
			after(time.Second / 10)
		}
		removed := false
		last, placed := c.naming(1), c.repairStatus().Placed
		for range 100 {
			after(time.Second / 10)
			now, s := c.naming(1), c.repairStatus()
			if n := last - now; n > rate/5 {
				t.Fatalf("%d pins in a tenth of a second", n)
			}
			if last > 0 && s.Placed == placed {
				t.Fatalf("no progress: %+v with %d pins left", s, last)
			}
			if s.Below > uint64(now+1) {
				t.Fatalf("%+v with %d pins left", s, now)
			}
			last, placed = now, s.Placed
			if now < 300 && !removed {
				removed = true
				c.remove(3)
				after(time.Second)
				if c.naming(3) > 0 {
					t.Fatal("another peer's only pin waits behind the many")
				}
				last, placed = c.naming(1), c.repairStatus().Placed
			}
		}
		if last > 0 {
			t.Fatalf("%d pins are left after 10 s", last)
		}
	})
}

func TestRepair_StopsHalfWay(t *testing.T) {
	for name, stop := range map[string]func(*cluster){
		"others die": func(c *cluster) { c.die(2); c.die(3) },
		"it is back": func(c *cluster) { c.comeBack(1) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newBubble(t, 5, Options{Grace: grace, Rate: 10})
				c.run()
				c.onMany(0, 300, 0, 1)
				c.die(1)
				after(grace + 20*time.Second)
				stop(c)
				after(time.Second)
				left := c.naming(1)
				if left == 0 || left == 300 {
					t.Fatalf("%d pins are left", left)
				}
				after(time.Minute)
				if n := c.naming(1); n < left {
					t.Fatalf("%d pins were left, now %d", left, n)
				}
			})
		})
	}
}

func TestRepair_IsLoudAboutPinsBelowTheirMinimum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logs bytes.Buffer
		c := newBubble(t, 2, Options{Grace: grace})
		c.pinners[c.ids[0]].log = slog.New(slog.NewTextHandler(&logs, nil))
		c.run(c.ids[0])
		c.onMany(0, 10, 0, 1)
		c.remove(1)
		after(time.Hour)
		text := logs.String()
		if !strings.Contains(text, "level=WARN") || !strings.Contains(text, "pins=10") || !strings.Contains(text, noPeers) {
			t.Fatalf("log: %s", text)
		}
		if lines := strings.Count(text, "\n"); lines > 5 {
			t.Fatalf("%d lines an hour:\n%s", lines, text)
		}
		if s := c.repairStatus(); s.Below != 10 || s.Cause != noPeers {
			t.Fatalf("%+v", s)
		}
	})
}

// A pin expires while its holder is replaced: it goes, and nothing is left to do.
func TestRepair_ExpiryMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newBubble(t, 3, Options{Grace: grace, Rate: 10})
		c.hold(0)
		c.run()
		after(time.Minute)
		o := api.PinOptions{ReplicationFactorMin: 2, ReplicationFactorMax: 2, UserAllocations: c.peers(0, 1), ExpireAt: time.Now().Add(grace + 5*time.Second)}
		for i := range 100 {
			c.pin(0, ask(i, o))
		}
		c.die(1)
		after(grace + time.Minute)
		if pins, _ := c.st.Totals(); pins != 0 {
			t.Fatalf("%d pins are left", pins)
		}
		after(time.Hour)
		if s := c.repairStatus(); s.Below != 0 || s.Moving != 0 || s.LastError != "" {
			t.Fatalf("%+v", s)
		}
	})
}

// Whatever happens to the peers, in the end each pin has its copies, and none too many.
func TestRepair_Converges(t *testing.T) {
	for _, seed := range []uint64{3, 25, 39} { // each found a fault once
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { converge(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func converge(t *testing.T, rng *rand.Rand) {
	const peers, pins = 7, 60
	c := newBubble(t, peers, Options{Grace: time.Minute, Rate: 20, SpreadBy: []string{"zone"}})
	c.run()
	ids := slices.Clone(c.ids)
	all := slices.Clone(c.health)
	change := func(id api.PeerID, f func(*api.PeerHealth)) {
		c.mu.Lock()
		defer c.mu.Unlock()
		for i := range c.health {
			if c.health[i].ID == id {
				f(&c.health[i])
			}
		}
	}
	member := func(id api.PeerID) bool {
		return slices.ContainsFunc(c.Health(), func(h api.PeerHealth) bool { return h.ID == id })
	}
	alive := func(id api.PeerID) bool {
		return slices.ContainsFunc(c.Health(), func(h api.PeerHealth) bool { return h.ID == id && h.Alive })
	}
	revive := func(id api.PeerID) {
		change(id, func(h *api.PeerHealth) {
			if !h.Alive {
				h.Alive, h.Died, h.Since = true, h.Since, time.Now()
			}
		})
	}
	for i, id := range ids {
		change(id, func(h *api.PeerHealth) { h.Tags = map[string]string{"zone": fmt.Sprint(i % 3)} })
	}
	for range 120 {
		id := ids[rng.IntN(peers)]
		switch n := rng.IntN(20); {
		case n < 8 && alive(c.leader):
			o := copies(1+rng.IntN(3), 3)
			o.UserAllocations = []api.PeerID{id}
			if rng.IntN(3) == 0 {
				o.ExpireAt = time.Now().Add(time.Duration(1+rng.IntN(600)) * time.Second)
			}
			p := ask(rng.IntN(pins), o)
			p.Size = 100
			_, _, err := c.pinners[c.leader].Pin(t.Context(), p)
			if k := api.KindOf(err); err != nil && k != api.Invalid && k != api.Full && k != api.Unavailable {
				t.Fatal(err)
			}
		case n < 10:
			_, _, _ = c.pinners[c.leader].Unpin(t.Context(), testCid(rng.IntN(pins))) // may be none
		case n < 13 && id != c.leader:
			change(id, func(h *api.PeerHealth) {
				if h.Alive {
					h.Alive, h.Since = false, time.Now()
				}
			})
		case n < 15:
			revive(id)
		case n < 16 && id != c.leader && member(id):
			c.mu.Lock()
			c.apply([]api.Op{{Type: api.OpRemove, Peer: id}})
			c.health = slices.DeleteFunc(c.health, func(h api.PeerHealth) bool { return h.ID == id })
			c.mu.Unlock()
		case n < 17 && !member(id):
			c.mu.Lock()
			c.apply([]api.Op{{Type: api.OpJoin, Member: &api.Member{ID: id}}})
			h := all[slices.Index(ids, id)]
			h.Since = time.Now()
			c.health = append(c.health, h)
			c.mu.Unlock()
		case n < 19:
			change(id, func(h *api.PeerHealth) { h.Free = int64(rng.IntN(2)) << 40 })
		default:
			if member(id) && alive(id) {
				c.lead(slices.Index(c.ids, id))
			}
		}
		after(time.Duration(rng.IntN(40)) * time.Second)
	}
	for _, id := range ids {
		revive(id)
		change(id, func(h *api.PeerHealth) { h.Free = 1 << 40 })
	}
	after(time.Hour)
	for pin, err := range c.st.List(t.Context(), api.CidUndef) {
		if err != nil {
			t.Fatal(err)
		}
		enough := min(pin.ReplicationFactorMin, len(c.Health()))
		if n := len(pin.Allocations); n < enough || n > pin.ReplicationFactorMax || len(pin.Leaving) > 0 || !slices.ContainsFunc(pin.Allocations, member) {
			t.Errorf("%s is on %v of %d peers, leaving %v; want %d to %d", pin.Cid, pin.Allocations, len(c.Health()), pin.Leaving, pin.ReplicationFactorMin, pin.ReplicationFactorMax)
		}
		for _, p := range pin.Allocations {
			if !member(p) && len(c.Health()) >= pin.ReplicationFactorMin {
				t.Errorf("%s is on %s, which is none of %d peers", pin.Cid, p, len(c.Health()))
			}
		}
		if pin.Expires() {
			t.Errorf("%s has not expired", pin.Cid)
		}
	}
	if s := c.repairStatus(); !s.Running || s.Moving > 0 || s.Paused != "" || s.Below > 0 && len(c.Health()) >= 3 {
		t.Errorf("repair: %+v", s)
	}
}
