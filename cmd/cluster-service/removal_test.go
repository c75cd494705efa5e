package main

import (
	"testing"
	"time"
)

// hungLimit is how long it may take to remove a leader that hangs: until the others have
// another, and what asking the one that hangs costs.
const hungLimit = 12 * time.Second

// The leader hangs when it is removed, by a call through another peer: that asks it to
// hand over, gets no answer, and goes on with the leader that the others have elected.
func TestRemove_OfALeaderThatHangs(t *testing.T) {
	peers := spawnCluster(t, 3)
	leader, others := leaderOf(t, peers)
	leader.freeze()
	began := time.Now()
	err := others[0].http.RemovePeer(t.Context(), leader.id)
	took := time.Since(began)
	leader.kill()
	if err != nil || took > hungLimit {
		t.Errorf("removing a leader that hangs took %s, want at most %s: %v", took.Round(time.Millisecond), hungLimit, err)
	}
	waitTogether(t, others)
}
