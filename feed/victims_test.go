package feed

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/pinfold-cluster/pinfold/api"
)

func at(addrs ...string) (out []api.Multiaddr) {
	for _, a := range addrs {
		out = append(out, multiaddr.StringCast(a))
	}
	return out
}

// Who comes from the internet is passed on with no other address there than its own.
func TestHello_NamesNoVictim(t *testing.T) {
	const (
		own, other = "/ip4/8.8.4.4/tcp/9096", "/ip4/8.8.8.8/tcp/80"
		inside     = "/ip4/192.168.1.2/tcp/9096"
		name       = "/dns4/example.org/tcp/443"
		six, near  = "/ip6/2600:1:2:3::9/tcp/9096", "/ip6/2600:1:2:4::9/tcp/80"
	)
	for _, c := range []struct {
		from      string
		told, has []string
	}{
		{"8.8.4.4", []string{own, other, inside, name}, []string{own, inside}},
		{"2600:1:2:3::/64", []string{six, near, other}, []string{six}},
		{"192.168.1.9", []string{own, inside, name}, []string{own, inside, name}}, // of the peer's own network
		{"127.0.0.2", []string{own, inside}, []string{own, inside}},
		{"", []string{own}, []string{own}},
	} {
		if got := believable(c.from, at(c.told...)); !slices.EqualFunc(got, at(c.has...), api.Multiaddr.Equal) {
			t.Errorf("from %q: %v, want %v", c.from, got, c.has)
		}
	}
}

func TestMisses_LeaveAMachineAloneWhereNobodyIs(t *testing.T) {
	m, now := misses{}, time.Now()
	victim, other := at("/ip4/8.8.8.8/tcp/80", "/ip4/8.8.8.8/tcp/81"), at("/ip4/8.8.4.4/tcp/80")
	for n := range maxMisses {
		if len(m.worth(victim, now)) == 0 {
			t.Fatalf("it is left alone after %d calls", n)
		}
		m.add(victim, false, now)
	}
	if got := m.worth(append(victim, other...), now); !slices.EqualFunc(got, other, api.Multiaddr.Equal) {
		t.Errorf("it is worth to call %v", got)
	}
	if len(m.worth(victim, now.Add(missesFor))) == 0 {
		t.Error("it is left alone for ever")
	}
	m.add(victim, true, now)
	if len(m.worth(victim, now)) == 0 {
		t.Error("it is left alone, though somebody is there")
	}
	for i := range 2 * missesKnown {
		m.add(at(fmt.Sprintf("/ip4/8.8.%d.%d/tcp/1", i>>8, i&255)), false, now)
	}
	if len(m) > missesKnown {
		t.Errorf("%d machines are known", len(m))
	}
}

// Wrong names told of where somebody of the cluster is do not have that machine left alone.
func TestFollower_KnowsWhoIsThereUnderAnotherName(t *testing.T) {
	w := newWorld(t, 1)
	f := w.follow(FollowerOptions{})
	w.pin(0, 1)
	w.same(f)
	info, err := peer.AddrInfoFromP2pAddr(w.members[0].host.Addrs()[0])
	check(t, err)
	info.ID = identity(t).ID
	c := (&keeper{Follower: f.Follower}).introduce(t.Context(), *info, call{})
	if c.answered || !c.there {
		t.Errorf("answered %t, there %t", c.answered, c.there)
	}
}
