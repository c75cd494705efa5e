package main

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/config"
	"github.com/pinfold-cluster/pinfold/p2p"
	"github.com/pinfold-cluster/pinfold/state"
)

func openTestState(t *testing.T) *state.State {
	t.Helper()
	s, err := state.Open(t.TempDir(), state.Options{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestHolding_NothingIsReadWhileThePinsetIsFetched(t *testing.T) {
	s, p := openTestState(t), api.NewPin(randomCid(), copies(-1), time.Now())
	h := holding{self: "me", pins: s, holds: func(api.Pin) bool { return true }}
	// As a sync leaves it half way: rows, and no index that they are of.
	b := s.NewBatch()
	if err := errors.Join(b.Put(p), b.CommitAt(0)); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Get(t.Context(), p.Cid); api.KindOf(err) != api.Unavailable {
		t.Errorf("Get of what is there: %v", err)
	}
	if _, err := h.Get(t.Context(), randomCid()); api.KindOf(err) != api.Unavailable {
		t.Errorf("Get of what is not there yet: %v", err)
	}
	for _, err := range h.Pins(t.Context(), api.CidUndef) {
		if api.KindOf(err) != api.Unavailable {
			t.Errorf("Pins: %v", err)
		}
	}
	for _, err := range h.Allocated(t.Context(), "me", api.CidUndef) {
		if api.KindOf(err) != api.Unavailable {
			t.Errorf("Allocated: %v", err)
		}
	}
	if err := s.NewBatch().CommitAt(5); err != nil {
		t.Fatal(err)
	}
	if got, err := h.Get(t.Context(), p.Cid); err != nil || !got.HeldBy("me") {
		t.Errorf("once it is fetched: %+v, %v", got, err)
	}
}

func TestHolding_TheTrackerSeesWhatIsToBeHeld(t *testing.T) {
	s := openTestState(t)
	self, other := randomPeer(t), randomPeer(t)
	pins := map[string]api.Pin{}
	add := func(name string, o api.PinOptions, change func(*api.Pin)) {
		p := api.NewPin(randomCid(), o, time.Now())
		if change != nil {
			change(&p)
		}
		pins[name] = p
	}
	add("everywhere", copies(-1), nil)
	add("on a peer", copies(1), func(p *api.Pin) { p.Allocations = []api.PeerID{other} })
	add("leaving a peer", copies(1), func(p *api.Pin) { p.Allocations, p.Leaving = []api.PeerID{other}, []api.PeerID{self} })
	add("on a peer and mine", copies(1), func(p *api.Pin) { p.Allocations, p.Followers = []api.PeerID{other}, []api.PeerID{self} })
	add("everywhere and another's", copies(-1), func(p *api.Pin) { p.Followers = []api.PeerID{other} })
	add("meta", copies(-1), func(p *api.Pin) { p.Type = api.PinMeta })
	b := s.NewBatch()
	for _, p := range pins {
		if err := b.Put(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Commit(1); err != nil {
		t.Fatal(err)
	}
	share := func(p api.Pin) bool { return p.Cid == pins["everywhere"].Cid || p.Cid == pins["meta"].Cid }
	for way, want := range map[string][]string{
		config.HoldAll:       {"everywhere", "everywhere and another's", "leaving a peer", "on a peer", "on a peer and mine"},
		config.HoldAllocated: {"on a peer and mine"},
		config.HoldShare:     {"everywhere", "on a peer and mine"},
	} {
		h := holding{self: self, pins: s, holds: choice(way, self, share)}
		var got []string
		for p, err := range h.Allocated(t.Context(), self, api.CidUndef) {
			if err != nil {
				t.Fatal(err)
			}
			for name, original := range pins {
				if original.Cid == p.Cid {
					got = append(got, name)
				}
			}
			if p.Everywhere() || !slices.Contains(p.Allocations, self) {
				t.Errorf("%s: %+v is not told as this follower's", way, p)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: holds %q, want %q", way, got, want)
		}
		all := 0
		for p, err := range h.Pins(t.Context(), api.CidUndef) {
			if err != nil {
				t.Fatal(err)
			}
			if one, err := h.Get(t.Context(), p.Cid); err != nil || one.HeldBy(self) != p.HeldBy(self) {
				t.Errorf("%s: Get and Pins differ about %s: %v", way, p.Cid, err)
			}
			all++
		}
		if all != len(pins) {
			t.Errorf("%s: lists %d pins, want %d", way, all, len(pins))
		}
	}
}

// recorded is a tracker that writes down what it is told.
type recorded struct {
	self api.PeerID
	told []string
}

func (r *recorded) Track(p api.Pin) { r.told = append(r.told, fmt.Sprint("track ", p.HeldBy(r.self))) }
func (r *recorded) Untrack(p api.Pin) {
	r.told = append(r.told, fmt.Sprint("untrack ", p.HeldBy(r.self)))
}
func (r *recorded) Reload() { r.told = append(r.told, "reload") }

func TestTelling_WhatIsNoLongerToBeHeldGoes(t *testing.T) {
	self := randomPeer(t)
	p := api.NewPin(randomCid(), copies(-1), time.Now())
	for _, tt := range []struct {
		name           string
		mine, pinned   bool
		track, untrack string
		news           uint64
	}{
		{"mine, not there", true, false, "track true", "untrack true", 3},
		{"mine, there", true, true, "track true", "untrack true", 3},
		{"no longer mine, there", false, true, "untrack true", "untrack true", 3},
		{"never mine", false, false, "track false", "untrack false", 1},
	} {
		r, news := &recorded{self: self}, atomic.Uint64{}
		tell := telling{holding{self: self, holds: func(api.Pin) bool { return tt.mine }}, r, func(api.Cid) bool { return tt.pinned }, &news}
		tell.Track(p)
		tell.Untrack(p)
		tell.Reload()
		if want := []string{tt.track, tt.untrack, "reload"}; !slices.Equal(r.told, want) {
			t.Errorf("%s: told %q, want %q", tt.name, r.told, want)
		}
		if n := news.Load(); n != tt.news {
			t.Errorf("%s: %d changes of what is to be held, want %d", tt.name, n, tt.news)
		}
	}
}

func randomPeer(t testing.TB) api.PeerID {
	t.Helper()
	id, err := p2p.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return id.ID
}
