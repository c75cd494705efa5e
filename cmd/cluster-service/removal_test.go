package main

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// hungLimit is how long it may take to remove a leader that hangs: until the others have
// another, and what asking the one that hangs costs; on a slow machine too.
const hungLimit = 30 * time.Second

// insist removes a peer. On a busy machine a leader may lose its place meanwhile, and then
// nobody knows whether it is removed.
func insist(t *testing.T, remove func(context.Context, api.PeerID) error, id api.PeerID) {
	t.Helper()
	tried := false
	eventually(t, patience, func() error {
		err := remove(t.Context(), id)
		switch code(err) {
		case http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			tried = true
			return err
		case http.StatusNotFound:
			if tried {
				return nil
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		return nil
	})
}

// The leader hangs when it is removed, by a call through another peer: that asks it to
// hand over, gets no answer, and goes on with the leader that the others have elected.
func TestRemove_OfALeaderThatHangs(t *testing.T) {
	peers := spawnCluster(t, 3)
	leader, others := leaderOf(t, peers)
	leader.freeze()
	began := time.Now()
	insist(t, others[0].http.RemovePeer, leader.id)
	took := time.Since(began)
	leader.thaw()
	if took > hungLimit {
		t.Errorf("removing a leader that hangs took %s, want at most %s", took.Round(time.Millisecond), hungLimit)
	}
	if err := leader.endsByItself(); err == nil {
		t.Error("the removed leader ends without an error")
	}
	waitTogether(t, others)
}

// A peer is removed while it does not run. Nobody sends it the log any more: when it comes
// back, members tell it, and it ends as one does that hears of it at once. The elections
// that it calls until then do not concern them. Then it joins anew, as who it was.
func TestRemove_WhileAway(t *testing.T) {
	peers := startCluster(t, 3)
	leader, others := leaderOf(t, peers)
	gone, stay := others[0], []*testPeer{leader, others[1]}
	term := func() (term uint64) {
		t.Helper()
		eventually(t, patience, func() (err error) {
			leader, _ := leaderOf(t, stay)
			term, err = leader.daemon.cons.Ready(t.Context())
			return err
		})
		return term
	}
	away := func(remove func(context.Context, api.PeerID) error) {
		t.Helper()
		gone.stop()
		insist(t, remove, gone.id)
		for tries := 1; ; tries++ { // on a busy machine a leader may lose its place by itself
			before := term()
			gone.start()
			if err := gone.endsByItself(); err == nil || !strings.Contains(err.Error(), "was removed from the cluster") || !strings.Contains(err.Error(), "state cleanup") {
				t.Errorf("%s ends with %v, want that it was removed, and what to do", gone.name, err)
			}
			now := term()
			if now == before {
				return
			}
			if tries == 3 {
				t.Errorf("the term is %d, and was %d before the removed peer came back", now, before)
				return
			}
		}
	}
	away(others[1].http.RemovePeer)
	if _, err := gone.dir.cleanUp(); err != nil {
		t.Fatal(err)
	}
	gone.mustJoin(leader.invite())
	gone.start()
	waitTogether(t, append(stay, gone))
	away(others[1].http.RevokePeer) // now the members' certificates are of a key that it does not know
	waitTogether(t, stay)
}
