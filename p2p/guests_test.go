package p2p

import (
	"fmt"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

func TestGuests_AreBounded(t *testing.T) {
	g := newGuests(2)
	now := time.Now()
	id := func(i int) peer.ID { return peer.ID(fmt.Sprint(i)) }
	for i := range 4 {
		if got, want := g.welcome(id(i), false, now), i < 2; got != want {
			t.Errorf("guest %d: %v, want %v", i, got, want)
		}
	}
	if !g.welcome(id(0), false, now) {
		t.Error("one that is in is sent away")
	}
	if !g.welcome(id(5), true, now) {
		t.Error("one that was called finds no place")
	}
	g.leave(id(0))
	if !g.welcome(id(3), false, now) {
		t.Error("a place was not given back")
	}
	g.exile(id(3), now)
	if g.has(id(3)) || g.welcome(id(3), false, now.Add(exileTime-1)) || !g.exiled(id(3), now) {
		t.Error("one that was sent away is back")
	}
	if !g.welcome(id(3), false, now.Add(exileTime)) {
		t.Error("it may not come back after its time")
	}
	for i := range 3 * maxExiles {
		g.exile(id(i), now)
	}
	if len(g.exiles) > maxExiles {
		t.Errorf("%d are remembered", len(g.exiles))
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
