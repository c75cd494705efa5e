package pinner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

const grace = 10 * time.Minute

// on pins n on exactly those peers.
func (c *cluster) on(n int, peers ...int) api.Pin {
	return c.pin(0, ask(n, api.PinOptions{ReplicationFactorMin: len(peers), ReplicationFactorMax: len(peers), UserAllocations: c.peers(peers...)}))
}

func (c *cluster) want(n int, what string, holders, leaving []api.PeerID) {
	c.t.Helper()
	if p := c.get(testCid(n)); !slices.Equal(p.Allocations, holders) || !slices.Equal(p.Leaving, leaving) {
		c.t.Fatalf("%s: pin %d is on %v, leaving %v; want %v, %v", what, n, p.Allocations, p.Leaving, holders, leaving)
	}
}

func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestRepair_DeadPeerIsReplacedAfterTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newBubble(t, 3, Options{Grace: grace})
		c.hold(0, testCid(1), testCid(2))
		c.run()
		at := c.on(1, 0, 1).Timestamp
		c.on(2, 0, 2)
		c.pin(0, ask(3, copies(-1, -1)))
		c.pin(0, ask(4, copies(1, 1)))
		after(time.Minute)

		c.die(1)
		after(grace - time.Minute)
		c.want(1, "within the grace", c.peers(0, 1), nil)
		if s := c.pinners[c.ids[0]].Repair(); !s.Running || s.Below != 1 || s.Paused != "" {
			t.Fatalf("within the grace: %+v", s)
		}

		after(2 * time.Minute)
		c.want(1, "after the grace", c.peers(0, 2), c.peers(1))
		c.want(2, "not concerned", c.peers(0, 2), nil)
		c.want(3, "everywhere", []api.PeerID{}, nil)
		if p := c.get(testCid(1)); !p.Timestamp.Equal(at) {
			t.Fatal("repair changed when the user pinned it")
		}
		if s := c.pinners[c.ids[0]].Repair(); s.Below != 0 || s.Moving != 1 || s.Done != 0 {
			t.Fatalf("no copy yet: %+v", s)
		}

		c.hold(2, testCid(1))
		after(5 * time.Minute)
		c.want(1, "the new holder has it", c.peers(0, 2), nil)
		if s := c.pinners[c.ids[0]].Repair(); s.Moving != 0 || s.Done != 1 {
			t.Fatalf("done: %+v", s)
		}
	})
}

func TestRepair_PinWithEnoughHoldersStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newBubble(t, 4, Options{Grace: grace})
		c.run()
		c.pin(0, ask(1, api.PinOptions{ReplicationFactorMin: 1, ReplicationFactorMax: 2, UserAllocations: c.peers(1, 2)}))
		c.die(1)
		after(2 * grace)
		c.want(1, "one of two, one is enough", c.peers(1, 2), nil)
	})
}

func TestRepair_PeerThatComesBackKeepsItsPins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newBubble(t, 3, Options{Grace: grace})
		c.hold(0, testCid(1), testCid(2))
		c.hold(1, testCid(1), testCid(2))
		c.run()
		c.on(1, 0, 1)
		after(time.Minute)

		c.die(1)
		after(grace / 2)
		c.comeBack(1)
		after(grace)
		c.want(1, "back within the grace", c.peers(0, 1), nil)

		c.die(1)
		after(grace + time.Minute)
		c.want(1, "placed anew", c.peers(0, 2), c.peers(1))
		c.comeBack(1)
		after(5 * time.Minute)
		c.want(1, "back before the other has its copy", c.peers(0, 1), nil)
	})
}

func TestRepair_UsersMoveIsNotUndone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newBubble(t, 3, Options{Grace: grace})
		c.hold(0, testCid(1))
		c.run()
		c.die(0)
		c.lead(1)
		after(time.Minute)
		c.comeBack(0) // it died once, before the user moves the pin off it
		c.on(1, 0)
		c.on(1, 1)
		after(time.Hour)
		c.want(1, "until the copy is there", c.peers(1), c.peers(0))
		c.hold(1, testCid(1))
		after(time.Hour)
		c.want(1, "once it is", c.peers(1), nil)
	})
}

func TestRepair_StopsWhenManyDieTogether(t *testing.T) {
	for _, tt := range []struct {
		peers, dead int
		apart       time.Duration
		stops       bool
	}{
		{3, 1, 0, false},
		{3, 2, 0, true},
		{6, 2, 0, false},
		{6, 3, 0, true},
		{6, 3, 2 * grace, false}, // one after the other
	} {
		t.Run(fmt.Sprintf("%d of %d, %v apart", tt.dead, tt.peers, tt.apart), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newBubble(t, tt.peers, Options{Grace: grace})
				c.run()
				last := tt.peers - 1
				c.on(1, last)
				for i := range tt.dead {
					if i > 0 {
						after(tt.apart)
					}
					c.die(last - i)
				}
				after(3 * grace)
				moved := !slices.Equal(c.get(testCid(1)).Allocations, c.peers(last))
				if s := c.pinners[c.ids[0]].Repair(); moved == tt.stops || (s.Paused != "") != tt.stops {
					t.Fatalf("moved: %v, status %+v", moved, s)
				}
			})
		})
	}
}

func TestRepair_NoRoomIsToldAndTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newBubble(t, 3, Options{Grace: grace})
		c.run()
		c.on(1, 0, 1)
		c.set(2, func(h *api.PeerHealth) { h.Free = 0 })
		c.die(1)
		after(2 * grace)
		if s := c.pinners[c.ids[0]].Repair(); s.Below != 1 || s.LastError == "" {
			t.Fatalf("no room: %+v", s)
		}
		c.set(2, func(h *api.PeerHealth) { h.Free = 1 << 30 })
		after(time.Minute)
		c.want(1, "room again", c.peers(0, 2), nil) // everybody confirms, so the dead one has left
	})
}

func TestRepair_MoreCopiesAreBetterThanNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newBubble(t, 7, Options{Grace: grace})
		c.hold(0)
		c.run()
		c.on(1, 0, 1, 2, 3)
		c.die(1)
		c.die(2)
		c.set(4, func(h *api.PeerHealth) { h.Free = 0 })
		c.set(5, func(h *api.PeerHealth) { h.Free = 0 })
		after(2 * grace)
		c.want(1, "one of two can be replaced", c.peers(0, 3, 6), c.peers(1, 2))
		if s := c.pinners[c.ids[0]].Repair(); s.Moving != 1 {
			t.Fatalf("%+v", s)
		}
	})
}

func TestRepair_RemovedPeerIsReplacedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newBubble(t, 4, Options{Grace: grace, NoRepair: true})
		c.run()
		c.on(1, 0, 3)
		after(time.Minute)
		c.mu.Lock()
		c.apply([]api.Op{{Type: api.OpRemove, Peer: c.ids[3]}})
		c.health = c.health[:3]
		c.mu.Unlock()
		after(time.Minute)
		if p := c.get(testCid(1)); len(p.Allocations) != 2 || slices.Contains(p.Allocations, c.ids[3]) || len(p.Leaving) != 0 {
			t.Fatalf("on %v, leaving %v", p.Allocations, p.Leaving)
		}
	})
}

func TestRepair_NewLeaderFinishesWhatAnotherBegan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newBubble(t, 4, Options{Grace: grace})
		c.hold(0, testCid(1), testCid(2))
		c.run()
		c.on(1, 0, 1) // its holder is removed when nobody leads
		c.on(2, 0)
		c.on(2, 2) // its holder is leaving
		after(time.Minute)
		c.mu.Lock()
		c.leader = ""
		c.mu.Unlock()
		after(time.Minute)
		c.mu.Lock()
		c.apply([]api.Op{{Type: api.OpRemove, Peer: c.ids[1]}})
		c.health = slices.Delete(c.health, 1, 2)
		c.mu.Unlock()
		c.hold(2, testCid(1), testCid(2))
		c.hold(3, testCid(1))
		c.lead(3)
		after(10 * time.Minute)
		c.want(2, "left", c.peers(2), nil)
		if p := c.get(testCid(1)); len(p.Allocations) != 2 || slices.Contains(p.Allocations, c.ids[1]) || len(p.Leaving) != 0 {
			t.Fatalf("on %v, leaving %v", p.Allocations, p.Leaving)
		}
		if c.pinners[c.ids[0]].Repair().Running || !c.pinners[c.ids[3]].Repair().Running {
			t.Fatal("only the leader repairs")
		}
	})
}

func TestD08_UpdatedPinFailsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newBubble(t, 3, Options{Grace: grace})
		c.run()
		c.on(1, 0, 1)
		c.pin(0, ask(2, api.PinOptions{PinUpdate: testCid(1)}))
		if _, _, err := c.pinners[c.ids[0]].Unpin(t.Context(), testCid(1)); err != nil {
			t.Fatal(err)
		}
		c.die(1)
		after(2 * grace)
		c.want(2, "failed over", c.peers(0, 2), nil)
		if c.get(testCid(2)).PinUpdate.Defined() {
			t.Fatal("the source is remembered for ever")
		}
	})
}

func TestRepair_ManyPinsWithinTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newBubble(t, 3, Options{Grace: grace, Rate: 30})
		c.run()
		c.onMany(0, 300, 0, 1)
		c.die(1)
		after(grace - time.Second)
		for c.naming(2) == 0 {
			after(time.Second)
		}
		began := time.Now()
		for c.naming(2) < 300 {
			after(time.Second)
		}
		if took := time.Since(began); took < 5*time.Second || took > time.Minute {
			t.Fatalf("300 pins took %v at 30/s", took)
		}
	})
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newBubble(t, 3, Options{})
		c.run()
		gone := func(n int) bool {
			_, err := c.st.Get(context.Background(), testCid(n))
			return errors.Is(err, api.NotFound)
		}
		after(5 * time.Minute)
		c.pin(1, ask(1, api.PinOptions{ExpireAt: time.Now().Add(time.Hour)}))
		c.pin(1, ask(2, api.PinOptions{ExpireAt: time.Now().Add(10 * time.Second)}))
		c.pin(1, ask(3, api.PinOptions{}))
		after(9 * time.Second)
		if gone(2) {
			t.Fatal("gone early")
		}
		after(2 * time.Second)
		if !gone(2) || gone(1) || gone(3) {
			t.Fatalf("after 11s: %v %v %v", gone(1), gone(2), gone(3))
		}

		c.lead(2)
		c.pin(0, ask(4, api.PinOptions{ExpireAt: time.Now().Add(2 * time.Hour)}))
		c.pin(0, ask(1, api.PinOptions{ExpireAt: time.Now().Add(3 * time.Hour)})) // prolonged
		after(2*time.Hour + 2*time.Second)
		if !gone(4) || gone(1) {
			t.Fatalf("under another leader: %v %v", gone(4), gone(1))
		}

		for i := range 2 { // this leader's clock is off
			c.set(i, func(h *api.PeerHealth) { h.Skew = -2 * time.Minute })
		}
		after(2 * time.Hour)
		if gone(1) {
			t.Fatal("expired by a clock that is off")
		}
		c.set(0, func(h *api.PeerHealth) { h.Skew = time.Second })
		after(2 * time.Second)
		if !gone(1) {
			t.Fatal("the clock is right again")
		}
	})
}
