package main

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
)

// catchUpLimit is how long the APIs wait at start for this peer's state.
const catchUpLimit = 15 * time.Second

const catchUpRetry = 50 * time.Millisecond

// awaitCurrent returns once this peer's state holds what was committed before the
// start: a peer that was killed may have lost the last changes of its state, though not
// of its log, and must not read as if they had not been made. Without a quorum it
// returns all the same after a while: the peer answers from what it has.
func (p *Daemon) awaitCurrent(ctx context.Context) {
	catchUp, cancel := context.WithTimeout(ctx, catchUpLimit)
	defer cancel()
	for {
		err := p.current(catchUp)
		if err == nil {
			return
		}
		if catchUp.Err() != nil {
			if ctx.Err() == nil {
				p.log.Warn("this peer could not make sure that its state is current; it answers from what it has", "err", err)
			}
			return
		}
		select {
		case <-catchUp.Done():
		case <-time.After(catchUpRetry):
		}
	}
}

// current fails unless this peer's state has all that was committed before the call.
func (p *Daemon) current(ctx context.Context) error {
	index, err := p.committed(ctx)
	if err != nil {
		return err
	}
	return p.cons.WaitApplied(ctx, index)
}

// committed gives the commit index of the leader, which has just made sure that it leads.
func (p *Daemon) committed(ctx context.Context) (uint64, error) {
	leader, err := p.cons.WaitLeader(ctx)
	if err != nil {
		return 0, err
	}
	if leader == p.ids.cluster.ID {
		return p.cons.ReadIndex(ctx)
	}
	return p.calls.ReadIndex(ctx, leader)
}

// reads brings this peer's state up to date for who reads it.
type reads struct{ p *Daemon }

func (r reads) Current(ctx context.Context) error { return r.p.current(ctx) }

// WaitApplied asks the leader while it waits: nobody may have come to that index. Where
// the leader cannot tell, it just waits.
func (r reads) WaitApplied(ctx context.Context, index uint64) error {
	if r.p.state.Applied() >= index {
		return nil
	}
	ctx, stop := context.WithCancelCause(ctx)
	var g errgroup.Group
	g.Go(func() error {
		if committed, err := r.p.committed(ctx); err == nil && index > committed {
			stop(api.Invalid.Errorf("index %d is not in the cluster's log: the last one is %d", index, committed))
		}
		return nil
	})
	err := r.p.cons.WaitApplied(ctx, index)
	stop(nil)
	_ = g.Wait() // it returns none
	if cause := context.Cause(ctx); api.KindOf(cause) == api.Invalid {
		return cause
	}
	return err
}
