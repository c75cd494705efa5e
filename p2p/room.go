package p2p

import "time"

// A place is one of those that strangers share. There are as many as a host can bear, and
// peer IDs cost nothing, so who comes when all are taken may have one of those that have
// most, by address.
type place[T any] struct {
	of      T
	address string // see AddressKey
	since   time.Time
	kept    bool // it makes no room
}

// makesRoom tells whose place one more of an address is to have, where all are taken, or each
// that an address may have: the oldest of the address that has most of all, if it is left
// as many as the newcomer's has then. If there is none, the oldest of all, or of its own
// address where that has each, taken before old. False: there is none.
func makesRoom[T any](places []place[T], address string, each int, old time.Time) (who T, ok bool) {
	n := map[string]int{}
	for _, p := range places {
		n[p.address]++
	}
	if n[address] < each {
		if most, ok := crowded(n, address); ok {
			if p, ok := oldest(places, func(p place[T]) bool { return p.address == most }); ok {
				return p.of, true
			}
		}
	}
	p, ok := oldest(places, func(p place[T]) bool { return n[address] < each || p.address == address })
	return p.of, ok && p.since.Before(old)
}

// crowded tells which address has most places, if that are two more at least than this one has.
func crowded(n map[string]int, address string) (most string, ok bool) {
	for a := range n {
		if n[a] > n[most] {
			most = a
		}
	}
	return most, n[most] >= n[address]+2
}

// oldest is the place that was taken first of those that may make room.
func oldest[T any](places []place[T], of func(place[T]) bool) (first place[T], ok bool) {
	for _, p := range places {
		if !p.kept && of(p) && (!ok || p.since.Before(first.since)) {
			first, ok = p, true
		}
	}
	return first, ok
}
