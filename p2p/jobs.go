package p2p

import (
	"context"
	"errors"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"
)

const (
	// connectEvery is how often connections are looked at though nothing happened.
	connectEvery = time.Second
	// connectsAtOnce bounds dials and questions for certificates in progress, and those to
	// strangers as many again: they may leave them unanswered.
	connectsAtOnce = 32
)

// jobs are dials and questions for certificates, of each peer one at a time. They belong to
// the goroutine that runs them.
type jobs struct {
	done chan peer.ID     // one ended
	busy map[peer.ID]bool // of whom one has not
	// Those of members, as far as is known, and those of others.
	likely, others errgroup.Group
}

func newJobs() *jobs {
	j := &jobs{done: make(chan peer.ID, connectsAtOnce), busy: map[peer.ID]bool{}}
	j.likely.SetLimit(connectsAtOnce)
	j.others.SetLimit(connectsAtOnce)
	return j
}

// run has look start jobs when a connection came or went, when one ended, and every
// connectEvery, until ctx ends.
func (j *jobs) run(ctx context.Context, n network.Network, look func(ctx context.Context, now time.Time)) error {
	wake := make(chan struct{}, 1)
	changed := func(network.Network, network.Conn) {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	events := &network.NotifyBundle{ConnectedF: changed, DisconnectedF: changed}
	n.Notify(events)
	defer n.StopNotify(events)

	tick := time.NewTicker(connectEvery)
	defer tick.Stop()
	for {
		look(ctx, time.Now())
		select {
		case <-ctx.Done():
			return errors.Join(j.likely.Wait(), j.others.Wait())
		case id := <-j.done:
			delete(j.busy, id)
		case <-wake:
		case <-tick.C:
		}
	}
}

// start runs job, unless one of the peer is running or there are too many.
func (j *jobs) start(ctx context.Context, id peer.ID, likely bool, job func()) (began bool) {
	group := &j.others
	if likely {
		group = &j.likely
	}
	if j.busy[id] || !group.TryGo(func() error {
		job()
		select {
		case j.done <- id:
		case <-ctx.Done(): // nobody reads it any more
		}
		return nil
	}) {
		return false
	}
	j.busy[id] = true
	return true
}
