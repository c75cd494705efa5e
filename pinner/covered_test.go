package pinner

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/pinfold-cluster/pinfold/api"
)

// Copies that followers prove make up for dead holders, as long as a member
// has one, and as long as they are proven.
func TestRepair_FollowersCopiesCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newBubble(t, 5, Options{Grace: grace})
		for peer, pins := range [][]int{0: {1, 2, 3, 5}, 1: {1, 2, 4}, 2: {5}} {
			for _, n := range pins {
				c.hold(peer, testCid(n))
			}
		}
		c.run()
		c.on(1, 0, 1)    // proven
		c.on(2, 0, 1)    // not
		c.on(3, 1)       // no member has it but the one that dies
		c.on(4, 1, 2)    // nor this one: the other has not got it yet
		c.on(5, 0, 1, 2) // proven once, which is enough for one of two
		c.follow(map[api.Cid]int{testCid(1): 1, testCid(3): 9, testCid(4): 9, testCid(5): 1})
		status := func(what string, below, covered uint64) {
			t.Helper()
			if s := c.pinners[c.ids[0]].Repair(); s.Below != below || s.Covered != covered {
				t.Errorf("%s: %d pins are below their minimum, %d covered; want %d, %d", what, s.Below, s.Covered, below, covered)
			}
		}

		c.die(1)
		after(grace / 2)
		status("within the grace nobody is asked", 5, 0)
		after(grace)
		c.want(1, "covered", c.peers(0, 1), nil)
		c.want(5, "covered", c.peers(0, 1, 2), nil)
		for _, n := range []int{2, 3, 4} {
			for _, p := range c.get(testCid(n)).Allocations {
				if p == c.ids[1] {
					t.Errorf("pin %d goes on counting on the dead", n)
				}
			}
		}
		status("after it", 0, 2)

		c.die(2) // later: no mass failure
		after(3 * grace)
		c.want(1, "as before", c.peers(0, 1), nil)
		if p := c.get(testCid(5)); len(p.Allocations) != 3 || p.Allocations[0] == c.ids[1] {
			t.Errorf("one copy at a follower does not make up for two: %v", p.Allocations)
		}

		c.follow(map[api.Cid]int{})
		after(3 * grace)
		if p := c.get(testCid(1)); len(p.Allocations) != 2 || slices.Contains(p.Allocations, c.ids[1]) {
			t.Errorf("the followers are gone, and it is on %v", p.Allocations)
		}
		status("in the end", 0, 0)
	})
}

// Who removes a dead peer gets its pins placed anew, whatever followers have.
func TestRepair_FollowersDoNotStandInForRemovedPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newBubble(t, 4, Options{Grace: grace})
		c.hold(0, testCid(1))
		c.run()
		c.on(1, 0, 1)
		c.follow(map[api.Cid]int{testCid(1): 5})
		c.die(1)
		after(3 * grace)
		c.want(1, "covered", c.peers(0, 1), nil)
		c.apply([]api.Op{{Type: api.OpRemove, Peer: c.ids[1]}})
		after(grace)
		if p := c.get(testCid(1)); len(p.Allocations) != 2 || slices.Contains(p.Allocations, c.ids[1]) {
			t.Errorf("its dead holder is removed, and it is on %v", p.Allocations)
		}
		if s := c.pinners[c.ids[0]].Repair(); s.Below != 0 || s.Covered != 0 {
			t.Errorf("%d pins are below their minimum, %d covered", s.Below, s.Covered)
		}
	})
}

// Where the operator does not let them count, what followers have changes nothing.
func TestRepair_FollowersCopiesDoNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newBubble(t, 3, Options{Grace: grace})
		c.hold(0, testCid(1))
		c.run()
		c.on(1, 0, 1)
		c.die(1)
		after(2 * grace)
		c.want(1, "after the grace", c.peers(0, 2), c.peers(1))
	})
}
