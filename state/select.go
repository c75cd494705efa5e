package state

import (
	"bytes"
	"context"
	"iter"
	"maps"
	"slices"

	"github.com/ipfs/go-cid"

	"github.com/pinfold-cluster/pinfold/api"
)

// Select reads the pins that pass f, past the one for which SelectCursor gave cursor, nil
// for all. It goes by the secondary keys that leave the fewest pins to look at: one name,
// a metadata pair, a peer, names with a prefix, a span of time. Pins come in order of the
// bytes of their CIDs; of several names, by name first, and of a span of time, the oldest
// first. Errors are as List's. All are of one state: at, where not nil, is told its log
// index before the first.
func (s *State) Select(ctx context.Context, f api.PinFilter, cursor []byte, at func(index uint64)) iter.Seq2[api.Pin, error] {
	return func(yield func(api.Pin, error) bool) {
		list, err := s.candidates(ctx, f, cursor, at)
		if err != nil {
			yield(api.Pin{}, err)
			return
		}
		for p, err := range list {
			if (err != nil || f.Match(p)) && !yield(p, err) {
				return
			}
		}
	}
}

func (s *State) candidates(ctx context.Context, f api.PinFilter, cursor []byte, at func(index uint64)) (iter.Seq2[api.Pin, error], error) {
	q := selection(f)
	if q.By != ByPeer {
		if from, to := q.span(); cursor != nil && (bytes.Compare(cursor, from) < 0 || bytes.Compare(cursor, to) >= 0) {
			return nil, api.Invalid.Errorf("the cursor is of another list")
		}
		q.Cursor = cursor
		return s.list(ctx, q, at), nil
	}
	// A peer holds what is everywhere too: two ranges, in step.
	after := api.CidUndef
	if cursor != nil {
		c, err := cid.Cast(cursor[min(len(cursor), 1):])
		if err != nil || cursor[0] != holderKind { // what is empty is no CID
			return nil, api.Invalid.Errorf("the cursor is of another list")
		}
		after = api.Cid{Cid: c}
	}
	return s.allocated(ctx, f.Peer, after, at), nil
}

// SelectCursor gives a mark of p's place among what Select gives for f, from which it
// goes on, whatever has become of p. It is opaque, and at most 600 bytes.
func (s *State) SelectCursor(f api.PinFilter, p api.Pin) []byte {
	q := selection(f)
	if q.By == ByPeer {
		return stringKey(holderKind, p.Cid.KeyString())
	}
	return q.CursorOf(p)
}

// selection is the query whose range f narrows most.
func selection(f api.PinFilter) Query {
	switch {
	case f.Name != "":
		return Query{By: ByName, Name: f.Name}
	case len(f.Metadata) > 0:
		key := slices.Min(slices.Collect(maps.Keys(f.Metadata)))
		return Query{By: ByMeta, MetaKey: key, MetaValue: f.Metadata[key]}
	case f.Peer != "":
		return Query{By: ByPeer, Peer: f.Peer}
	case f.NamePrefix != "":
		return Query{By: ByName, NamePrefix: f.NamePrefix}
	case !f.Since.IsZero() || !f.Before.IsZero():
		return Query{By: ByCreated, Since: f.Since, Before: f.Before}
	}
	return Query{By: ByCid}
}
