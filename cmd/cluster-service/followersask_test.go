package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/feed"
)

// hall is a feed with followers that answer as a test says; those in mute never do.
type hall struct {
	guests []feed.Peer
	mute   map[api.PeerID]bool
	report feed.Report

	mu       sync.Mutex
	asked    map[api.PeerID][]time.Time
	now, top int // questions under way, and the most at once
}

func newHall(n int) *hall {
	h := &hall{mute: map[api.PeerID]bool{}, asked: map[api.PeerID][]time.Time{}}
	for i := range n {
		h.guests = append(h.guests, feed.Peer{ID: api.PeerID(fmt.Sprintf("follower %05d", i)), Name: "f"})
	}
	return h
}

func (h *hall) Followers() []feed.Peer {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.guests
}

func (h *hall) Report(ctx context.Context, id api.PeerID) (feed.Report, error) {
	h.mu.Lock()
	h.asked[id] = append(h.asked[id], time.Now())
	h.now++
	h.top = max(h.top, h.now)
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		h.now--
		h.mu.Unlock()
	}()
	if h.silent(id) {
		<-ctx.Done()
		return feed.Report{}, ctx.Err()
	}
	return h.report, nil
}

func (h *hall) silent(id api.PeerID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mute[id]
}

func (h *hall) setMute(id api.PeerID, mute bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mute[id] = mute
}

func (h *hall) PinStatuses(context.Context, api.PeerID, []api.Cid) ([]api.PinInfo, error) {
	return nil, api.Unavailable.Errorf("nobody answers")
}

func (h *hall) Challenge(context.Context, api.PeerID, feed.Challenge) (feed.Answer, error) {
	return feed.Answer{}, api.Unavailable.Errorf("nobody answers")
}

func (h *hall) Agrees(index uint64, digest []byte) (agrees, known bool) {
	return bytes.Equal(digest, h.report.Digest), index == h.report.Index
}

// attend runs an audience of h until the test ends.
func (h *hall) attend(t *testing.T, book *book) *audience {
	a := newAudience(h, func(api.PeerID) bool { return false }, 30*time.Second, quiet)
	a.book = book
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return a
}

// times are when a follower was asked.
func (h *hall) times(id api.PeerID) []time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.asked[id]
}

func (h *hall) all() map[api.PeerID][]time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.asked)
}

func TestAudience_AsksEachInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHall(40)
		h.report = feed.Report{Index: 7, Digest: make([]byte, 32), Hold: "all", Pins: 3}
		a := h.attend(t, newBook(maxKnown))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		for _, g := range h.guests {
			if n := len(h.times(g.ID)); n != 1 {
				t.Fatalf("%s was asked %d times at first", g.ID, n)
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		for _, g := range h.guests {
			if n := len(h.times(g.ID)); n < 2 || n > 3 {
				t.Fatalf("%s was asked %d times in a minute", g.ID, n)
			}
		}
		newcomer := feed.Peer{ID: "newcomer", Name: strings.Repeat("n", 1000)}
		h.mu.Lock()
		h.guests = append(slices.Clip(h.guests), newcomer)
		h.mu.Unlock()
		a.met(newcomer)
		time.Sleep(time.Second)
		synctest.Wait()
		page := a.page("", 100)
		f := page[len(page)-1]
		if len(page) != 41 || f.ID != "newcomer" || !f.Connected || f.Pinned != 3 || f.Agrees == nil || !*f.Agrees || len(f.Name) != maxFollowerText {
			t.Fatalf("%d are known, the last is %+v", len(page), f)
		}
	})
}

// How far a first copy is shall not take long to show, whatever the interval.
func TestBook_AsksSoonWhoHasNoPinsetYet(t *testing.T) {
	b, id, now := newBook(2), randomPeer(t), time.Now()
	of := []feed.Peer{{ID: id}}
	for _, settled := range []bool{false, true} {
		if _, ok := b.due(of, time.Hour, now); !ok {
			t.Fatalf("with a pinset %v: not asked", settled)
		}
		b.answered(id, feed.Report{Settled: settled}, nil, now)
		now = now.Add(askSoon)
	}
	if _, ok := b.due(of, time.Hour, now); ok {
		t.Error("one that has the pinset is asked again soon")
	}
	if _, ok := b.due(of, time.Hour, now.Add(time.Hour)); !ok {
		t.Error("one that has the pinset is not asked again")
	}
}

