package main

import (
	"bytes"
	"context"
	"iter"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/config"
	"github.com/pinfold-cluster/pinfold/feed"
	"github.com/pinfold-cluster/pinfold/state"
)

const (
	// shareEvery is between two choices of what is in the share, while the pinset changes;
	// shareAnyway that while it does not, for what followers hold does.
	shareEvery  = time.Minute
	shareAnyway = 30 * time.Minute
	// shareSpare is the part of the capacity, as a divisor, that is left for what the node
	// keeps beside the content, and for what has gone and is not collected yet.
	shareSpare = 20
)

// keepShare fits the share to the pinset again and again, until ctx ends.
func (f *Follower) keepShare(ctx context.Context) error {
	index, at := f.state.Applied(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(shareEvery):
		}
		now := f.state.Applied()
		if now == index && time.Since(at) < shareAnyway {
			continue
		}
		index, at = now, time.Now()
		if err := f.chooseShare(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// chooseShare fits the share to the pinset.
func (f *Follower) chooseShare(ctx context.Context) error {
	changed, err := f.share.Update(ctx, f.sized(ctx), f.shareRoom(), f.coverage(ctx))
	if api.KindOf(err) == api.Unavailable { // the pinset is being fetched: later
		return nil
	}
	if err == nil {
		f.chosen.Store(true)
	}
	if changed {
		f.log.Info("the share has changed", "pins", f.share.Stats().Pins, "bytes", f.share.Stats().Bytes)
		f.tracker.Reload()
	}
	return err
}

// shareRoom is how many bytes the share may have.
func (f *Follower) shareRoom() uint64 {
	capacity := f.c.Embedded.Node.StorageMax // which is follow.capacity at most
	return capacity - capacity/shareSpare
}

// coverageTimeout bounds asking for the table of coverage.
const coverageTimeout = 15 * time.Second

// coverage is the table of what followers hold that a member signed; nil: there is none.
func (f *Follower) coverage(ctx context.Context) *feed.Coverage {
	ctx, cancel := context.WithTimeout(ctx, coverageTimeout)
	defer cancel()
	table, err := f.feed.Coverage(ctx)
	if err != nil {
		f.log.Debug("there is no table of coverage", "err", err)
		return nil
	}
	return &table
}

// sized gives all pins, with the sizes that only the node knows.
func (f *Follower) sized(ctx context.Context) iter.Seq2[api.Pin, error] {
	return func(yield func(api.Pin, error) bool) {
		if err := f.pins.ready(); err != nil {
			yield(api.Pin{}, err)
			return
		}
		onNode, stop := iter.Pull2(f.node.Pinned(ctx, api.CidUndef))
		defer stop()
		have, err, more := onNode()
		for p, readErr := range f.state.List(ctx, state.Query{By: state.ByCid}) {
			for readErr == nil && more && err == nil && bytes.Compare(have.Cid.Bytes(), p.Cid.Bytes()) < 0 {
				have, err, more = onNode()
			}
			if readErr == nil {
				readErr = err
			}
			if more && p.Size == 0 && have.Cid == p.Cid {
				p.Size = have.Size
			}
			if !yield(p, readErr) || readErr != nil {
				return
			}
		}
	}
}

// claim is what the follower says it holds whole.
func (f *Follower) claim() feed.Claim {
	switch {
	case f.share != nil:
		return f.share.Claim()
	case f.hold == config.HoldAll:
		return feed.ClaimAll()
	}
	return feed.Claim{}
}
