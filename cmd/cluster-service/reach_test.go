package main

import (
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pinfold-cluster/pinfold/feed"
	"github.com/pinfold-cluster/pinfold/p2p"
)

// A data host that lets a follower in no more would otherwise be called for ever.
func TestReach_CallsAgainEverMoreSeldom(t *testing.T) {
	begin, r := time.Now(), redial{}
	calls := func(from time.Time) (n int) {
		for at := from; at.Before(from.Add(reachFor)); at = at.Add(linkPeriod) {
			if r.may(at) {
				n++
			}
		}
		return n
	}
	if n := calls(begin); n < 5 || n > 20 {
		t.Errorf("%d calls in %v, want 5 to 20", n, reachFor)
	}
	later := begin.Add(3 * reachFor)
	if !r.may(later) || !r.may(later.Add(linkPeriod)) {
		t.Error("one that was connected for long is not called at once when the connection ends")
	}
}

func TestReach_ForgetsWhomItHasNotMetForLong(t *testing.T) {
	data := newDataHost(t, &p2p.Cluster{})
	r := newReach(data, quiet)
	m, f := feed.Peer{Member: true, Data: peer.AddrInfo{ID: randomPeer(t)}}, feed.Peer{ID: randomPeer(t), Data: peer.AddrInfo{ID: randomPeer(t)}}
	r.meet(m)
	r.meet(f)
	if n := len(r.known()); n != 2 {
		t.Fatalf("%d data hosts are known, want 2", n)
	}
	if now := time.Now(); len(r.due(now)) != 2 || len(r.due(now)) != 0 {
		t.Fatal("they are called twice at once, or not at all")
	}
	r.meet(m)
	r.meet(f)
	if n := len(r.due(time.Now())); n != 1 {
		t.Errorf("when both are met again %d are called at once, want the member alone", n)
	}
	for in := range r.all(time.Now()) {
		in.at = time.Now().Add(-reachFor - time.Second)
	}
	if n := len(r.known()); n != 0 {
		t.Errorf("%d data hosts are known that were met long ago", n)
	}
}
