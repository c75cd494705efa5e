package p2p

import (
	"cmp"
	"slices"
	"time"
)

// A Place is one of those that strangers share. There are as many as a host can bear, and
// peer IDs cost nothing, so who comes when all are taken may have one of those that have
// most, by address.
type Place[T any] struct {
	Of      T
	Address string // see AddressKey
	Since   time.Time
	Kept    bool // it makes no room
}

// MakesRoom tells whether one more of an address has a place beside these, where there are as
// many as all, and each for one address. Where they are taken, one that is not kept loses its
// own for that: the oldest of the address that has most, if that are two more at least than
// the newcomer's has; else the oldest, if it was taken before old. Where the newcomer's
// address has each, only one of its own does.
func MakesRoom[T any](places []Place[T], address string, all, each int, old time.Time) (lost T, ok bool) {
	n := map[string]int{}
	for _, p := range places {
		n[p.Address]++
	}
	if len(places) < all && n[address] < each {
		return lost, true
	}
	may := slices.DeleteFunc(slices.Clone(places), func(p Place[T]) bool {
		return p.Kept || n[address] >= each && p.Address != address
	})
	if len(may) == 0 {
		return lost, false
	}
	age := func(a, b Place[T]) int { return a.Since.Compare(b.Since) }
	p := slices.MinFunc(may, func(a, b Place[T]) int { return cmp.Or(n[b.Address]-n[a.Address], age(a, b)) })
	if n[p.Address] < n[address]+2 {
		if p = slices.MinFunc(may, age); !p.Since.Before(old) {
			return lost, false
		}
	}
	return p.Of, true
}
