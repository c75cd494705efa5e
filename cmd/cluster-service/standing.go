package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	// standingPeriod is between two questions of a peer that hears no leader.
	standingPeriod  = 2 * time.Second
	standingTimeout = 5 * time.Second
	// standingRate, a second, bounds how often removed peers have the leader asked.
	standingRate  = 2
	standingBurst = 8
)

var errRemoved = errors.New("this peer was removed from the cluster; to come back, run 'cluster-service state cleanup', which keeps its content and identity, and join with a new token")

// standing tells a peer whether it was removed. It may have joined again since, which this
// peer has yet to hear: the leader is asked before it is told.
func (p *Daemon) standing(ctx context.Context, from api.PeerID) (api.Standing, error) {
	if !p.state.Removed(from) {
		return api.Standing{Index: p.state.Applied()}, nil
	}
	if !p.removed.Allow() {
		return api.Standing{}, api.Unavailable.Errorf("removed peers ask too often; try again later")
	}
	if err := p.current(ctx); err != nil {
		return api.Standing{}, err
	}
	index := p.state.Applied()
	return api.Standing{Removed: p.state.Removed(from), Index: index}, nil
}

// heedRemoval ends with an error once a member says that this peer was removed. It asks
// while this peer hears no leader: who was away when it was removed is not sent the log
// that says so.
func (p *Daemon) heedRemoval(ctx context.Context) error {
	tick := time.NewTicker(standingPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if _, ok := p.cons.Leader(); ok {
			continue
		}
		if err := p.askStanding(ctx); err != nil {
			return err
		}
	}
}

// askStanding asks the members that this peer is connected with. The error is that it was
// removed.
func (p *Daemon) askStanding(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, standingTimeout)
	defer cancel()
	told := parallel(p.host.Connected(), func(id api.PeerID) error {
		if p.host.CheckSpoken(ctx, id) != nil {
			return nil // nobody has to believe it
		}
		s, err := p.calls.Standing(ctx, id)
		if err != nil {
			p.log.Debug("a member does not say whether this peer is one", "peer", id, "err", err)
			return nil
		}
		if s.Removed {
			return fmt.Errorf("%w (%s says so, as of log index %d)", errRemoved, id, s.Index)
		}
		return nil
	})
	return errors.Join(told...)
}
