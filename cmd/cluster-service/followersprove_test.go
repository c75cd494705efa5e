package main

import (
	"fmt"
	"slices"
	"testing"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded"
)

// strangers are followers of a cluster of three whose pins all have two holders, one of
// which dies: one follower that has the copies it is named for, and one that says so.
type strangers struct {
	t                   *testing.T
	leader, dead, third *testPeer
	honest, stops, liar *talker
}

func meetStrangers(t *testing.T, settings ...string) *strangers {
	t.Helper()
	peers := startCluster(t, 3, append(settings, "FOLLOWERS_ASKINTERVAL=200ms", "FOLLOWERS_CHALLENGEINTERVAL=200ms")...)
	s := &strangers{t: t}
	var others []*testPeer
	s.leader, others = leaderOf(t, peers)
	s.dead, s.third = others[0], others[1]
	has := ownBlocks{s.leader.daemon.node.(*embedded.Node)}
	s.honest = s.third.talk("honest", &talker{blocks: has, hold: "allocated"}) // of a peer that has no copy
	s.stops = s.leader.talk("stops", &talker{blocks: has, hold: "allocated"})
	s.liar = s.third.talk("liar", &talker{blocks: noBlocks{}})
	return s
}

// add adds content with a copy on the leader and on the one that dies.
func (s *strangers) add(named ...api.PeerID) api.Cid {
	s.t.Helper()
	o := copies(2)
	o.UserAllocations, o.Followers = []api.PeerID{s.leader.id, s.dead.id}, named
	return s.leader.add(randomBytes(600<<10), o)
}

// on waits until a pin is held by just these.
func (s *strangers) on(what string, c api.Cid, holders ...*testPeer) {
	s.t.Helper()
	eventually(s.t, patience, func() error {
		pin, err := s.leader.http.Allocation(s.t.Context(), c)
		if err == nil && !s.just(pin, holders...) {
			err = fmt.Errorf("%s: %s is on %v", what, c, pin.Allocations)
		}
		return err
	})
}

func (s *strangers) just(pin api.Pin, holders ...*testPeer) bool {
	return len(pin.Allocations) == len(holders) && !slices.ContainsFunc(holders, func(p *testPeer) bool { return !slices.Contains(pin.Allocations, p.id) })
}

// A holder dies. Where the operator lets copies at followers count, pins stay as they are
// whose followers prove theirs, until these fail or stop. What the liar says counts never.
func TestFollowers_CopiesCount(t *testing.T) {
	s := meetStrangers(t, "FOLLOWERS_COUNTCOPIES=true")
	a, b, claimed := s.add(s.honest.id), s.add(s.stops.id), s.add()
	s.dead.stop()
	s.on("only the liar says it has it", claimed, s.leader, s.third)
	repair := func(below, covered uint64) {
		t.Helper()
		eventually(t, patience, func() error {
			r, err := s.leader.http.Repair(t.Context())
			if err == nil && (r.Below != below || r.Covered != covered) {
				err = fmt.Errorf("repair is %+v, want %d pins below and %d covered", r, below, covered)
			}
			return err
		})
	}
	repair(0, 2)
	s.on("a follower proves its copy", a, s.leader, s.dead)
	s.on("a follower proves its copy", b, s.leader, s.dead)
	info, err := s.third.http.Copies(t.Context(), a, false)
	if err != nil || len(info.Followers) == 0 || info.Followers[s.honest.id.String()].Status != api.StatusPinned {
		t.Errorf("copies at followers are shown as %+v, %v", info.Followers, err)
	}
	if _, ok := info.PeerMap[s.honest.id.String()]; ok {
		t.Error("a follower is shown among the peers")
	}

	s.honest.lost.Store(true)
	s.on("it has lost its copy", a, s.leader, s.third)
	s.on("the other has not", b, s.leader, s.dead)
	s.stops.stop()
	s.on("it has stopped", b, s.leader, s.third)
	repair(0, 0)
}

// Without the setting a pin of a dead holder is placed anew, whatever followers have.
func TestFollowers_CopiesDoNotCountByDefault(t *testing.T) {
	s := meetStrangers(t)
	a := s.add(s.honest.id)
	s.dead.stop()
	s.on("the setting is off", a, s.leader, s.third)
}
