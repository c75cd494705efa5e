package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// trio is three peers by what they were when their ways were cut.
type trio struct {
	net                *lan
	leader, one, other *testPeer
}

func (c trio) all() []*testPeer       { return []*testPeer{c.leader, c.one, c.other} }
func (c trio) followers() []*testPeer { return []*testPeer{c.one, c.other} }

// held is how long ways are cut at least: longer than a follower waits for its leader.
const held = 2500 * time.Millisecond

// Ways between peers are cut under load. Those that reach enough of the others go on
// soon. Once the ways are open again all have the same pinset: in it is what was
// acknowledged, and nothing that was refused.
func TestCluster_Partitions(t *testing.T) {
	t.Parallel()
	net := newLAN(t)
	peers := startOn(t, net, 3)
	h := newHistory()
	for _, test := range []struct {
		name string
		cut  func(trio)
		on   func(trio) []*testPeer // these must go on
	}{
		{"the leader is alone", func(c trio) {
			net.part(c.followers(), []*testPeer{c.leader})
		}, trio.followers},
		{"the leader is not heard", func(c trio) {
			net.cut([]*testPeer{c.leader}, c.followers())
		}, trio.followers},
		{"the leader hears nobody", func(c trio) {
			net.cut(c.followers(), []*testPeer{c.leader})
		}, trio.followers},
		{"a follower is not heard", func(c trio) {
			net.cut([]*testPeer{c.one}, []*testPeer{c.leader, c.other})
		}, func(c trio) []*testPeer { return []*testPeer{c.leader, c.other} }},
		{"a follower hears nobody", func(c trio) {
			net.cut([]*testPeer{c.leader, c.other}, []*testPeer{c.one})
		}, func(c trio) []*testPeer { return []*testPeer{c.leader, c.other} }},
		{"the leader and a follower are cut off from each other", func(c trio) {
			net.part([]*testPeer{c.leader}, []*testPeer{c.one})
		}, func(c trio) []*testPeer { return []*testPeer{c.leader, c.other} }},
		{"the followers are cut off from each other", func(c trio) {
			net.part([]*testPeer{c.one}, []*testPeer{c.other})
		}, trio.all},
		{"the leader comes and goes", func(c trio) {
			for i := range 5 {
				net.part(c.followers(), []*testPeer{c.leader})
				<-time.After(time.Duration(1200-250*i) * time.Millisecond)
				net.heal()
				<-time.After(time.Duration(100+50*i) * time.Millisecond)
			}
		}, trio.all},
	} {
		t.Run(test.name, func(t *testing.T) {
			leader, others := leaderOf(t, peers)
			c := trio{net, leader, others[0], others[1]}
			stop := writers(t, h, peers)
			stopHasty := during(t, peers, func(ctx context.Context, p *testPeer) { h.write(ctx, p, 1, hastily) })
			h.wait(t, 30)
			test.cut(c)
			cut := time.Now()
			var longest time.Duration
			for _, p := range test.on(c) {
				took := h.goesOn(t, p, cut)
				longest = max(longest, took)
			}
			<-time.After(time.Until(cut.Add(held)))
			h.wait(t, 30)
			net.heal()
			healed := time.Now()
			for _, p := range peers {
				h.goesOn(t, p, healed)
			}
			stop()
			stopHasty()
			waitTogether(t, peers)
			for _, p := range peers {
				h.check(t, p)
			}
			now, _ := leaderOf(t, peers)
			t.Logf("writes went on after %s, healed after %s; led by another: %t",
				longest.Round(time.Millisecond), time.Since(healed).Round(time.Millisecond), now != leader)
		})
	}
	if h.refused == 0 {
		t.Error("nothing was refused: the test has not looked at what becomes of that")
	}
	t.Logf("%d writes were acknowledged, %d refused, %d are in doubt", h.acknowledged(), h.refused, h.doubt)
}

// hastily makes changes with a peer's own means, and waits for less than a failover
// takes.
func hastily(ctx context.Context, p *testPeer, c api.Cid, w want) (refused bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 700*time.Millisecond)
	defer cancel()
	if w.pinned {
		o := copies(1)
		o.Name = w.name
		_, _, err = p.daemon.pinner.Pin(ctx, api.NewPin(c, o, time.Now()))
	} else {
		_, _, err = p.daemon.pinner.Unpin(ctx, c)
	}
	return api.KindOf(err) == api.Unavailable, err
}

// goesOn waits until a write through p that began after a moment is acknowledged, and
// tells how long after. It may take longer than the death of a leader (failoverLimit):
// nothing tells of a cut, and this process is all peers at once.
func (h *history) goesOn(t *testing.T, p *testPeer, after time.Time) (took time.Duration) {
	t.Helper()
	eventually(t, patience, func() error {
		var ok bool
		if took, ok = h.recovered(p, after); !ok {
			return fmt.Errorf("no write through %s was acknowledged", p.name)
		}
		return nil
	})
	return took
}
