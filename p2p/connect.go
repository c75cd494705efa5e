package p2p

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/multiformats/go-multiaddr"
)

const (
	// redialMin is the wait after a first failed dial, doubled each time.
	redialMin = 500 * time.Millisecond
	// redialMax bounds for how long members stay apart once they can reach each other.
	redialMax = 5 * time.Second
	// askAgain is the wait before a connected peer that showed no certificate is
	// asked again.
	askAgain = 30 * time.Second
)

// connector keeps a host connected with all known peers. Its fields belong to the
// goroutine that runs it.
type connector struct {
	*Host
	*jobs
	dial map[peer.ID]*schedule
	ask  map[peer.ID]*schedule
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
func (h *Host) stayConnected(ctx context.Context) error { return newConnector(h).run(ctx) }

func newConnector(h *Host) *connector {
	return &connector{Host: h, jobs: newJobs(), dial: map[peer.ID]*schedule{}, ask: map[peer.ID]*schedule{}}
}

func (c *connector) run(ctx context.Context) error {
	return c.jobs.run(ctx, c.h.Network(), c.look)
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
	likely := c.isAdmitted(id) || len(c.book.addrs(id)) > 0
	if c.start(ctx, id, likely, func() {
		if err := c.Check(ctx, id); err != nil {
			c.log.Debug("connected with a stranger", "peer", id, "err", err)
		}
	}) {
		s.next = now.Add(askAgain)
	}
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
	if c.start(ctx, info.ID, true, func() {
		// The schedule here is the only one: forget libp2p's own.
		if sw, ok := c.h.Network().(*swarm.Swarm); ok {
			sw.Backoff().Clear(info.ID)
		}
		if err := c.Connect(ctx, info); err != nil {
			c.log.Debug("peer cannot be reached", "peer", info.ID, "err", err)
		}
	}) {
		s.failed(now)
	}
}
