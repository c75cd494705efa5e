package main

import (
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
	for _, id := range append(ids[:3:3], "", h.ID()) {
		a.admit(id, true)
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
	a.admit(ids[0], false) // again: it stays longest
	a.until[ids[1]] = time.Now().Add(time.Minute)
	a.admit(ids[3], false)
	if !a.has(ids[3]) || a.has(ids[1]) || h.MayFetch(ids[1]) {
		t.Error("with one more than there is room for, another has gone than the one whose time ends first")
	}
	if news := a.expire(time.Now().Add(admittedFor + time.Second)); len(news) != 0 || len(a.until) != 0 || h.MayFetch(ids[3]) {
		t.Errorf("in time all are gone: %v, told of %v", a.until, news)
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
