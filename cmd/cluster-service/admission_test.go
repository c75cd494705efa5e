package main

import (
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/p2p"
)

// newDataHost makes a data host of nobody in particular, or of a member.
func newDataHost(t *testing.T, c *p2p.Cluster) *p2p.DataHost {
	t.Helper()
	id, err := p2p.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	own := *c
	if len(c.Private) > 0 {
		if own.Certificate, err = c.Certify(randomPeer(t), id.ID); err != nil {
			t.Fatal(err)
		}
	}
	h, err := p2p.NewDataHost(id, &own, p2p.Roster{}, p2p.DataOptions{Listen: []multiaddr.Multiaddr{multiaddr.StringCast("/ip4/127.0.0.1/tcp/0")}}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func TestAdmissions_AreBoundedAndEnd(t *testing.T) {
	h := newDataHost(t, &p2p.Cluster{})
	a := newAdmissions(h, 3, quiet)
	ids := []api.PeerID{randomPeer(t), randomPeer(t), randomPeer(t), randomPeer(t)}
	admit := func(id api.PeerID, tell bool) {
		a.admit(admission{id, "owner of " + id, "address of " + string(id)}, tell)
	}
	for _, id := range append(ids[:3:3], "", h.ID()) {
		admit(id, true)
		admit(id, true)
	}
	for _, id := range ids[:3] {
		if !a.has(id) || !h.MayFetch(id) {
			t.Errorf("%s is not admitted", id)
		}
	}
	if a.has("") || a.has(h.ID()) {
		t.Error("nobody, or the host itself, is admitted")
	}
	if news := a.expire(time.Now()); len(news) != 3 {
		t.Errorf("others are told of %v, want of three", news)
	}
	admit(ids[0], false) // again: it stays longest
	a.in.by["owner of "+ids[1]].at = time.Now().Add(-time.Minute)
	admit(ids[3], false)
	if !a.has(ids[3]) || a.has(ids[1]) || h.MayFetch(ids[1]) {
		t.Error("with one more than there is room for, another has gone than the one whose time ends first")
	}
	if news := a.expire(time.Now().Add(admittedFor + time.Second)); len(news) != 0 || len(a.in.by) != 0 || len(a.told) != 0 || h.MayFetch(ids[3]) {
		t.Errorf("in time all are gone: %v, told of %v", a.in.by, news)
	}
}

// One machine may come as any number of peers, and each tell of any data host.
func TestAdmissions_OneMachineKeepsNobodyOut(t *testing.T) {
	const room = 8
	h := newDataHost(t, &p2p.Cluster{})
	a := &admitting{admissions: newAdmissions(h, room, quiet)}
	honest, bad := introduced(t, "another"), introduced(t, "one machine")
	a.meet(honest)
	for range 4 * room {
		a.meet(bad)
		bad.Data.ID = randomPeer(t)
	}
	if n := len(a.in.by); n != 2 {
		t.Errorf("%d are admitted, want the data hosts of two followers", n)
	}
	for range 4 * room {
		a.meet(introduced(t, "one machine"))
	}
	if !a.has(honest.Data.ID) || len(a.told) != room {
		t.Errorf("of %d that are admitted, that of another address is: %t", len(a.told), a.has(honest.Data.ID))
	}
	if n := len(a.expire(time.Now())); n != room {
		t.Errorf("others are told of %d, want %d", n, room)
	}
	late := introduced(t, "a third")
	a.meet(late)
	if !a.has(late.Data.ID) || !h.MayFetch(late.Data.ID) || !a.has(honest.Data.ID) {
		t.Error("who comes late of another address is kept out")
	}
	if h.MayFetch(bad.Data.ID) {
		t.Error("the second data host of a follower may fetch")
	}
}

// Who calls another's data host its own does not have it sent away.
func TestAdmissions_StayForAsLongAsSomebodyTellsOfThem(t *testing.T) {
	h := newDataHost(t, &p2p.Cluster{})
	a := newAdmissions(h, 8, quiet)
	host := randomPeer(t)
	a.admit(admission{host, "honest", "here"}, false)
	a.admit(admission{host, "liar", "there"}, false)
	a.in.by["liar"].at = time.Now().Add(-admittedFor - time.Second)
	a.expire(time.Now())
	if len(a.in.by) != 1 || !a.has(host) || !h.MayFetch(host) {
		t.Errorf("it is sent away: %v", a.in.by)
	}
}

// Who is admitted is told where the other members are; a stranger is told nothing.
func TestMembersProtocol_IsForTheAdmitted(t *testing.T) {
	c, err := p2p.NewCluster("garden", randomPeer(t), randomPeer(t))
	if err != nil {
		t.Fatal(err)
	}
	member := newDataHost(t, c)
	others := []peer.AddrInfo{}
	for range membersTold + 3 {
		others = append(others, peer.AddrInfo{ID: randomPeer(t), Addrs: []api.Multiaddr{multiaddr.StringCast("/ip4/127.0.0.1/tcp/9")}})
	}
	tellMembers(member, func() []peer.AddrInfo { return others })
	if err := member.Listen(); err != nil {
		t.Fatal(err)
	}
	asker := newDataHost(t, &p2p.Cluster{Name: c.Name, Key: c.Key, Incarnation: c.Incarnation})
	ask := func() ([]peer.AddrInfo, error) {
		if asker.Network().Connectedness(member.ID()) != network.Connected {
			if err := asker.Connect(t.Context(), peer.AddrInfo{ID: member.ID(), Addrs: member.Addrs()}); err != nil {
				t.Fatal(err)
			}
		}
		return askMembers(t.Context(), asker, member.ID())
	}
	if got, err := ask(); err == nil {
		t.Errorf("a stranger is told of %v", got)
	}
	member.Admit(asker.ID())
	if got, err := ask(); err != nil || len(got) != membersTold || got[0].ID != others[0].ID || len(got[0].Addrs) != 1 {
		t.Errorf("an admitted follower is told of %v, %v", got, err)
	}
	if err := asker.Check(t.Context(), member.ID()); err != nil {
		t.Errorf("a follower cannot tell that it is a member: %v", err)
	}
}

func TestAdmitting_MessagesAreBounded(t *testing.T) {
	f := introduced(t, "192.0.2.1")
	for n, ok := range map[int]bool{1: true, admissionsTold: true, admissionsTold + 1: false} {
		sent := slices.Repeat([]admission{{f.Data.ID, f.ID, f.From}}, n)
		b, err := api.Encode(sent)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodeAdmitted(b); (err == nil) != ok || ok && !slices.Equal(got, sent) {
			t.Errorf("of %d: %v", n, err)
		}
	}
}
