package main

import (
	"container/list"
	"encoding/hex"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/feed"
)

const (
	// maxKnown bounds the followers remembered, of some KiB each at most.
	maxKnown = 20000
	// maxFollowerText and maxFollowerReason bound what is kept of a follower's words, in
	// bytes.
	maxFollowerText   = 64
	maxFollowerReason = 256
	// maxMisses bounds how rare questions become to one that does not answer: 2^5 times
	// the interval.
	maxMisses = 5
	// unansweredTrust is how many challenges in a row may stay unanswered before what a
	// follower claims counts for nothing, until it proves a copy.
	unansweredTrust = 3
	// heldSample is about how many answers tell how much of what it claims a follower has:
	// an error of 6 % at the most, once it was visited four times.
	heldSample = 64
)

// A book remembers what followers told. When there are too many, those unheard for longest
// are forgotten, of whom nothing was found out first: names cost nothing.
type book struct {
	max int

	mu sync.Mutex
	by map[api.PeerID]*list.Element // of *followerNote
	// heard has those by when they were heard last, the longest unheard first.
	heard *list.List
}

// A followerNote is what a peer knows of one follower.
type followerNote struct {
	peer    feed.Peer
	report  feed.Report // the last, its texts cut short
	tried   time.Time   // when it was asked for a report last
	asked   time.Time   // when it gave the last one
	spoke   time.Time   // when it last answered any question
	misses  int         // answers missed in a row
	err     string      // of the last question
	busy    bool        // it is being asked
	agrees  *bool
	results challengeCounts
}

// challengeCounts are what became of the challenges of a follower.
type challengeCounts struct {
	proven, lied, unanswered uint64
	silent                   int       // unanswered since it proved a copy
	last                     time.Time // when the last one began
	failed                   time.Time // when it last did not prove a copy
	asked, held              int       // pins that it claims: those asked about lately, and those it has
	large                    int       // pins that it claims and has no room for, found beside those
	looked                   time.Time // when it was last asked about some
}

// A sample are pins that a follower claims: so many it was asked about, so many of these it
// has, and so many more it has no room for.
type sample struct{ asked, held, large int }

// sampled notes a sample. Of what was noted before, the older counts ever less.
func (r *challengeCounts) sampled(s sample, now time.Time) {
	if r.asked+s.asked > heldSample || r.large+s.large > heldSample/challengeAsked*challengeLook {
		r.asked, r.held, r.large = r.asked/2, r.held/2, r.large/2
	}
	r.asked, r.held, r.large, r.looked = r.asked+s.asked, r.held+s.held, r.large+s.large, now
}

// percent is how much of what it claims, and has room for, the follower was found to have.
func (r challengeCounts) percent() uint8 {
	return uint8(100 * r.held / max(r.asked, 1))
}

// weight is how far, in percent, what it claims counts: a pin that it has no room for is
// none that it has. Else little room would do to claim much.
func (r challengeCounts) weight() uint8 {
	return uint8(100 * r.held / max(r.asked+r.large, 1))
}

func newBook(max int) *book {
	return &book{max: max, by: map[api.PeerID]*list.Element{}, heard: list.New()}
}

// note gives what is known of id, which is made where there is nothing. Under mu.
func (b *book) note(id api.PeerID) *followerNote {
	if e, ok := b.by[id]; ok {
		return e.Value.(*followerNote)
	}
	if len(b.by) >= b.max {
		goes := b.leastMissed()
		delete(b.by, goes.Value.(*followerNote).peer.ID)
		b.heard.Remove(goes)
	}
	n := &followerNote{peer: feed.Peer{ID: id}}
	b.by[id] = b.heard.PushBack(n)
	return n
}

// leastMissed is who is forgotten first. Under mu.
func (b *book) leastMissed() *list.Element {
	for e := b.heard.Front(); e != nil; e = e.Next() {
		if r := e.Value.(*followerNote).results; r.proven+r.lied == 0 {
			return e
		}
	}
	return b.heard.Front()
}

// met notes that a follower said hello.
func (b *book) met(p feed.Peer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.note(p.ID).introduce(p)
	b.heard.MoveToBack(b.by[p.ID])
}

// introduce keeps what a follower says of itself.
func (n *followerNote) introduce(p feed.Peer) {
	p.Name, p.Version = short(p.Name, maxFollowerText), short(p.Version, maxFollowerText)
	n.peer = p
}

