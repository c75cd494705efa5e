package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/feed"
	"github.com/pinfold-cluster/pinfold/p2p"
)

const (
	// reachAgain is how often a member is asked for the others' data hosts.
	reachAgain = 5 * time.Minute
	// reachable bounds the data hosts of followers that are remembered.
	reachable = 64
	// reachFor is how long a data host is kept connected after it was met, or after a
	// member that is connected told of it.
	reachFor = 20 * time.Minute
	// redialMax is between two dials of a data host at most: one that lets this follower in
	// no more would be called for ever.
	redialMax = 2 * time.Minute
)

// reach keeps a follower's data host connected with those that may have what it wants:
// all members, and the followers that it knows.
type reach struct {
	data *p2p.DataHost
	log  *slog.Logger
	link *links        // connects
	came chan struct{} // holds an item when somebody new is connected

	mu        sync.Mutex
	members   map[api.PeerID]met
	followers map[api.PeerID]met
	redials   map[api.PeerID]redial
	asked     time.Time
}

// A redial says when a data host may be called again.
type redial struct {
	next time.Time
	wait time.Duration
}

type met struct {
	peer.AddrInfo
	at time.Time
}

func newReach(data *p2p.DataHost, log *slog.Logger) *reach {
	return &reach{data: data, log: log, link: &links{data: data, log: log}, came: make(chan struct{}, 1),
		members: map[api.PeerID]met{}, followers: map[api.PeerID]met{}, redials: map[api.PeerID]redial{}}
}

// meet notes the data host of a neighbour.
func (r *reach) meet(p feed.Peer) {
	if p.Data.ID == "" || p.Data.ID == r.data.ID() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.redials, p.Data.ID)
	if p.Member {
		r.members[p.Data.ID] = met{p.Data, time.Now()}
		return
	}
	if _, known := r.followers[p.Data.ID]; known || len(r.followers) < reachable {
		r.followers[p.Data.ID] = met{p.Data, time.Now()}
	}
}

// known are the data hosts to be connected with, those of members first.
func (r *reach) known() []peer.AddrInfo {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]peer.AddrInfo, 0, len(r.members)+len(r.followers))
	for _, known := range []map[api.PeerID]met{r.members, r.followers} {
		for id, m := range known {
			if time.Since(m.at) > reachFor {
				delete(known, id)
				delete(r.redials, id)
				continue
			}
			out = append(out, m.AddrInfo)
		}
	}
	return out
}

// mayDial tells whether id may be called now, and notes that it is. One that was connected
// for long is called at once.
func (r *reach) mayDial(id api.PeerID, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.redials[id]
	if now.Before(d.next) {
		return false
	}
	if now.Sub(d.next) > redialMax {
		d.wait = 0
	}
	d.wait = min(max(2*d.wait, linkPeriod), redialMax)
	d.next = now.Add(d.wait)
	r.redials[id] = d
	return true
}

// Holders implements embedded.Providers: any of them may have any content.
func (r *reach) Holders(context.Context, api.Cid) []peer.AddrInfo { return r.known() }

// run keeps connecting until ctx ends.
func (r *reach) run(ctx context.Context) error {
	tick := time.NewTicker(linkPeriod)
	defer tick.Stop()
	for {
		var dials errgroup.Group
		dials.SetLimit(linksAtOnce)
		for _, info := range r.known() {
			dials.Go(func() error { r.connect(ctx, info); return nil })
		}
		_ = dials.Wait() // none has an error
		r.learn(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (r *reach) connect(ctx context.Context, info peer.AddrInfo) {
	there := func() bool { return r.data.Network().Connectedness(info.ID) == network.Connected }
	if there() || !r.mayDial(info.ID, time.Now()) {
		return
	}
	if r.link.connect(ctx, info); !there() {
		return
	}
	select {
	case r.came <- struct{}{}:
	default:
	}
}

// learn asks a connected member, now and then, where the others are.
func (r *reach) learn(ctx context.Context) {
	r.mu.Lock()
	due := time.Since(r.asked) > reachAgain
	members := make([]peer.AddrInfo, 0, len(r.members))
	for _, m := range r.members {
		members = append(members, m.AddrInfo)
	}
	r.mu.Unlock()
	if !due {
		return
	}
	for _, m := range members {
		if r.data.Network().Connectedness(m.ID) != network.Connected || r.data.Check(ctx, m.ID) != nil {
			continue
		}
		others, err := askMembers(ctx, r.data, m.ID)
		if err != nil {
			r.log.Debug("a member does not tell of the others", "peer", m.ID, "err", err)
			continue
		}
		r.mu.Lock()
		now := time.Now()
		r.members = map[api.PeerID]met{m.ID: {m, now}} // those that are none any more go
		for _, o := range others {
			r.members[o.ID] = met{o, now}
		}
		r.asked = now
		r.mu.Unlock()
		return
	}
}

// dataHost tells where a data host is.
func dataHost(d *p2p.DataHost) func() peer.AddrInfo {
	return func() peer.AddrInfo { return peer.AddrInfo{ID: d.ID(), Addrs: d.Addrs()} }
}
