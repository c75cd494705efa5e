package main

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// failoverLimit is how long a cluster may take no writes after its leader was killed: on a
// slow machine too, where nobody may win the first elections.
const failoverLimit = 20 * time.Second

// The leader dies while all peers write: the others go on, and have all that was
// acknowledged. It comes back and has it too.
func TestCluster_GoesOnWithoutItsLeader(t *testing.T) {
	peers := spawnCluster(t, 3)
	leader, others := leaderOf(t, peers)
	h := newHistory()
	stop := writers(t, h, peers)
	h.wait(t, 100)
	killed := time.Now()
	leader.kill()
	for _, p := range others {
		eventually(t, patience, func() error {
			took, ok := h.recovered(p, killed)
			if !ok {
				return fmt.Errorf("no write through %s was acknowledged", p.name)
			}
			t.Logf("a write through %s was acknowledged %s after the leader died", p.name, took)
			if took > failoverLimit {
				t.Errorf("that is over %s", failoverLimit)
			}
			return nil
		})
	}
	h.wait(t, 100)
	stop()
	waitEqual(t, others) // a peer sees at once what it took itself, other writes a moment later
	for _, p := range others {
		h.check(t, p)
	}
	leader.spawn()
	waitTogether(t, peers)
	h.check(t, leader)
	t.Logf("%d writes were acknowledged, %d are in doubt", h.acknowledged(), h.doubt)
}

// All processes die at once while they write. They come back with all that was
// acknowledged, and with the same pinset.
func TestCluster_ComesBackAfterAllWereKilled(t *testing.T) {
	peers := spawnCluster(t, 3)
	h := newHistory()
	for range 2 {
		stop := writers(t, h, peers)
		h.wait(t, 100)
		each(peers, (*testPeer).kill)
		stop()
		for _, p := range peers {
			p.spawn()
		}
		waitTogether(t, peers)
		for _, p := range peers {
			h.check(t, p)
		}
	}
	t.Logf("%d writes were acknowledged, %d are in doubt", h.acknowledged(), h.doubt)
}

// writers write through all peers until the function returned is called.
func writers(t *testing.T, h *history, peers []*testPeer) (stop func()) {
	return during(t, peers, func(ctx context.Context, p *testPeer) { h.write(ctx, p, 2, overREST) })
}

// during runs f for all peers until the function returned is called.
func during(t *testing.T, peers []*testPeer, f func(context.Context, *testPeer)) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		each(peers, func(p *testPeer) { f(ctx, p) })
	}()
	return func() { cancel(); <-done }
}
