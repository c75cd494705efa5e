package feed

import (
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// wordTime is for how long a member that says nothing more is believed about the end of
// the log: a few beacons may be lost, and its disk or its clock may be wrong.
const wordTime = 2 * time.Minute

// words are what each member told last of where the log ends. None of them is committed
// to: who told too much, by a fault or out of malice, is believed no longer than until it
// tells less, or for wordTime.
type words map[api.PeerID]word

type word struct {
	index  uint64    // of the log: the highest that it told, since it told less
	heard  time.Time // when it told something new
	beacon message   // its newest; without a kind where there is none
}

// take remembers what m says at the time now, and tells whether that was new. A beacon that is older than
// one of the same member, by that member's clock, says nothing.
func (w words) take(m message, now time.Time) (news bool) {
	said, known := w[m.signer]
	index := m.last()
	switch {
	case m.kind == kindBeacon && m.beacon.time.After(said.beacon.beacon.time):
		said.beacon, said.index = m, index
	case m.kind != kindBeacon && index > said.index:
		said.index = index
	default:
		return false
	}
	if !known && len(w) >= signersKnown {
		clear(w)
	}
	said.heard = now
	w[m.signer] = said
	return true
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

// beacon is the one that goes furthest, of those the newest; without a kind for none.
func (w words) beacon(now time.Time) (best message) {
	for _, said := range w.fresh(now) {
		b := said.beacon
		if b.kind == "" {
			continue
		}
		if further := b.beacon.index > best.beacon.index; best.kind == "" || further ||
			b.beacon.index == best.beacon.index && b.beacon.time.After(best.beacon.time) {
			best = b
		}
	}
	return best
}
