package p2p

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

func TestGuests_AreBounded(t *testing.T) {
	g := newGuests(2)
	now := time.Now()
	id := func(i int) peer.ID { return peer.ID(fmt.Sprint(i)) }
	welcome := func(id peer.ID, called bool, now time.Time) bool {
		ok, lost := g.welcome(id, guest{called: called, since: now})
		return ok && lost == ""
	}
	for i := range 4 {
		if got, want := welcome(id(i), false, now), i < 2; got != want {
			t.Errorf("guest %d: %v, want %v", i, got, want)
		}
	}
	if !welcome(id(0), false, now) {
		t.Error("one that is in is sent away")
	}
	if !welcome(id(5), true, now) {
		t.Error("one that was called finds no place")
	}
	g.leave(id(0))
	if !welcome(id(3), false, now) {
		t.Error("a place was not given back")
	}
	g.exile(id(3), now)
	if g.has(id(3)) || welcome(id(3), false, now.Add(exileTime-1)) || !g.exiled(id(3), now) {
		t.Error("one that was sent away is back")
	}
	if !welcome(id(3), false, now.Add(exileTime)) {
		t.Error("it may not come back after its time")
	}
	for i := range 3 * maxExiles {
		g.exile(id(i), now)
	}
	if len(g.exiles) > maxExiles {
		t.Errorf("%d are remembered", len(g.exiles))
	}
}

// Who takes all places from one address keeps nobody out who comes from another.
func TestGuests_ShareTheirPlacesByAddress(t *testing.T) {
	g := newGuests(4)
	start := time.Now()
	for i, step := range []struct{ id, address, lost string }{
		{"a1", "a", ""}, {"a2", "a", ""}, {"a3", "a", ""}, {"a4", "a", ""},
		{"a5", "a", "-"}, // nobody makes room for one more of the same
		{"b1", "b", "a4"},
		{"b2", "b", "a3"},
		{"b3", "b", "-"},     // both have two
		{"c1", "c", "a2 b2"}, // either
		{"d1", "d", "a2 b2"},
		{"e1", "e", "-"}, // one each
	} {
		ok, lost := g.welcome(peer.ID(step.id), guest{address: step.address, since: start.Add(time.Duration(i))})
		if ok != (step.lost != "-") || ok && (lost == "") != (step.lost == "") || !strings.Contains(step.lost, string(lost)) {
			t.Fatalf("%s from %s: let in %t, for %q; want %q", step.id, step.address, ok, lost, step.lost)
		}
		if len(g.in) > g.max {
			t.Fatalf("%d have a place", len(g.in))
		}
	}
	if ok, lost := g.welcome("e2", guest{called: true, address: "e", since: start}); !ok || lost != "" {
		t.Errorf("one that was called: let in %t for %q", ok, lost)
	}
}

// A guest has a place while it is connected; visitors go.
func TestHost_SeesVisitorsOut(t *testing.T) {
	c := newTestCluster(t)
	id := newIdentity(t)
	server := c.host(id, c.certified(id.ID, newIdentity(t).ID), Options{Guests: 1})
	run(t, server.Run)
	member, guest, visitor := c.member(), c.stranger(), c.stranger()
	for _, h := range []*Host{member, guest, visitor} {
		connect(t, h, server)
	}
	eventually(t, "the member is known", func() bool { return server.isMember(member.ID()) })
	if !server.Welcome(guest.ID()) || server.Room() != 0 || server.Welcome(visitor.ID()) {
		t.Fatal("there are not as many places as were set")
	}
	eventually(t, "it is known who is a stranger", func() bool { return server.isStranger(visitor.ID()) })
	server.seeOut(time.Now())
	if n := len(server.Connected()); n != 3 {
		t.Fatalf("%d are connected, want 3: a visit has just begun", n)
	}
	server.seeOut(time.Now().Add(visitTime))
	eventually(t, "the visitor is gone", func() bool { return len(visitor.Connected()) == 0 })
	if len(guest.Connected()) != 1 || len(member.Connected()) != 1 {
		t.Error("the guest or the member is gone, too")
	}
	if err := guest.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the guest's place is free", func() bool { return server.Room() == 1 })
}
