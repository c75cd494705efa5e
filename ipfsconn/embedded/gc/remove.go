package gc

import (
	"context"
	"errors"
	"fmt"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded/blocks"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded/pins"
)

// Remove removes the block c at once. The error is NotFound where it is not here, and
// Conflict where a pin or one of roots needs it, something works with it, or a
// collection runs. It walks what is pinned, as a collection does.
func Remove(ctx context.Context, bs *blocks.Store, ps *pins.Store, roots Roots, c cid.Cid) (err error) {
	sweep, err := begin(bs, roots)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sweep.Close()) }()
	if here, err := bs.Has(ctx, c); err != nil || !here {
		return errors.Join(err, api.NotFound.Errorf("block %s is not here", c))
	}
	if p, ok, err := ps.Get(api.Cid{Cid: c}); err != nil {
		return err
	} else if ok && p.State != pins.Partial {
		return api.Conflict.Errorf("pinned: %s", p.Mode)
	}
	m := &marker{bs: bs, live: &exactly{want: c.Hash()}, inner: map[string]struct{}{}}
	var via pins.Pin
	for p, err := range pins.In(ctx, sweep.Snapshot()) {
		if err != nil {
			return err
		}
		p.State = pins.Partial // what is missing elsewhere is no reason to keep this one
		if err := m.pin(ctx, p); err != nil {
			return fmt.Errorf("mark pin %s: %w", p.Cid, err)
		}
		if m.live.(*exactly).found {
			via = p
			break
		}
	}
	kept, err := roots.In(sweep.Snapshot())
	if err != nil {
		return err
	}
	for _, r := range kept {
		if err := m.pin(ctx, pins.Pin{Cid: r, State: pins.Partial}); err != nil {
			return fmt.Errorf("mark %s: %w", r, err)
		}
		if m.live.(*exactly).found && !via.Cid.Defined() {
			via.Cid = r
		}
	}
	switch {
	case via.Cid.Defined() && via.Cid.Cid.Equals(c):
		return api.Conflict.Errorf("pinned: %s", via.Mode)
	case via.Cid.Defined():
		return api.Conflict.Errorf("pinned via %s", via.Cid)
	}
	gone, err := sweep.RemoveOne(c.Hash())
	if err == nil && !gone {
		err = api.Conflict.Errorf("block %s is in use", c)
	}
	return err
}

// exactly notes whether one hash was added.
type exactly struct {
	want  multihash.Multihash
	found bool
}

func (e *exactly) add(h multihash.Multihash) { e.found = e.found || string(h) == string(e.want) }
