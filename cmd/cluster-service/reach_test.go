package main

import (
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/feed"
	"github.com/pinfold-cluster/pinfold/p2p"
)

// A data host that lets a follower in no more would otherwise be called for ever.
func TestReach_CallsAgainEverMoreSeldom(t *testing.T) {
	id, begin := randomPeer(t), time.Now()
	r := &reach{redials: map[api.PeerID]redial{}}
	calls := func(from time.Time) (n int) {
		for at := from; at.Before(from.Add(reachFor)); at = at.Add(linkPeriod) {
			if r.mayDial(id, at) {
				n++
			}
		}
		return n
	}
	if n := calls(begin); n < 5 || n > 20 {
		t.Errorf("%d calls in %v, want 5 to 20", n, reachFor)
	}
	later := begin.Add(3 * reachFor)
	if !r.mayDial(id, later) || !r.mayDial(id, later.Add(linkPeriod)) {
		t.Error("one that was connected for long is not called at once when the connection ends")
	}
}

func TestReach_ForgetsWhomItHasNotMetForLong(t *testing.T) {
	data := newDataHost(t, &p2p.Cluster{})
	r := newReach(data, quiet)
	m, f := feed.Peer{Member: true, Data: peer.AddrInfo{ID: randomPeer(t)}}, feed.Peer{Data: peer.AddrInfo{ID: randomPeer(t)}}
	r.meet(m)
	r.meet(f)
	if n := len(r.known()); n != 2 {
		t.Fatalf("%d data hosts are known, want 2", n)
	}
	if now := time.Now(); !r.mayDial(m.Data.ID, now) || r.mayDial(m.Data.ID, now) {
		t.Fatal("a member is called twice at once, or not at all")
	}
	r.meet(m)
	if !r.mayDial(m.Data.ID, time.Now()) {
		t.Error("a member that is met again is not called at once")
	}
	for _, known := range []map[api.PeerID]met{r.members, r.followers} {
		for id, p := range known {
			p.at = time.Now().Add(-reachFor - time.Second)
			known[id] = p
		}
	}
	if n := len(r.known()); n != 0 || len(r.redials) != 0 {
		t.Errorf("%d data hosts are known that were met long ago, %d to be called", n, len(r.redials))
	}
}
