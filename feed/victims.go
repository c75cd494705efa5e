package feed

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/p2p"
)

// Whom a follower says to be reached at, others call: that must not aim thousands of them at
// somebody who has nothing to do with the cluster.

// believable are the addresses that a peer may have which tells them from an address: on the
// internet that one alone, beside those that lead to nobody there.
func believable(from string, addrs []api.Multiaddr) []api.Multiaddr {
	ip, err := netip.ParseAddr(strings.TrimSuffix(from, "/64"))
	if err != nil || !ip.IsGlobalUnicast() || ip.IsPrivate() {
		return addrs
	}
	return slices.DeleteFunc(slices.Clone(addrs), func(a api.Multiaddr) bool {
		return len(a) == 0 || manet.IsPublicAddr(a) && p2p.AddressKey(a) != from
	})
}

const (
	// maxMisses strangers in a row that are not there have a machine left alone,
	maxMisses = 4
	// for so long.
	missesFor = 10 * time.Minute
	// missesKnown bounds the machines of which that is known.
	missesKnown = 1024
)

// misses count by address the peers never met that were called there in vain. Names cost
// nothing: a neighbour may tell of any number of them at one address.
type misses map[string]miss

type miss struct {
	n    int
	last time.Time
}

// add notes a call to who was never met: whether somebody of the cluster was there.
func (m misses) add(addrs []api.Multiaddr, there bool, now time.Time) {
	var keys []string
	for _, a := range addrs {
		keys = append(keys, p2p.AddressKey(a))
	}
	slices.Sort(keys)
	for _, key := range slices.Compact(keys) {
		if there {
			delete(m, key)
			continue
		}
		if len(m) >= missesKnown {
			clear(m)
		}
		m[key] = miss{m[key].n + 1, now}
	}
}

// worth are the addresses at which it is worth to call somebody never met.
func (m misses) worth(addrs []api.Multiaddr, now time.Time) []api.Multiaddr {
	if len(m) == 0 {
		return slices.Clone(addrs)
	}
	return slices.DeleteFunc(slices.Clone(addrs), func(a api.Multiaddr) bool {
		known := m[p2p.AddressKey(a)]
		return known.n >= maxMisses && now.Sub(known.last) < missesFor
	})
}