// due takes the follower of these to ask next: one never asked, or else the one asked
// longest ago, if that is every or more ago, or askSoon of one that has no pinset yet. One that misses answers is asked ever more
// seldom. Who takes one ends it with answered or missed.
func (b *book) due(of []feed.Peer, every time.Duration, now time.Time) (id api.PeerID, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var next *followerNote
	for _, p := range of {
		n := b.note(p.ID)
		if n.tried.IsZero() { // it may have been forgotten meanwhile
			n.introduce(p)
		}
		wait := every
		if !n.report.Settled { // it has just begun, and is soon further
			wait = min(every, askSoon)
		}
		if !n.busy && (n.tried.IsZero() || now.Sub(n.tried) >= wait<<min(n.misses, maxMisses)) && (next == nil || n.tried.Before(next.tried)) {
			next = n
		}
	}
	if next == nil {
		return "", false
	}
	next.busy, next.tried = true, now
	return next.peer.ID, true
}

// answered keeps a report.
func (b *book) answered(id api.PeerID, r feed.Report, agrees *bool, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.note(id)
	r.Hold, r.Stopped = short(r.Hold, maxFollowerText), short(r.Stopped, maxFollowerReason)
	if len(r.Digest) != 32 {
		r.Digest = nil
	}
	if len(r.Claim) != len(feed.Claim{}) {
		r.Claim = nil
	}
	n.report, n.agrees, n.asked, n.busy = r, agrees, now, false
	b.hear(n, now)
}

// hear notes that a follower answered. Under mu.
func (b *book) hear(n *followerNote, now time.Time) {
	n.spoke, n.misses, n.err = now, 0, ""
	b.heard.MoveToBack(b.by[n.peer.ID])
}

// missed notes that a follower did not answer.
func (b *book) missed(id api.PeerID, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.note(id)
	n.busy, n.err = false, short(err.Error(), maxFollowerReason)
	n.misses++
}

// spoken notes that a follower answered a question that was put beside the turns.
func (b *book) spoken(id api.PeerID, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hear(b.note(id), now)
}

// silent notes that a follower did not answer such a question.
func (b *book) silent(id api.PeerID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.note(id).misses++
}

// get gives what is known of a follower.
func (b *book) get(id api.PeerID) (followerNote, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e, ok := b.by[id]; ok {
		return *e.Value.(*followerNote), true
	}
	return followerNote{}, false
}

// challenged changes what became of a follower's challenges, and gives them.
func (b *book) challenged(id api.PeerID, change func(*challengeCounts)) challengeCounts {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.note(id)
	change(&n.results)
	return n.results
}

// toChallenge takes the follower of these that was challenged longest ago, or never, if
// that is every or more ago. It has answered the last question.
func (b *book) toChallenge(of []feed.Peer, every time.Duration, now time.Time) (followerNote, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var next *followerNote
	for _, p := range of {
		e, ok := b.by[p.ID]
		if !ok {
			continue
		}
		n := e.Value.(*followerNote)
		if n.misses == 0 && n.report.Settled && now.Sub(n.results.last) >= every && (next == nil || n.results.last.Before(next.results.last)) {
			next = n
		}
	}
	if next == nil {
		return followerNote{}, false
	}
	next.results.last = now
	return *next, true
}

// page gives up to most followers past after, by the bytes of their IDs.
func (b *book) page(after api.PeerID, most int) []followerNote {
	b.mu.Lock()
	defer b.mu.Unlock()
	ids := make([]api.PeerID, 0, len(b.by))
	for id := range b.by {
		if id > after {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	out := make([]followerNote, min(len(ids), most))
	for i := range out {
		out[i] = *b.by[ids[i]].Value.(*followerNote)
	}
	return out
}

// count tells how many are known, and how many of them lied.
func (b *book) count() (known, liars int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.by {
		if e.Value.(*followerNote).results.lied > 0 {
			liars++
		}
	}
	return len(b.by), liars
}

// follower is n as doors show it.
func (n followerNote) follower() api.Follower {
	r := n.report
	var found *uint8
	if !n.results.looked.IsZero() {
		found = new(n.results.percent())
	}
	return api.Follower{
		FollowerStatus: api.FollowerStatus{ID: n.peer.ID, Name: n.peer.Name, Version: n.peer.Version, Index: r.Index, Digest: hex.EncodeToString(r.Digest),
			Latest: r.Latest, Stopped: r.Stopped, Hold: r.Hold, Capacity: r.Capacity, Wanted: r.Wanted, Pinned: r.Pins, Failed: r.Failed,
			Bytes: r.Bytes, Free: r.Free},
		Addresses: n.peer.Addrs, Agrees: n.agrees,
		Proven: n.results.proven, Lied: n.results.lied, Unanswered: n.results.unanswered, Found: found, Asked: n.asked, Error: n.err,
	}
}

// short is text of at most max bytes, without what is no UTF-8.
func short(s string, max int) string {
	return strings.ToValidUTF8(strings.Clone(s[:min(len(s), max)]), "")
}
