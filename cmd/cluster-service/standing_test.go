package main

import (
	"testing"

	"github.com/pinfold-cluster/pinfold/api"
)

// A member says of a removed peer that it is, as long as it does not come back, and asks
// the leader for few of those who ask.
func TestStanding_OfARemovedPeer(t *testing.T) {
	peers := startCluster(t, 2)
	leader, others := leaderOf(t, peers)
	gone := others[0]
	removed := func(id api.PeerID) bool {
		t.Helper()
		s, err := leader.daemon.standing(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return s.Removed
	}
	if removed(gone.id) || removed("a stranger") {
		t.Error("a member or a stranger counts as removed")
	}
	insist(t, leader.http.RemovePeer, gone.id)
	if !removed(gone.id) {
		t.Error("the removed peer does not count as such")
	}
	var err error
	for n := 0; n < 10*standingBurst && err == nil; n++ {
		_, err = leader.daemon.standing(t.Context(), gone.id)
	}
	if api.KindOf(err) != api.Unavailable {
		t.Errorf("one that asks without end: %v", err)
	}
	if err := gone.endsByItself(); err == nil {
		t.Error("the removed peer ends without an error")
	}
	if _, err := gone.dir.cleanUp(); err != nil {
		t.Fatal(err)
	}
	gone.mustJoin(leader.invite())
	if removed(gone.id) {
		t.Error("a peer that joined again counts as removed")
	}
}
