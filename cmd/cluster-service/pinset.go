package main

import (
	"context"
	"iter"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/state"
)

// pinset is the state as its readers ask for it.
type pinset struct{ *state.State }

// List gives all pins after a CID, in order of the CIDs' bytes.
func (p pinset) List(ctx context.Context, after api.Cid) iter.Seq2[api.Pin, error] {
	return p.State.List(ctx, state.Query{By: state.ByCid, After: after})
}

// Pins is List.
func (p pinset) Pins(ctx context.Context, after api.Cid) iter.Seq2[api.Pin, error] {
	return p.List(ctx, after)
}

// All gives all pins.
func (p pinset) All(ctx context.Context) iter.Seq2[api.Pin, error] { return p.List(ctx, api.CidUndef) }

// Expiring gives the pins that expire, the first to do so first.
func (p pinset) Expiring(ctx context.Context) iter.Seq2[api.Pin, error] {
	return p.State.List(ctx, state.Query{By: state.ByExpiry})
}

// Totals are the number of pins and their bytes, as far as known.
func (p pinset) Totals() (pins, bytes uint64) {
	s := p.Stats()
	return s.Pins, s.Bytes
}

// Count gives the number of pins that pass f where the state keeps it: of all, and of those
// of one peer.
func (p pinset) Count(f api.PinFilter) (pins uint64, kept bool) {
	peer := f.Peer
	f.Peer = ""
	switch {
	case !f.All():
		return 0, false
	case peer == "":
		return p.Stats().Pins, true
	}
	return p.HeldStats(peer).Pins + p.HeldStats("").Pins, true
}

// changes tells the parts of a peer what the log does to the pinset.
type changes struct {
	parts []interface {
		Track(api.Pin)
		Untrack(api.Pin)
		Reload()
	}
	changed func(state.Changes) // nil: nobody asks
}

func (c *changes) Track(p api.Pin) {
	for _, l := range c.parts {
		l.Track(p)
	}
}

func (c *changes) Untrack(p api.Pin) {
	for _, l := range c.parts {
		l.Untrack(p)
	}
}

func (c *changes) Reload() {
	for _, l := range c.parts {
		l.Reload()
	}
}

func (c *changes) Changed(e state.Changes) {
	if c.changed != nil {
		c.changed(e)
	}
}
