package pintracker

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	// feedRetry is the wait before a peer that gave no news is asked again.
	feedRetry = time.Second
	// feedLook is how often the peers are looked at while somebody follows.
	feedLook = time.Second
	// lastLook is how long peers may take to tell how far a pin is once the time to wait
	// for it is up.
	lastLook = time.Second
)

// RemoteNews asks the trackers of other peers for news.
type RemoteNews interface {
	News(ctx context.Context, p api.PeerID, q api.NewsQuery) (api.NewsPage, error)
}

// A Feed tells what becomes of pins on all peers, as it happens. It asks them only
// while somebody follows: one question at a time is open at each peer, however many do.
type Feed struct {
	g      *Global
	remote RemoteNews
	look   chan struct{} // holds one item: followers came or went

	mu        sync.Mutex
	followers map[*follower]struct{}
	waiters   map[api.Cid]map[chan struct{}]struct{}
	waiting   int
}

type follower struct{ f func(api.PinInfo) }

// NewFeed returns a Feed of the peers that g asks.
func NewFeed(g *Global, remote RemoteNews) *Feed {
	return &Feed{g: g, remote: remote, look: make(chan struct{}, 1),
		followers: map[*follower]struct{}{}, waiters: map[api.Cid]map[chan struct{}]struct{}{}}
}

// Follow has f, which must not block, called with each change of a pin on a peer, until
// stop is called. Only CID, peer, status and what goes with that are told; a CID that is
// undefined means that changes on that peer may have been missed.
func (d *Feed) Follow(f func(api.PinInfo)) (stop func()) {
	one := &follower{f}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.followers[one] = struct{}{}
	signal(d.look)
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.followers, one)
		signal(d.look)
	}
}

// watch gives a channel that gets an item when c may have changed anywhere.
func (d *Feed) watch(c api.Cid) (changed chan struct{}, stop func()) {
	changed = make(chan struct{}, 1)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiters[c] == nil {
		d.waiters[c] = map[chan struct{}]struct{}{}
	}
	d.waiters[c][changed] = struct{}{}
	d.waiting++
	signal(d.look)
	return changed, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.waiters[c], changed)
		if len(d.waiters[c]) == 0 {
			delete(d.waiters, c)
		}
		d.waiting--
		signal(d.look)
	}
}

// tell passes on what a peer tells.
func (d *Feed) tell(i api.PinInfo) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for one := range d.followers {
		one.f(i)
	}
	if !i.Cid.Defined() {
		for _, some := range d.waiters {
			for changed := range some {
				signal(changed)
			}
		}
		return
	}
	if i.Status != api.StatusPinning { // progress ends no wait
		for changed := range d.waiters[i.Cid] {
			signal(changed)
		}
	}
}

// wanted tells whether anybody follows.
func (d *Feed) wanted() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.followers) > 0 || d.waiting > 0
}

// Run asks the peers while somebody follows, until ctx ends.
func (d *Feed) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.look:
		}
		if d.wanted() {
			d.ask(ctx)
		}
	}
}

// ask follows all peers, and those that come, until nobody follows any more.
func (d *Feed) ask(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var asked errgroup.Group
	defer func() { _ = asked.Wait() }() // they have no errors of their own
	defer cancel()
	tick := time.NewTicker(feedLook)
	defer tick.Stop()
	known := map[api.PeerID]context.CancelFunc{}
	for d.wanted() {
		there := map[api.PeerID]bool{}
		for _, m := range d.g.everybody() {
			there[m.ID] = true
			if known[m.ID] == nil {
				one, stop := context.WithCancel(ctx)
				known[m.ID] = stop
				asked.Go(func() error { d.askPeer(one, m.ID); return nil })
			}
		}
		for id, stop := range known {
			if !there[id] {
				stop()
				delete(known, id)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-d.look:
		case <-tick.C:
		}
	}
}

// askPeer passes on the news of one peer until ctx ends.
func (d *Feed) askPeer(ctx context.Context, id api.PeerID) {
	var q api.NewsQuery
	for ctx.Err() == nil {
		page, err := d.news(ctx, id, q)
		if err != nil {
			q = api.NewsQuery{} // what it tells next may have a hole before it
			select {
			case <-ctx.Done():
			case <-time.After(feedRetry):
			}
			continue
		}
		if page.Lost {
			d.tell(api.PinInfo{Peer: id})
		}
		for _, i := range page.Items {
			i.Peer = id
			d.tell(i)
		}
		q = api.NewsQuery{Epoch: page.Epoch, After: page.Last}
	}
}

func (d *Feed) news(ctx context.Context, id api.PeerID, q api.NewsQuery) (api.NewsPage, error) {
	if id == d.g.local.self.ID {
		return d.g.local.News(ctx, q)
	}
	if err := d.g.dead(id); err != nil {
		return api.NewsPage{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, newsWait+peerTimeout)
	defer cancel()
	return d.remote.News(ctx, id, q)
}

// AwaitPinned waits until c is pinned on every peer that is to hold it, or ctx ends, and
// tells its status then: a peer that does not tell within a second of it is a
// StatusClusterError. A pin that failed on a peer is waited for: it is tried again. A
// CID that goes out of the pinset ends the wait.
func (d *Feed) AwaitPinned(ctx context.Context, c api.Cid) (info api.GlobalPinInfo, pinned bool, err error) {
	changed, stop := d.watch(c)
	defer stop()
	asking, cancel := outliving(ctx, lastLook)
	defer cancel()
	for {
		p, err := d.g.local.pins.Get(asking, c)
		gone := errors.Is(err, api.NotFound)
		if err != nil && !gone {
			return info, false, err
		}
		if info, err = d.g.Status(asking, c); err != nil {
			return info, false, err
		}
		pinned := !gone && holdersPinned(p, info)
		if pinned || gone || ctx.Err() != nil {
			return info, pinned, nil
		}
		select {
		case <-ctx.Done(): // one more look, at how far it has come
		case <-changed:
		}
	}
}

// outliving is a context that ends a grace after ctx has.
func outliving(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		late := time.NewTimer(grace)
		defer late.Stop()
		select {
		case <-late.C:
			cancel(api.Unavailable.Errorf("it did not answer in the time that there was to wait"))
		case <-out.Done():
		}
	})
	return out, func() { stop(); cancel(nil) }
}

// holdersPinned tells whether all peers that p is allocated to have it.
func holdersPinned(p api.Pin, info api.GlobalPinInfo) bool {
	for id, short := range info.PeerMap {
		if short.Status == api.StatusPinned || short.Status == api.StatusSharded {
			continue
		}
		if p.Everywhere() || slices.ContainsFunc(p.Allocations, func(a api.PeerID) bool { return a.String() == id }) {
			return false
		}
	}
	return true
}
