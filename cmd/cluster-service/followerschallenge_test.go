package main

import (
	"context"
	"iter"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/config"
	"github.com/pinfold-cluster/pinfold/feed"
	"github.com/pinfold-cluster/pinfold/state"
)

// sizedPins is a pinset, and a node that has all of it.
type sizedPins struct {
	oneBlock
	pins []api.Pin
}

func (s sizedPins) List(context.Context, state.Query) iter.Seq2[api.Pin, error] {
	return func(yield func(api.Pin, error) bool) {
		for _, p := range s.pins {
			if !yield(p, nil) {
				return
			}
		}
	}
}

// sharer is a hall of followers that have the pins of at most so many bytes.
type sharer struct {
	holder
	pins  []api.Pin
	holds uint64
}

func (s *sharer) PinStatuses(ctx context.Context, id api.PeerID, cids []api.Cid) ([]api.PinInfo, error) {
	var has []api.Cid
	for _, c := range cids {
		for _, p := range s.pins {
			if p.Cid == c && p.Size <= s.holds {
				has = append(has, c)
			}
		}
	}
	return s.holder.PinStatuses(ctx, id, has)
}

// A pin that is larger than its share is nothing that a follower lacks. Nor has it a copy of
// it: with what it says of its room its claim weighs no more.
func TestChallenger_AsksForNothingTooLarge(t *testing.T) {
	claim := feed.ClaimAll()
	pins := sizedPins{oneBlock: oneBlock{data: []byte("content")}}
	for i := range 8 {
		p := api.NewPin(randomCid(), copies(1), time.Now())
		if p.Size = 100 << 10; i%4 == 0 {
			p.Size = 980 << 10 // of 1 MiB a share takes 973
		}
		pins.pins = append(pins.pins, p)
	}
	s := &sharer{holder{newHall(1), pins.oneBlock}, pins.pins, 200 << 10}
	a := newAudience(s, func(api.PeerID) bool { return false }, time.Hour, quiet)
	c := newChallenger(a, pins, pins, func(context.Context, []api.Cid, []api.Question) {}, time.Nanosecond, time.Hour)
	id := s.guests[0].ID
	for _, test := range []struct {
		what          string
		capacity      uint64
		found, weight uint8
	}{
		{"room for three of four", 1 << 20, 100, 75},
		{"room for all, and not all of them", 2 << 20, 75, 75},
		{"no bound", 0, 75, 75},
		{"room for nothing", 50 << 10, 0, 0},
	} {
		s.report = feed.Report{Index: 7, Digest: make([]byte, 32), Settled: true, Hold: config.HoldShare, Capacity: test.capacity, Claim: claim[:]}
		a.ask(t.Context(), id)
		a.book.challenged(id, func(r *challengeCounts) { *r = challengeCounts{proven: 1} })
		c.turn(t.Context(), s.guests)
		if n, _ := a.book.get(id); n.results.percent() != test.found || n.results.weight() != test.weight || n.results.looked.IsZero() {
			t.Errorf("%s: %d %% found, and counts for %d %%; want %d and %d", test.what, n.results.percent(), n.results.weight(), test.found, test.weight)
		}
	}
}

// Who says that it has no more room for what it claims is not counted by what it had.
func TestChallenger_ForgetsWhatHasNoRoomAnyMore(t *testing.T) {
	r := challengeCounts{}
	for range 8 {
		r.sampled(sample{asked: challengeAsked, held: challengeAsked}, time.Now())
	}
	if r.weight() != 100 {
		t.Fatalf("it counts for %d %%", r.weight())
	}
	for range 4 {
		r.sampled(sample{large: challengeLook}, time.Now())
	}
	if r.weight() > 1 {
		t.Errorf("it counts for %d %% still", r.weight())
	}
	for range 40 {
		r.sampled(sample{asked: challengeAsked, held: challengeAsked}, time.Now())
	}
	if r.weight() < 90 {
		t.Errorf("after 40 visits it counts for %d %%", r.weight())
	}
}
