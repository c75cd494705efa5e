package p2p

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"
)

// asking finds out which of the peers that are connected with a data host are members: those
// that call may be, too, where everybody is let in. Its fields belong to the goroutine that
// runs it.
type asking struct {
	*DataHost
	wake  chan struct{}         // somebody came: look at once
	done  chan peer.ID          // a question ended
	busy  map[peer.ID]bool      // which ones have not
	asked map[peer.ID]time.Time // when guests that are connected were asked last
	// Questions to those that are members, as far as is known, and to others: these may
	// leave them unanswered.
	likely, others *errgroup.Group
}

func newAsking(d *DataHost) *asking {
	a := &asking{DataHost: d,
		wake:   make(chan struct{}, 1),
		done:   make(chan peer.ID, connectsAtOnce),
		busy:   map[peer.ID]bool{},
		asked:  map[peer.ID]time.Time{},
		likely: &errgroup.Group{},
		others: &errgroup.Group{},
	}
	a.likely.SetLimit(connectsAtOnce)
	a.others.SetLimit(connectsAtOnce)
	return a
}

func (a *asking) run(ctx context.Context) error {
	events := &network.NotifyBundle{ConnectedF: func(network.Network, network.Conn) {
		select {
		case a.wake <- struct{}{}:
		default:
		}
	}}
	a.base.Network().Notify(events)
	defer a.base.Network().StopNotify(events)

	tick := time.NewTicker(connectEvery)
	defer tick.Stop()
	for {
		a.look(ctx, time.Now())
		select {
		case <-ctx.Done():
			return errors.Join(a.likely.Wait(), a.others.Wait())
		case id := <-a.done:
			delete(a.busy, id)
		case <-a.wake:
		case <-tick.C:
		}
	}
}

func (a *asking) look(ctx context.Context, now time.Time) {
	a.sweep()
	there, listed := map[peer.ID]bool{}, a.roster.dataHosts()
	for _, id := range a.base.Network().Peers() {
		there[id] = true
		if a.busy[id] || a.isMember(id) || a.isGuest(id) && !a.due(id, listed[id], now) {
			continue
		}
		jobs := a.others
		if listed[id] || called(a.base.Network().ConnsToPeer(id)) {
			jobs = a.likely
		}
		if jobs.TryGo(func() error {
			a.check(ctx, id)
			select {
			case a.done <- id:
			case <-ctx.Done(): // nobody reads it any more
			}
			return nil
		}) {
			a.busy[id] = true
			a.asked[id] = now
		}
	}
	maps.DeleteFunc(a.asked, func(id peer.ID, _ time.Time) bool { return !there[id] })
}

// due tells whether a guest is to be asked: once while it is connected. Whom the roster
// names is asked until it has shown its certificate.
func (a *asking) due(id peer.ID, listed bool, now time.Time) bool {
	at, ok := a.asked[id]
	return !ok || listed && now.Sub(at) >= askAgain
}

// check ends the connections with the peer unless it shows that it is a member, or may
// stay without being one.
func (a *asking) check(ctx context.Context, id peer.ID) {
	err := a.Check(ctx, id)
	if err == nil || ctx.Err() != nil || a.isGuest(id) {
		return
	}
	a.log.Debug("connection ended", "peer", id, "err", err)
	if err := a.base.Network().ClosePeer(id); err != nil {
		a.log.Debug("close connections", "peer", id, "err", err)
	}
}

// called tells whether any of the connections was this host's idea.
func called(conns []network.Conn) bool {
	return slices.ContainsFunc(conns, func(c network.Conn) bool { return c.Stat().Direction == network.DirOutbound })
}
