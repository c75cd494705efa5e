package main

import (
	"slices"
	"sync"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/feed"
)

const (
	// proofKept is how long a proof of a pin stands, of a follower that goes on saying that
	// it has the pin and fails no challenge.
	proofKept = 24 * time.Hour
	// maxProofs bounds the pins of which proofs are kept: 40 MB of them.
	maxProofs = 1 << 17
	// proofsEach bounds those of one pin.
	proofsEach = 8
)

// A proof is a challenge about a pin that a follower passed.
type proof struct {
	by api.PeerID
	at time.Time
}

// proofs are those of late. The zero value is ready.
type proofs struct {
	mu  sync.Mutex
	all map[api.Cid][]proof
}

// add notes a proof. The oldest of a pin goes where there are many, and any pin's where
// there are too many pins: its followers are asked again.
func (s *proofs) add(c api.Cid, p proof) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[api.Cid][]proof{}
	}
	list := append(s.without(c, p.by), p)
	s.all[c] = list[max(0, len(list)-proofsEach):]
	if len(s.all) <= maxProofs {
		return
	}
	for other := range s.all {
		if other != c {
			delete(s.all, other)
			return
		}
	}
}

// drop forgets what a follower proved of a pin: it has it no more.
func (s *proofs) drop(c api.Cid, by api.PeerID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if list := s.without(c, by); len(list) > 0 {
		s.all[c] = list
	} else {
		delete(s.all, c)
	}
}

func (s *proofs) without(c api.Cid, by api.PeerID) []proof {
	return slices.DeleteFunc(slices.Clone(s.all[c]), func(p proof) bool { return p.by == by })
}

// has tells whether a proof of a pin by a follower still stands.
func (s *proofs) has(c api.Cid, by api.PeerID, now time.Time) bool {
	return slices.ContainsFunc(s.of(c, now), func(p proof) bool { return p.by == by })
}

// of gives the proofs of a pin that still stand.
func (s *proofs) of(c api.Cid, now time.Time) []proof {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.all[c]), func(p proof) bool { return now.Sub(p.at) > proofKept })
}

// fit tells whether copies of a follower may count, if it answers: it follows, agrees with
// the cluster, and neither lied nor left its last challenge unanswered.
func (c *challenger) fit(n followerNote) bool {
	standing, _ := c.claims.Standing(n.peer.ID)
	agrees := n.agrees
	if agrees == nil { // it may have been ahead of this peer
		agrees = c.agrees(n.report)
	}
	return standing != feed.Lied && n.results.lied == 0 && n.results.silent == 0 &&
		n.report.Settled && n.report.Stopped == "" && agrees != nil && *agrees
}

// answers tells whether a follower has answered lately. To say hello is not enough.
func (c *challenger) answers(n followerNote, now time.Time) bool { return now.Sub(n.spoke) <= c.absent }

// proved gives the followers that proved a pin, and may count.
func (c *challenger) proved(pin api.Pin, now time.Time) (ids []api.PeerID) {
	for _, p := range c.proofs.of(pin.Cid, now) {
		if n, ok := c.book.get(p.by); ok && c.fit(n) && c.answers(n, now) && n.shallHold(pin) && !n.results.failed.After(p.at) {
			ids = append(ids, p.by)
		}
	}
	return ids
}

// shallHold tells whether the follower claims a pin, or is named by it.
func (n followerNote) shallHold(pin api.Pin) bool {
	return n.claims(pin.Cid) || slices.Contains(pin.Followers, n.peer.ID)
}
