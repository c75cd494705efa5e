package main

import (
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/pinfold-cluster/pinfold/feed"
)

const (
	// visitorsWaiting bounds those that wait in a lobby.
	visitorsWaiting = 16
	// visitorWaits is how long after it came the turn of one may begin: it goes after 3 s,
	// and what it does not answer is held against it.
	visitorWaits = 2 * time.Second
	// turnsRemembered is for how many turns it is known which address had them.
	turnsRemembered = 256
)

// A lobby has the followers without a place here, visitors, that wait for their turn. Names
// cost nothing, so addresses share it and take turns: one machine can fill it, but keeps
// nobody out. It is safe for concurrent use.
type lobby struct {
	pace *rate.Limiter // of turns
	came chan struct{} // somebody did

	mu      sync.Mutex
	waiting []visitor         // the first come first
	turns   uint64            // there have been so many
	had     map[string]uint64 // which an address had last
	busy    map[string]bool   // addresses of those whose turn it is
}

type visitor struct {
	feed.Peer
	at time.Time // when it came
}

func newLobby(pace rate.Limit) *lobby {
	return &lobby{pace: rate.NewLimiter(pace, 1), came: make(chan struct{}, 1), had: map[string]uint64{}, busy: map[string]bool{}}
}

// enter has one wait that came at a time. Where too many do, the first come goes of the
// address that has most then. It does not block.
func (l *lobby) enter(p feed.Peer, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.ContainsFunc(l.waiting, func(v visitor) bool { return v.ID == p.ID }) {
		return
	}
	if l.waiting = append(l.waiting, visitor{p, at}); len(l.waiting) > visitorsWaiting {
		n := map[string]int{}
		for _, v := range l.waiting {
			n[v.From]++
		}
		first := slices.MaxFunc(l.waiting, func(a, b visitor) int { return n[a.From] - n[b.From] })
		l.waiting = slices.DeleteFunc(l.waiting, func(v visitor) bool { return v.ID == first.ID })
	}
	select {
	case l.came <- struct{}{}:
	default:
	}
}

// take gives whose turn it is, if anybody's: the first come of the address that had none for
// longest. It lasts until done is called, and nobody else of the address has one meanwhile.
func (l *lobby) take(now time.Time) (v visitor, done func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = slices.DeleteFunc(l.waiting, func(v visitor) bool { return now.Sub(v.at) > visitorWaits })
	next := -1
	for i, v := range l.waiting {
		if !l.busy[v.From] && (next < 0 || l.had[v.From] < l.had[l.waiting[next].From]) {
			next = i
		}
	}
	if next < 0 || !l.pace.AllowN(now, 1) {
		return visitor{}, nil, false
	}
	v = l.waiting[next]
	l.waiting = slices.Delete(l.waiting, next, next+1)
	l.turns++
	l.had[v.From] = l.turns
	maps.DeleteFunc(l.had, func(_ string, turn uint64) bool { return turn+turnsRemembered <= l.turns })
	l.busy[v.From] = true
	return v, func() { l.done(v.From) }, true
}

func (l *lobby) done(from string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.busy, from)
}
