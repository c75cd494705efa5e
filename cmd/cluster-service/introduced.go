package main

import (
	"cmp"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pinfold-cluster/pinfold/api"
)

// introductions are the data hosts that peers have told of, one of each peer: to tell of
// somebody else's costs nothing. They belong to one goroutine, or are under a mutex.
type introductions struct {
	max  int
	by   map[api.PeerID]*introduction // by who told
	kept func(*introduction) bool     // whether one is worth more than a newcomer
}

type introduction struct {
	peer.AddrInfo           // of the data host
	from          string    // where who told is: see feed.Peer
	at            time.Time // when it was told last
	calls         redial
	reached       bool      // it is connected, or was after the last call
	shared        time.Time // when other members were told of it
}

func newIntroductions(max int, kept func(*introduction) bool) introductions {
	return introductions{max: max, by: map[api.PeerID]*introduction{}, kept: kept}
}

// add notes what a peer tells, and gives which data host goes for that, if one does. Of a
// peer that was noted before another data host counts for nothing until that is forgotten.
// False: it is not noted.
func (i *introductions) add(who api.PeerID, in introduction) (lost api.PeerID, ok bool) {
	if old := i.by[who]; old != nil {
		if old.ID != in.ID {
			return "", false
		}
		old.AddrInfo, old.from, old.at = in.AddrInfo, in.from, in.at
		return "", true
	}
	if len(i.by) >= i.max {
		one := i.yields(in.from)
		if one == "" {
			return "", false
		}
		lost = i.by[one].ID
		delete(i.by, one)
	}
	i.by[who] = &in
	return lost, true
}

// yields tells who makes room for a newcomer of an address: of the address that has most
// the one that was not told of for longest, those that are kept after all others. An address
// makes room for one that has less, and one that is kept only where its address has as many
// then as the newcomer's. So one machine can fill all, but keeps nobody out.
func (i *introductions) yields(address string) api.PeerID {
	type candidate struct {
		who   api.PeerID
		crowd int // of its address
		kept  int // 1: it is
		at    time.Time
	}
	n := map[string]int{}
	for _, in := range i.by {
		n[in.from]++
	}
	var best candidate
	for id, in := range i.by {
		c := candidate{who: id, crowd: n[in.from], at: in.at}
		if i.kept(in) {
			c.kept = 1
		}
		if c.crowd-n[address] > c.kept && (best.who == "" ||
			cmp.Or(cmp.Compare(best.crowd, c.crowd), cmp.Compare(c.kept, best.kept), c.at.Compare(best.at)) < 0) {
			best = c
		}
	}
	return best.who
}
