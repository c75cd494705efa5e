package main

import (
	"context"
	"iter"
	"slices"
	"sync/atomic"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/config"
	"github.com/pinfold-cluster/pinfold/state"
)

// holding is a follower's pinset as its tracker sees it. What the follower chose to hold
// is allocated to it, all else to others: the records themselves say nothing of it, and
// what is everywhere is on all full peers only. While the pinset is being fetched nothing
// can be read: nothing is pinned or unpinned by half of it.
type holding struct {
	self  api.PeerID
	pins  *state.State
	holds func(api.Pin) bool // what the follower chose; quick, for concurrent use
}

var errFetching = api.Unavailable.Errorf("the pinset is being fetched")

func (h holding) ready() error {
	if h.pins.Applied() == 0 {
		return errFetching
	}
	return nil
}

// as is p as the tracker sees it.
func (h holding) as(p api.Pin) api.Pin { return h.allotted(p, h.holds(p)) }

func (h holding) allotted(p api.Pin, mine bool) api.Pin {
	if p.Everywhere() {
		p.ReplicationFactorMin, p.ReplicationFactorMax = 1, 1
	}
	p.Leaving = nil
	if mine {
		p.Allocations = append(slices.Clone(p.Allocations), h.self)
		slices.Sort(p.Allocations)
	}
	return p
}

// Get implements pintracker.Pinset.
func (h holding) Get(ctx context.Context, c api.Cid) (api.Pin, error) {
	if err := h.ready(); err != nil {
		return api.Pin{}, err
	}
	p, err := h.pins.Get(ctx, c)
	if err != nil {
		return p, err
	}
	return h.as(p), nil
}

// Pins implements pintracker.Pinset.
func (h holding) Pins(ctx context.Context, after api.Cid) iter.Seq2[api.Pin, error] {
	return func(yield func(api.Pin, error) bool) {
		if err := h.ready(); err != nil {
			yield(api.Pin{}, err)
			return
		}
		for p, err := range h.pins.List(ctx, state.Query{By: state.ByCid, After: after}) {
			if err == nil {
				p = h.as(p)
			}
			if !yield(p, err) {
				return
			}
		}
	}
}

// Allocated implements pintracker.Pinset.
func (h holding) Allocated(ctx context.Context, id api.PeerID, after api.Cid) iter.Seq2[api.Pin, error] {
	return func(yield func(api.Pin, error) bool) {
		for p, err := range h.Pins(ctx, after) {
			if (err != nil || p.HeldBy(id)) && !yield(p, err) {
				return
			}
		}
	}
}

// Applied implements pintracker.Pinset.
func (h holding) Applied() uint64 { return h.pins.Applied() }

// pinTeller is what is told of changes: a pintracker.Tracker.
type pinTeller interface {
	Track(api.Pin)
	Untrack(api.Pin)
	Reload()
}

// telling tells a follower's tracker what the feed changed.
type telling struct {
	holding
	tracker pinTeller
	// pinned tells whether the node has a CID pinned.
	pinned func(api.Cid) bool
	news   *atomic.Uint64 // counts changes of what is to be held, or was
}

// Track implements feed.Listener.
func (t telling) Track(p api.Pin) {
	mine := t.holds(p)
	had := !mine && t.pinned(p.Cid)
	if mine || had {
		t.news.Add(1)
	}
	if had { // it was to be held before
		t.tracker.Untrack(t.allotted(p, true))
		return
	}
	t.tracker.Track(t.allotted(p, mine))
}

// Untrack implements feed.Listener.
func (t telling) Untrack(p api.Pin) {
	mine := t.holds(p) || t.pinned(p.Cid)
	if mine {
		t.news.Add(1)
	}
	t.tracker.Untrack(t.allotted(p, mine))
}

// Reload implements feed.Listener.
func (t telling) Reload() {
	t.news.Add(1)
	t.tracker.Reload()
}

// choice gives what decides about pins by a way to hold: all, allocated, or a share.
func choice(way string, self api.PeerID, inShare func(api.Pin) bool) func(api.Pin) bool {
	return func(p api.Pin) bool {
		switch {
		case p.Type == api.PinMeta:
			return false
		case way == config.HoldAll || slices.Contains(p.Followers, self):
			return true
		}
		return way == config.HoldShare && inShare(p)
	}
}