// Those that say nothing delay nobody for long, and are asked less and less.
func TestAudience_IsNotHeldUpByTheMute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHall(60)
		for _, g := range h.guests[:50] {
			h.mute[g.ID] = true
		}
		a := h.attend(t, newBook(maxKnown))
		const hours = 2
		time.Sleep(hours * time.Hour)
		synctest.Wait()
		h.mu.Lock()
		if h.top > askersAtOnce {
			t.Errorf("%d were asked at once", h.top)
		}
		h.mu.Unlock()
		for _, g := range h.guests[:50] {
			if n := len(h.times(g.ID)); n > 6+hours*4 {
				t.Errorf("a mute one was asked %d times", n)
			}
		}
		for _, g := range h.guests[50:] {
			times := h.times(g.ID)
			if n := len(times); n < hours*100 {
				t.Errorf("one that answers was asked %d times", n)
			}
		}
		mute, _ := a.get(h.guests[0].ID)
		if talks, ok := a.get(h.guests[55].ID); !ok || mute.Error == "" || !mute.Asked.IsZero() || talks.Error != "" || talks.Asked.IsZero() {
			t.Errorf("the mute one is shown as %+v, another as %+v", mute, talks)
		}
	})
}

func TestAudience_StaysWithinBoundsInAFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 2000
		h := newHall(3)
		a := h.attend(t, newBook(most))
		time.Sleep(time.Second)
		synctest.Wait()
		for i := range 2 * most {
			a.met(feed.Peer{ID: api.PeerID(fmt.Sprintf("visitor %06d", i))})
			if i%100 == 0 {
				time.Sleep(10 * time.Second)
				synctest.Wait()
			}
		}
		if known, _ := a.book.count(); known != most || a.book.heard.Len() != most {
			t.Errorf("%d are remembered", known)
		}
		for _, g := range h.guests {
			if f, ok := a.get(g.ID); !ok || f.Asked.IsZero() {
				t.Errorf("a follower that is there was forgotten: %+v", f)
			}
		}
		visits := 0
		for id := range h.all() {
			if strings.HasPrefix(string(id), "visitor") {
				visits++
			}
		}
		if limit := 2*most/100*10 + 1; visits < 10 || visits > limit {
			t.Errorf("%d visitors were asked, want at most %d", visits, limit)
		}
	})
}

// Names cost nothing: what was found out by challenges is not forgotten for them.
func TestBook_ForgetsNothingFoundOutForNewNames(t *testing.T) {
	const most = 100
	b := newBook(most)
	name := func(what string, i int) feed.Peer { return feed.Peer{ID: api.PeerID(fmt.Sprint(what, i))} }
	for i := range most / 2 {
		b.met(name("honest", i))
		b.challenged(name("honest", i).ID, func(r *challengeCounts) { r.proven++ })
	}
	b.met(name("liar", 0))
	b.challenged(name("liar", 0).ID, func(r *challengeCounts) { r.lied++ })
	for i := range 3 * most {
		b.met(name("name", i))
		b.challenged(name("name", i).ID, func(r *challengeCounts) { r.unanswered++ })
	}
	n, known := b.get(name("honest", 0).ID)
	if all, liars := b.count(); all != most || liars != 1 || !known || n.results.proven != 1 {
		t.Errorf("%d are remembered, %d of them as liars; the first that proved something: %t %+v", all, liars, known, n.results)
	}
	if _, ok := b.get(name("name", 3*most-1).ID); !ok {
		t.Error("the last that came is not remembered")
	}
	for i := range 2 * most { // among themselves the last heard stay
		b.met(name("more", i))
		b.challenged(name("more", i).ID, func(r *challengeCounts) { r.proven++ })
	}
	if _, ok := b.get(name("honest", 0).ID); ok {
		t.Error("one unheard for long is remembered for ever")
	}
}

func TestBook_KeepsLittleOfLongAnswers(t *testing.T) {
	b, now := newBook(3), time.Unix(1, 0)
	b.answered("a", feed.Report{Hold: strings.Repeat("h", 1<<20), Stopped: strings.Repeat("\xff", 1<<20), Digest: make([]byte, 1<<20), Claim: make([]byte, 1<<20)}, nil, now)
	b.missed("a", fmt.Errorf("%s", strings.Repeat("e", 1<<20)))
	n, _ := b.get("a")
	if len(n.report.Hold) > 64 || n.report.Stopped != "" || n.report.Digest != nil || n.report.Claim != nil || len(n.err) > maxFollowerReason {
		t.Errorf("kept %+v", n)
	}
}
