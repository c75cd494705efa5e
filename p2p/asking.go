package p2p

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// asking finds out which of the peers that are connected with a data host are members: those
// that call may be, too, where everybody is let in. Its fields belong to the goroutine that
// runs it.
type asking struct {
	*DataHost
	*jobs
	asked map[peer.ID]time.Time // when guests that are connected were asked last
}

func newAsking(d *DataHost) *asking {
	return &asking{DataHost: d, jobs: newJobs(), asked: map[peer.ID]time.Time{}}
}

func (a *asking) run(ctx context.Context) error {
	return a.jobs.run(ctx, a.base.Network(), a.look)
}

func (a *asking) look(ctx context.Context, now time.Time) {
	a.sweep()
	a.hasRoom("", a.most+1, now) // some came at the same moment
	there := map[peer.ID]bool{}
	for _, id := range a.base.Network().Peers() {
		there[id] = true
		if a.isMember(id) {
			continue
		}
		listed := a.roster.listsData(id)
		if a.isGuest(id) && !a.due(id, listed, now) {
			continue
		}
		likely := listed || called(a.base.Network().ConnsToPeer(id))
		if a.start(ctx, id, likely, func() { a.check(ctx, id) }) {
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
