package pinner

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"github.com/pinfold-cluster/pinfold/allocator"
	"github.com/pinfold-cluster/pinfold/api"
)

// Place says where the blocks of an add go, whose CID nobody knows yet and of which
// size bytes are expected, 0 unknown. It promises nothing: a destination grants the
// room when its stream opens. Shortly after start, and after a peer has joined, it waits
// for peers to be heard of. The error is Invalid, Full or Unavailable.
func (p *Pinner) Place(ctx context.Context, o api.PinOptions, size uint64) (api.Placement, error) {
	for {
		v, err := p.look(time.Now())
		if err != nil {
			return api.Placement{}, err
		}
		placement, err := p.placeOn(v, o, size)
		if again := p.unsettled(err, v); !errors.Is(again, retry) {
			return placement, err
		}
		select {
		case <-ctx.Done():
			return placement, err
		case <-time.After(placeRetry):
		}
	}
}

// placeRetry is the time between two looks at who has been heard of.
const placeRetry = 50 * time.Millisecond

func (p *Pinner) placeOn(v *view, o api.PinOptions, size uint64) (api.Placement, error) {
	low, high, err := factors(o.ReplicationFactorMin, o.ReplicationFactorMax, p.o)
	if err != nil {
		return api.Placement{}, err
	}
	if err := checkPin(api.Pin{PinOptions: o, Size: size}, v.now); err != nil {
		return api.Placement{}, err
	}
	if err := p.known(o.UserAllocations, v); err != nil {
		return api.Placement{}, err
	}
	if low < 0 {
		return v.everywhere()
	}
	chosen, err := allocator.Allocate(allocator.Request{
		Min: low, Max: high, Size: size, Seed: rand.Text(),
		Prefer: o.UserAllocations, Peers: v.able, SpreadBy: p.o.SpreadBy, Members: len(v.members),
	})
	if err != nil {
		return api.Placement{}, err
	}
	return api.Placement{Peers: chosen, Min: low}, nil
}

// everywhere are all peers that live, which must be most of all.
func (v *view) everywhere() (api.Placement, error) {
	majority := len(v.members)/2 + 1
	if len(v.alive) < majority {
		return api.Placement{}, api.Unavailable.Errorf("not enough peers to add everywhere: %d of %d live", len(v.alive), len(v.members))
	}
	return api.Placement{Peers: slices.Clone(v.alive), Min: majority}, nil
}
