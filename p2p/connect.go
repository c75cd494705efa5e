package p2p

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/multiformats/go-multiaddr"
	"golang.org/x/sync/errgroup"
)

const (
	// connectEvery is how often connections are looked at though nothing happened.
	connectEvery = time.Second
	// redialMin is the wait after a first failed dial, doubled each time.
	redialMin = 500 * time.Millisecond
	// redialMax bounds for how long members stay apart once they can reach each other.
	redialMax = 5 * time.Second
	// askAgain is the wait before a connected peer that showed no certificate is
	// asked again.
	askAgain = 30 * time.Second
	// connectsAtOnce bounds dials and questions for certificates in progress, and those to
	// strangers as many again: they may leave them unanswered.
	connectsAtOnce = 32
)

// connector keeps a host connected with all known peers. Its fields belong to the
// goroutine that runs it.
type connector struct {
	*Host
	wake chan struct{}    // something changed: look at once
	done chan peer.ID     // a dial or a question ended
	busy map[peer.ID]bool // which ones have not
	dial map[peer.ID]*schedule
	ask  map[peer.ID]*schedule
	// Dials and questions to those that are members, as far as is known, and questions to
	// others.
	jobs, others *errgroup.Group
}

// schedule says when something may be tried again.
type schedule struct {
	next time.Time
	wait time.Duration
}

// failed sets the next try. With jitter, as all peers lose one at the same moment.
func (s *schedule) failed(now time.Time) {
	s.wait = min(max(2*s.wait, redialMin), redialMax)
	s.next = now.Add(s.wait*3/4 + rand.N(s.wait/2))
}

// stayConnected dials the known peers that there is no connection with, asks those
// that there is one with for their certificates, learns the addresses of members,
// and lets go of removed ones.
func (h *Host) stayConnected(ctx context.Context) error {
	c := &connector{Host: h,
		wake: make(chan struct{}, 1),
		done: make(chan peer.ID, connectsAtOnce),
		busy: map[peer.ID]bool{},
		dial: map[peer.ID]*schedule{},
		ask:  map[peer.ID]*schedule{},
		jobs: &errgroup.Group{}, others: &errgroup.Group{},
	}
	c.jobs.SetLimit(connectsAtOnce)
	c.others.SetLimit(connectsAtOnce)
	changed := func(network.Network, network.Conn) {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
	events := &network.NotifyBundle{ConnectedF: changed, DisconnectedF: changed}
	h.h.Network().Notify(events)
	defer h.h.Network().StopNotify(events)

	tick := time.NewTicker(connectEvery)
	defer tick.Stop()
	for {
		c.look(ctx, time.Now())
		select {
		case <-ctx.Done():
			return errors.Join(c.jobs.Wait(), c.others.Wait())
		case id := <-c.done:
			delete(c.busy, id)
		case <-c.wake:
		case <-tick.C:
		}
	}
}

func (c *connector) look(ctx context.Context, now time.Time) {
	c.sweep()
	c.book.remove(c.roster.removed)
	connected := map[peer.ID]bool{}
	for _, id := range c.Connected() {
		connected[id] = c.h.Network().Connectedness(id) == network.Connected
		if !connected[id] {
			continue
		}
		c.certify(ctx, id, now)
		// A connection that lasted: should it end, dial at once. One that did not
		// counts as a failed dial.
		if s := c.dial[id]; s != nil && now.After(s.next) {
			delete(c.dial, id)
		}
	}
	for id := range c.ask {
		if !connected[id] {
			delete(c.ask, id)
		}
	}
	for _, info := range c.wanted() {
		if !connected[info.ID] {
			c.redial(ctx, info, now)
		}
	}
	if err := c.book.save(); err != nil {
		c.log.Error("known addresses are not kept", "err", err)
	}
}

// wanted are the peers to be connected with: those in the book, then other members.
func (c *connector) wanted() []peer.AddrInfo {
	var infos []peer.AddrInfo
	seen := map[peer.ID]bool{c.ID(): true}
	for _, list := range [][]peer.AddrInfo{c.book.all(), c.roster.members()} {
		for _, info := range list {
			if !seen[info.ID] && !c.roster.removed(info.ID) {
				seen[info.ID] = true
				infos = append(infos, info)
			}
		}
	}
	return infos
}

// certify learns where a connected member listens; others are asked whether they are
// members.
func (c *connector) certify(ctx context.Context, id peer.ID, now time.Time) {
	if c.isMember(id) {
		addrs := c.h.Peerstore().Addrs(id) // in no order
		slices.SortFunc(addrs, multiaddr.Multiaddr.Compare)
		c.book.learn(peer.AddrInfo{ID: id, Addrs: addrs})
		return
	}
	if c.guests.has(id) {
		return
	}
	s := c.ask[id]
	if s == nil {
		s = &schedule{}
		c.ask[id] = s
	}
	if now.Before(s.next) {
		return
	}
	jobs := c.others
	if c.isAdmitted(id) || len(c.book.addrs(id)) > 0 {
		jobs = c.jobs
	}
	c.start(ctx, jobs, id, func() {
		if err := c.Check(ctx, id); err != nil {
			c.log.Debug("connected with a stranger", "peer", id, "err", err)
		}
	}, func() { s.next = now.Add(askAgain) })
}

func (c *connector) redial(ctx context.Context, info peer.AddrInfo, now time.Time) {
	s := c.dial[info.ID]
	if s == nil {
		s = &schedule{}
		c.dial[info.ID] = s
	}
	if now.Before(s.next) {
		return
	}
	c.start(ctx, c.jobs, info.ID, func() {
		// The schedule here is the only one: forget libp2p's own.
		if sw, ok := c.h.Network().(*swarm.Swarm); ok {
			sw.Backoff().Clear(info.ID)
		}
		if err := c.Connect(ctx, info); err != nil {
			c.log.Debug("peer cannot be reached", "peer", info.ID, "err", err)
		}
	}, func() { s.failed(now) })
}

// start runs job as one of jobs, unless one for the peer is running or there are too many;
// began is called if it does.
func (c *connector) start(ctx context.Context, jobs *errgroup.Group, id peer.ID, job, began func()) {
	if c.busy[id] {
		return
	}
	if jobs.TryGo(func() error {
		job()
		select {
		case c.done <- id:
		case <-ctx.Done(): // nobody reads it any more
		}
		return nil
	}) {
		c.busy[id] = true
		began()
	}
}
