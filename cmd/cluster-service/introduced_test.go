package main

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/feed"
	"github.com/pinfold-cluster/pinfold/p2p"
)

// introduced is somebody new at an address who tells of a data host.
func introduced(t *testing.T, from string) feed.Peer {
	t.Helper()
	return feed.Peer{ID: randomPeer(t), From: from, Data: peer.AddrInfo{ID: randomPeer(t)}}
}

func TestIntroductions_OneMachineKeepsNobodyOut(t *testing.T) {
	const room, others = 16, 6
	i := newIntroductions(room, func(in *introduction) bool { return in.reached })
	begin, n := time.Now(), 0
	add := func(from string) (who, lost api.PeerID, ok bool) {
		n++
		who = api.PeerID(fmt.Sprint(n))
		lost, ok = i.add(who, introduction{AddrInfo: peer.AddrInfo{ID: "data " + who}, from: from, at: begin.Add(time.Duration(n))})
		return who, lost, ok
	}
	has := func(who api.PeerID) bool { _, ok := i.by[who]; return ok }
	for range 2 * room {
		add("one machine")
	}
	if len(i.by) != room || !has("1") || has("17") {
		t.Errorf("one machine has %d of %d, the first %t, the last %t", len(i.by), room, has("1"), has("17"))
	}
	i.by["1"].reached = true
	var honest []api.PeerID
	for k := range others {
		who, lost, ok := add(fmt.Sprint("another ", k))
		if want := api.PeerID(fmt.Sprint("data ", k+2)); !ok || lost != want {
			t.Errorf("of another address: %t, %q goes, want %q: the first that was not reached", ok, lost, want)
		}
		i.by[who].reached = true
		honest = append(honest, who)
	}
	for k := range 2 * room {
		add("one machine")
		add(fmt.Sprint("unknown ", k))
	}
	if slices.ContainsFunc(honest, func(who api.PeerID) bool { return !has(who) }) || len(i.by) != room {
		t.Errorf("one that was reached goes for a newcomer: %d are there", len(i.by))
	}
	if has("1") != true {
		t.Error("of one machine, that one goes which was reached")
	}
}

func TestIntroductions_OfOnePeerTheFirstCounts(t *testing.T) {
	i := newIntroductions(1, func(*introduction) bool { return false })
	now := time.Now()
	tell := func(data api.PeerID, at time.Time) bool {
		_, ok := i.add("one", introduction{AddrInfo: peer.AddrInfo{ID: data}, from: "here", at: at})
		return ok
	}
	if !tell("a", now) || tell("b", now.Add(time.Minute)) || !tell("a", now.Add(time.Second)) {
		t.Error("another data host counts, or the first does not")
	}
	if in := i.by["one"]; in.ID != "a" || !in.at.Equal(now.Add(time.Second)) {
		t.Errorf("there is %+v", in)
	}
}

// A neighbour may tell of any data host, and of one after the other.
func TestReach_OneNeighbourHasOneDataHost(t *testing.T) {
	r := newReach(newDataHost(t, &p2p.Cluster{}), quiet)
	bad := introduced(t, "one machine")
	for range 2 * reachable {
		r.meet(bad)
		bad.Data.ID = randomPeer(t)
	}
	if n := len(r.known()); n != 1 {
		t.Errorf("a neighbour that tells of many data hosts has %d called, want 1", n)
	}
	for range 2 * reachable {
		r.meet(introduced(t, "one machine"))
	}
	honest := introduced(t, "another")
	r.meet(honest)
	if n := len(r.known()); n != reachable || !slices.ContainsFunc(r.known(), func(k peer.AddrInfo) bool { return k.ID == honest.Data.ID }) {
		t.Errorf("among %d data hosts of one machine, that of another is not called", n)
	}
}

// A data host of a member that a neighbour calls its own is where the member says.
func TestReach_BelievesMembersOfTheirDataHosts(t *testing.T) {
	r := newReach(newDataHost(t, &p2p.Cluster{}), quiet)
	m := introduced(t, "a member")
	m.Member = true
	r.meet(m)
	bad := introduced(t, "one machine")
	bad.Data.ID = m.Data.ID
	r.meet(bad)
	if n := len(r.known()); n != 1 {
		t.Errorf("%d data hosts are known, want 1", n)
	}
}
