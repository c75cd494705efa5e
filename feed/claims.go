package feed

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// Standing says how far what a follower claims is to be believed.
type Standing int8

const (
	Lied      Standing = iota - 2 // it failed a challenge: nothing that anybody says of it counts
	Withdrawn                     // it claims nothing now, or answers no challenges
	Said                          // by its own word alone
	Proven                        // it showed a copy
)

// A Claimed is the claim of one follower.
type Claimed struct {
	Peer     api.PeerID
	Claim    Claim
	At       time.Time // when it was made
	Standing Standing
	Held     uint8     // percent of the pins that it claims which it has
	Looked   time.Time // when Held was found out; zero: it was not
}

// merge is what two words about one follower come to: the later one, but for a lie and for
// a proof, which stand against the mere word, and with what was found out last. A lie keeps
// its time, so it can grow old.
func (c Claimed) merge(other Claimed) Claimed {
	if c.At.After(other.At) {
		c, other = other, c
	}
	if c.Looked.After(other.Looked) {
		other.Held, other.Looked = c.Held, c.Looked
	}
	switch {
	case c.Standing == Lied && other.Standing != Lied:
		return c
	case c.Standing == Proven && other.Standing == Said:
		other.Standing = Proven
	}
	return other
}

const (
	// maxClaims bounds the followers whose claims are kept: 10 MB of them.
	maxClaims = 1 << 14
	// claimAgain is after how long a claim that has not changed is news again, so that it
	// does not grow old elsewhere.
	claimAgain = 6 * time.Hour
	// heldAgain is by how much Held has changed, in percent, when a claim is news.
	heldAgain = 10
)

// Claims are the latest ones of followers, as a member knows them: it notes what it hears
// itself and sets what other members tell, so that every member counts every follower
// once. The zero value is ready. It is safe for concurrent use.
type Claims struct {
	mu  sync.Mutex
	all map[api.PeerID]*noted
	rev uint64 // of the latest news
}

// noted is a claim, and where this member is to tell it, since when.
type noted struct {
	Claimed
	rev  uint64    // 0: it is for others to tell
	told time.Time // the At that came with rev
	held uint8     // the Held that was news last
}

// Note keeps a claim that this member heard itself. It is news where it differs from what
// was known, or was nobody's here to tell.
func (s *Claims) Note(c Claimed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all[c.Peer] == nil && c.Standing == Withdrawn {
		return
	}
	e, changed := s.put(c)
	if changed || e.rev == 0 || e.At.Sub(e.told) >= claimAgain {
		s.rev++
		e.rev, e.told = s.rev, e.At
	}
}

// Set keeps a claim that another member told.
func (s *Claims) Set(c Claimed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, changed := s.put(c); changed {
		e.rev = 0
	}
}

// put merges c into what is known. Beyond 16,384 peers one claim goes.
func (s *Claims) put(c Claimed) (e *noted, changed bool) {
	if s.all == nil {
		s.all = map[api.PeerID]*noted{}
	}
	e, known := s.all[c.Peer]
	if known {
		had := e.Claimed
		e.Claimed = had.merge(c)
		moved := max(e.Held, e.held)-min(e.Held, e.held) >= heldAgain
		if moved {
			e.held = e.Held
		}
		return e, moved || e.Claim != had.Claim || e.Standing != had.Standing
	}
	e = &noted{Claimed: c, held: c.Held}
	s.all[c.Peer] = e
	if len(s.all) > maxClaims {
		delete(s.all, s.leastMissed())
	}
	return e, true
}

// leastMissed is whose claim goes first: the oldest of those that nothing was found out of,
// since names cost nothing. Where there are none it is the oldest of those that proved
// theirs or of those that lied, whichever are more. The caller holds mu.
func (s *Claims) leastMissed() api.PeerID {
	var groups [3]struct {
		oldest *noted
		n      int
	}
	for _, c := range s.all {
		g := &groups[0]
		switch c.Standing {
		case Proven:
			g = &groups[1]
		case Lied:
			g = &groups[2]
		}
		if g.n++; g.oldest == nil || c.At.Before(g.oldest.At) {
			g.oldest = c
		}
	}
	said, proven, lied := groups[0], groups[1], groups[2]
	switch {
	case said.n > 0:
		return said.oldest.Peer
	case lied.n > proven.n:
		return lied.oldest.Peer
	}
	return proven.oldest.Peer
}

// Prune drops the claims made before t.
func (s *Claims) Prune(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, c := range s.all {
		if c.At.Before(t) {
			delete(s.all, p)
		}
	}
}

// Standing tells how far a follower is to be believed; ok is false where nothing is known.
func (s *Claims) Standing(p api.PeerID) (_ Standing, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.all[p]; ok {
		return e.Standing, true
	}
	return Withdrawn, false
}

// Since gives up to most of the claims that became news here after rev, the first first,
// and how far that goes: what to ask with next. There are any where upTo is not 0.
func (s *Claims) Since(rev uint64, most int) (list []Claimed, upTo uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var news []*noted
	for _, e := range s.all {
		if e.rev > 0 {
			upTo = max(upTo, e.rev)
		}
		if e.rev > rev {
			news = append(news, e)
		}
	}
	slices.SortFunc(news, func(a, b *noted) int { return cmp.Compare(a.rev, b.rev) })
	if len(news) > most {
		news = news[:most]
		upTo = news[most-1].rev
	}
	for _, e := range news {
		list = append(list, e.Claimed)
	}
	return list, upTo
}
