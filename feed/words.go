package feed

import (
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	// wordTime is for how long a member that says nothing more is believed about the end of
	// the log: a few beacons may be lost, and its disk or its clock may be wrong.
	wordTime = 2 * time.Minute
	// lessAfter is for how long it is believed against its own word that the log ends
	// before: more than the time between two beacons. What says less may be a replay of
	// what it signed when its clock was fast.
	lessAfter = 6 * time.Second
)

// words are what each member told last of where the log ends. None of them is committed
// to: who told too much, by a fault or out of malice, is believed no longer than until it
// tells less for a while, or for wordTime.
type words map[api.PeerID]word

type word struct {
	index  uint64    // of the log: the highest that it told, since it told less,
	told   time.Time // and when it did so last
	heard  time.Time // when it told something new
	clock  time.Time // of its latest beacon
	beacon message   // the one that goes furthest; without a kind where there is none
}

// take remembers what m says at the time now, and tells whether that was new. A beacon says
// nothing that is not timely and no later, by the member's clock, than all before.
func (w words) take(m message, now time.Time) (news bool) {
	said, known := w[m.signer]
	index := m.last()
	less := index < said.index
	switch {
	case less && now.Sub(said.told) < lessAfter:
		return false
	case m.kind != kindBeacon && index <= said.index:
		return false
	case m.kind == kindBeacon && !said.isNews(m, now):
		return false
	}
	if m.kind == kindBeacon {
		if less || further(m, said.beacon, now) {
			said.beacon = m
		}
		if m.beacon.time.After(said.clock) {
			said.clock = m.beacon.time
		}
	}
	if !known && len(w) >= signersKnown {
		clear(w)
	}
	said.index, said.told, said.heard = index, now, now
	w[m.signer] = said
	return true
}

// isNews tells whether the beacon m of the same member is a new one.
func (said word) isNews(m message, now time.Time) bool {
	same := m.beacon.index == said.beacon.beacon.index && m.beacon.time.Equal(said.beacon.beacon.time)
	return !same && (m.beacon.time.After(said.clock) || m.beacon.isTimely(now))
}

// further tells whether the beacon a goes further than b, which may be none: to a higher
// index, or is the one of two that is timely, or the later.
func further(a, b message, now time.Time) bool {
	switch timely := a.beacon.isTimely(now); {
	case b.kind == "":
		return true
	case a.beacon.index != b.beacon.index:
		return a.beacon.index > b.beacon.index
	case timely != b.beacon.isTimely(now):
		return timely
	}
	return a.beacon.time.After(b.beacon.time)
}

// fresh are the words that count at the time now.
func (w words) fresh(now time.Time) (list []word) {
	for _, said := range w {
		if now.Sub(said.heard) < wordTime {
			list = append(list, said)
		}
	}
	return list
}

// latest is the highest index that is believed; 0 for none.
func (w words) latest(now time.Time) (index uint64) {
	for _, said := range w.fresh(now) {
		index = max(index, said.index)
	}
	return index
}

// beacon is the one that goes furthest; without a kind for none.
func (w words) beacon(now time.Time) (best message) {
	for _, said := range w.fresh(now) {
		if b := said.beacon; b.kind != "" && further(b, best, now) {
			best = b
		}
	}
	return best
}
