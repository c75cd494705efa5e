package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/feed"
)

// crowd is one machine that says hello ten times a second under new names, until ctx ends.
func crowd(ctx context.Context, met func(feed.Peer)) {
	for n := 0; ctx.Err() == nil; n++ {
		met(feed.Peer{ID: api.PeerID(fmt.Sprint("name ", n)), From: "192.0.2.1"})
		time.Sleep(100 * time.Millisecond)
	}
}

// comeBy has honest visitors come, each from an address of its own, while a crowd does, and
// gives them.
func comeBy(t *testing.T, met func(feed.Peer)) (honest []api.PeerID) {
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() { crowd(ctx, met) })
	for n := range 40 {
		time.Sleep(20*time.Second + time.Duration(n)*17*time.Millisecond)
		id := api.PeerID(fmt.Sprint("honest ", n))
		met(feed.Peer{ID: id, From: fmt.Sprint("198.51.100.", n)})
		honest = append(honest, id)
	}
	time.Sleep(10 * time.Second)
	cancel()
	all.Wait()
	return honest
}

func TestAudience_IsNotCrowdedOut(t *testing.T) {
	for name, mute := range map[string]bool{"who answers": false, "who says nothing": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHall(0)
				a := h.attend(t, newBook(maxKnown))
				begin := time.Now()
				honest := comeBy(t, func(p feed.Peer) {
					if mute && strings.HasPrefix(string(p.ID), "name") {
						h.setMute(p.ID, true)
					}
					a.met(p)
				})
				for _, id := range honest {
					if len(h.times(id)) != 1 {
						t.Errorf("%s was asked %d times", id, len(h.times(id)))
					}
				}
				if all, most := len(h.all()), int(time.Since(begin)/visitorsEvery)+1; all > most {
					t.Errorf("%d were asked, want %d at most", all, most)
				}
			})
		})
	}
}

// slow is a holder of which those of one machine answer as late as they may, and prove
// nothing.
type slow struct {
	holder
	mu       sync.Mutex
	now, top int // of the machine's that are being challenged
}

func (s *slow) PinStatuses(ctx context.Context, id api.PeerID, cids []api.Cid) ([]api.PinInfo, error) {
	s.wait(id, 1)
	return s.holder.PinStatuses(ctx, id, cids)
}

func (s *slow) Challenge(ctx context.Context, id api.PeerID, c feed.Challenge) (feed.Answer, error) {
	s.wait(id, -1)
	return s.holder.Challenge(ctx, id, c)
}

// wait counts from the first question to the answer of the second.
func (s *slow) wait(id api.PeerID, more int) {
	if !strings.HasPrefix(string(id), "name") {
		return
	}
	count := func(d int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.now += d
		s.top = max(s.top, s.now)
	}
	count(max(more, 0))
	time.Sleep(askTimeout - 100*time.Millisecond)
	count(min(more, 0))
}

func TestChallenger_IsNotHeldUpByOneMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		claim := feed.ClaimAll()
		s := &slow{holder: holder{newHall(0), oneBlock{data: []byte("content")}}}
		s.report = feed.Report{Index: 7, Digest: make([]byte, 32), Settled: true, Hold: "all", Claim: claim[:]}
		s.has.pin = api.NewPin(randomCid(), copies(1), time.Now())
		a := newAudience(s, func(api.PeerID) bool { return false }, 2*time.Minute, quiet)
		c := newChallenger(a, s.has, s.has, func(context.Context, []api.Cid, []api.Question) {}, time.Hour, time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		for _, run := range []func(context.Context) error{a.run, c.run} {
			running.Go(func() {
				if err := run(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		for _, id := range comeBy(t, a.met) {
			if n, _ := a.book.get(id); n.results.proven != 1 || n.results.unanswered > 0 {
				t.Errorf("%s: %+v", id, n.results)
			}
		}
		cancel()
		running.Wait()
		if s.top != 1 {
			t.Errorf("%d of one machine were challenged at once, want 1", s.top)
		}
	})
}

func TestLobby_IsSharedByAddress(t *testing.T) {
	l, now := newLobby(rate.Inf), time.Now()
	enter := func(from string, n int) {
		l.enter(feed.Peer{ID: api.PeerID(fmt.Sprint(from, " ", n)), From: from}, now)
	}
	for n := range 3 * visitorsWaiting {
		enter("crowd", n)
	}
	for n := range 2 {
		enter("a", n)
		enter("b", n)
	}
	for n := range visitorsWaiting {
		enter("crowd", 100+n)
	}
	if len(l.waiting) != visitorsWaiting {
		t.Errorf("%d wait, want %d", len(l.waiting), visitorsWaiting)
	}
	var got []string
	var dones []func()
	take := func() bool {
		v, done, ok := l.take(now)
		if ok {
			got, dones = append(got, string(v.ID)), append(dones, done)
		}
		return ok
	}
	for take() {
	}
	if want := []string{"a 0", "b 0", "crowd 104"}; !slices.Equal(got, want) {
		t.Errorf("turns are of %q, want %q: of each address one", got, want)
	}
	for _, done := range dones {
		done()
	}
	enter("c", 0)
	for take() {
		dones[len(dones)-1]()
	}
	if want := []string{"c 0", "a 1", "b 1", "crowd 105", "crowd 106"}; !slices.Equal(got[3:8], want) {
		t.Errorf("then turns are of %q, want %q: in turns by address", got[3:], want)
	}
	if len(l.waiting) > 0 {
		t.Errorf("%d wait still", len(l.waiting))
	}
	enter("late", 0)
	if _, _, ok := l.take(now.Add(visitorWaits + 1)); ok {
		t.Error("one that has gone has a turn")
	}
}

// What is remembered of addresses is bounded.
func TestLobby_ForgetsAddresses(t *testing.T) {
	l, now := newLobby(rate.Inf), time.Now()
	for n := range 4 * turnsRemembered {
		l.enter(feed.Peer{ID: api.PeerID(fmt.Sprint(n)), From: fmt.Sprint("address ", n)}, now)
		if _, done, ok := l.take(now); ok {
			done()
		}
	}
	if len(l.had) != turnsRemembered || len(l.busy) > 0 || len(l.waiting) > 0 {
		t.Errorf("%d addresses are remembered, %d of them busy, and %d wait", len(l.had), len(l.busy), len(l.waiting))
	}
}
