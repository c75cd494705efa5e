package feed

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/pinfold-cluster/pinfold/api"
)

// Whoever says hello may tell wrong addresses of others: where the link has a member, and
// where somebody has answered, stays known, also over a restart.
func TestBook_HearsayDisplacesNothingThatWorks(t *testing.T) {
	file := filepath.Join(t.TempDir(), bookFile)
	at := func(i int) api.Multiaddr { return multiaddr.StringCast(fmt.Sprintf("/ip4/192.0.2.1/tcp/%d", 1000+i)) }
	member, met, heard := identity(t).ID, identity(t).ID, identity(t).ID
	link := []peer.AddrInfo{{ID: member, Addrs: []api.Multiaddr{at(0)}}}
	open := func() *book {
		b, err := openBook(file, link, feedLog())
		check(t, err)
		return b
	}
	b := open()
	b.learn(peer.AddrInfo{ID: met, Addrs: []api.Multiaddr{at(1)}}).met = true
	next := 10
	lie := func() {
		for range 10 {
			var wrong []api.Multiaddr
			for range maxAddresses {
				wrong = append(wrong, at(next))
				next++
			}
			for _, id := range []api.PeerID{member, met, heard} {
				b.learn(peer.AddrInfo{ID: id, Addrs: wrong})
			}
		}
	}
	knows := func(when string, id api.PeerID, a api.Multiaddr) {
		t.Helper()
		list := b.by[id].Addrs
		if !slices.ContainsFunc(list, a.Equal) || len(list) > 2*maxAddresses {
			t.Errorf("%s: %s is not among %v", when, a, list)
		}
	}
	lie()
	knows("after lies", member, at(0))
	knows("after lies", met, at(1))
	knows("where nobody has answered, the newest", heard, at(next-1))
	b.learn(peer.AddrInfo{ID: member, Addrs: []api.Multiaddr{at(2)}})
	knows("a member that moved", member, at(2))

	b.save()
	b = open()
	knows("after a restart", member, at(0))
	knows("after a restart", met, at(1))
	lie()
	knows("after more lies", member, at(0))
}
