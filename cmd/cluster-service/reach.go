package main

import (
	"context"
	"iter"
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
	members   map[api.PeerID]*introduction // by data host
	followers introductions
	asked     time.Time
}

// A redial says when a data host may be called again.
type redial struct {
	next time.Time
	wait time.Duration
}

func newReach(data *p2p.DataHost, log *slog.Logger) *reach {
	reached := func(in *introduction) bool { return in.reached }
	return &reach{data: data, log: log, link: &links{data: data, log: log}, came: make(chan struct{}, 1),
		members: map[api.PeerID]*introduction{}, followers: newIntroductions(reachable, reached)}
}

// meet notes the data host of a neighbour. A member's is called at once.
func (r *reach) meet(p feed.Peer) {
	if p.Data.ID == "" || p.Data.ID == r.data.ID() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	in := introduction{AddrInfo: p.Data, from: p.From, at: time.Now()}
	if p.Member {
		r.members[p.Data.ID] = &in
	} else if r.members[p.Data.ID] == nil {
		r.followers.add(p.ID, in)
	}
}

// all are the data hosts to be connected with, those of members first. Under mu.
func (r *reach) all(now time.Time) iter.Seq[*introduction] {
	return func(yield func(*introduction) bool) {
		for _, known := range []map[api.PeerID]*introduction{r.members, r.followers.by} {
			for id, in := range known {
				if now.Sub(in.at) > reachFor {
					delete(known, id)
				} else if !yield(in) {
					return
				}
			}
		}
	}
}

// known tells where they are.
func (r *reach) known() (out []peer.AddrInfo) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for in := range r.all(time.Now()) {
		out = append(out, in.AddrInfo)
	}
	return out
}

// due are those that are to be called now, each where it is; it notes that they are.
func (r *reach) due(now time.Time) map[*introduction]peer.AddrInfo {
	r.mu.Lock()
	defer r.mu.Unlock()
	out, called := map[*introduction]peer.AddrInfo{}, map[api.PeerID]bool{}
	for in := range r.all(now) {
		if r.there(in.ID) {
			in.reached = true
		} else if !called[in.ID] && in.calls.may(now) {
			called[in.ID] = true
			out[in] = in.AddrInfo
		}
	}
	return out
}

// may tells whether now is the time to call, and notes that it is done. One that was
// connected for long is called at once.
func (d *redial) may(now time.Time) bool {
	if now.Before(d.next) {
		return false
	}
	if now.Sub(d.next) > redialMax {
		d.wait = 0
	}
	d.wait = min(max(2*d.wait, linkPeriod), redialMax)
	d.next = now.Add(d.wait)
	return true
}

func (r *reach) there(id api.PeerID) bool {
	return r.data.Network().Connectedness(id) == network.Connected
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
		for in, info := range r.due(time.Now()) {
			dials.Go(func() error { r.connect(ctx, in, info); return nil })
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

func (r *reach) connect(ctx context.Context, in *introduction, info peer.AddrInfo) {
	r.link.connect(ctx, info)
	there := r.there(info.ID)
	r.mu.Lock()
	in.reached = there
	r.mu.Unlock()
	if !there {
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
		if !r.there(m.ID) || r.data.Check(ctx, m.ID) != nil {
			continue
		}
		others, err := askMembers(ctx, r.data, m.ID)
		if err != nil {
			r.log.Debug("a member does not tell of the others", "peer", m.ID, "err", err)
			continue
		}
		r.mu.Lock()
		now := time.Now()
		was := r.members
		r.members = map[api.PeerID]*introduction{} // those that are none any more go
		for _, o := range append(others, m) {
			in := &introduction{AddrInfo: o, at: now}
			if old := was[o.ID]; old != nil {
				in.calls = old.calls
			}
			r.members[o.ID] = in
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
