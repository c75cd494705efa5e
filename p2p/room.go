package p2p

import (
	"cmp"
	"slices"
	"time"
)

// A place is one of those that strangers share. There are as many as a host can bear, and
// peer IDs cost nothing, so who comes when all are taken may have one of those that have
// most, by address.
type place[T any] struct {
	of      T
	address string // see AddressKey
	since   time.Time
	kept    bool // it makes no room
}

// makesRoom tells whether one more of an address has a place beside these: of all that there
// may be, and each of one address. Where these are taken, one that is not kept may lose its
// own for that: the oldest of the address that has most of all, if it is left as many as the
// newcomer's has then. If there is none, the oldest of all, or of the newcomer's address
// where that has each, taken before old.
func makesRoom[T any](places []place[T], address string, all, each int, old time.Time) (lost T, ok bool) {
	n := map[string]int{}
	for _, p := range places {
		n[p.address]++
	}
	if len(places) < all && n[address] < each {
		return lost, true
	}
	may := slices.DeleteFunc(slices.Clone(places), func(p place[T]) bool {
		return p.kept || n[address] >= each && p.address != address
	})
	if len(may) == 0 {
		return lost, false
	}
	age := func(a, b place[T]) int { return a.since.Compare(b.since) }
	p := slices.MinFunc(may, func(a, b place[T]) int { return cmp.Or(n[b.address]-n[a.address], age(a, b)) })
	if n[p.address] < n[address]+2 {
		if p = slices.MinFunc(may, age); !p.since.Before(old) {
			return lost, false
		}
	}
	return p.of, true
}
