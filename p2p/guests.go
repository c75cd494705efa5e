package p2p

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"golang.org/x/time/rate"
)

// Whoever knows the cluster's secret, and a link tells it to everybody, can connect. A
// member stays. A guest has a place for as long as it is connected. All others are
// visitors: they say what they want, or go.
const (
	visitTime        = 10 * time.Second // for which a visitor may be idle
	visitLimit       = 30 * time.Second // for one of which it is not known that it is no member
	maxVisitors      = 128              // connected at once, of all
	visitorsEach     = 64               // of one address
	visitorTime      = 2 * time.Second  // after which an idle one makes room for another
	visitorsKept     = maxVisitors / 2  // that ask, and make no room
	visitorsKeptEach = 4                // of one address
	guestTag         = "guest"
	exileTime        = 10 * time.Minute // for which a guest that misbehaved is kept out
	maxExiles        = 1024             // remembered
	guestReadRate    = 2 << 20          // bytes a second of gossip that is read of a guest
	guestReadBurst   = 4 << 20          // bytes
	waitingForPlace  = 128              // streams of gossip of visitors that wait to be guests
)

// guests are the peers that are no members and have a place.
type guests struct {
	max int

	mu      sync.Mutex
	in      map[peer.ID]guest
	exiles  map[peer.ID]time.Time
	waiting int
	changed chan struct{} // closed and made anew when one comes
}

// A guest is a peer that has a place.
type guest struct {
	called  bool   // by this peer: then it takes no place from others
	address string // see addressKey
	since   time.Time
}

func newGuests(max int) *guests {
	return &guests{max: max, in: map[peer.ID]guest{}, exiles: map[peer.ID]time.Time{}, changed: make(chan struct{})}
}

// welcome gives the peer a place, if it can. Where another has lost it for that, it says
// who: see yields.
func (g *guests) welcome(id peer.ID, who guest) (ok bool, lost peer.ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.in[id]; ok {
		return true, ""
	}
	if who.since.Before(g.exiles[id]) {
		return false, ""
	}
	if !who.called && g.room() <= 0 {
		if lost = g.yields(who.address); lost == "" {
			return false, ""
		}
		delete(g.in, lost)
	}
	g.in[id] = who
	close(g.changed)
	g.changed = make(chan struct{})
	return true, lost
}

// yields tells who makes room for one more of an address: of the address that has most
// places the last who came, where that has still as many then as the newcomer's. So one
// machine can take all places, but keeps nobody out with them. The caller holds mu.
func (g *guests) yields(address string) (last peer.ID) {
	n := map[string]int{}
	for _, who := range g.in {
		if !who.called {
			n[who.address]++
		}
	}
	for id, who := range g.in {
		if who.called || n[who.address] < n[address]+2 {
			continue
		}
		if best := g.in[last]; last == "" || cmp.Or(n[who.address]-n[best.address], who.since.Compare(best.since)) > 0 {
			last = id
		}
	}
	return last
}

// room tells how many more may come. The caller holds mu.
func (g *guests) room() int {
	n := g.max
	for _, who := range g.in {
		if !who.called {
			n--
		}
	}
	return n
}

func (g *guests) has(id peer.ID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, ok := g.in[id]
	return ok
}

func (g *guests) leave(id peer.ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.in, id)
}

func (g *guests) exile(id peer.ID, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.exiles) >= maxExiles {
		clear(g.exiles)
	}
	g.exiles[id] = now.Add(exileTime)
	delete(g.in, id)
}

func (g *guests) exiled(id peer.ID, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return now.Before(g.exiles[id])
}

// wait returns once the peer is a guest.
func (g *guests) wait(ctx context.Context, id peer.ID) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.waiting >= waitingForPlace {
		return fmt.Errorf("too many streams wait for a place")
	}
	g.waiting++
	defer func() { g.waiting-- }()
	for {
		if _, ok := g.in[id]; ok {
			return nil
		}
		changed := g.changed
		g.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		g.mu.Lock()
		if ctx.Err() != nil {
			return fmt.Errorf("peer %s is no guest: %w", id, ErrDenied)
		}
	}
}

// Welcome lets a connected peer that is no member stay, and take part in the feed, until
// it is not connected any more. False: all places are taken, or it has misbehaved. A
// peer that a follower called takes no place. Where there is no room, one of the address
// that has most places may have to go.
func (h *Host) Welcome(id peer.ID) bool {
	conns := h.h.Network().ConnsToPeer(id)
	if len(conns) == 0 {
		return false
	}
	ok, lost := h.guests.welcome(id, guest{called: h.follows && called(conns), address: addressKey(conns[0].RemoteMultiaddr()), since: time.Now()})
	if !ok {
		return false
	}
	if lost != "" {
		h.log.Debug("a guest makes room for one of another address", "peer", lost)
		h.Dismiss(lost)
	}
	h.h.ConnManager().Protect(id, guestTag)
	if h.h.Network().Connectedness(id) != network.Connected { // meanwhile
		h.left(id)
	}
	return true
}

// Address is the IP address of a connected peer, or what of it one customer of a network
// has; "" where it is not connected.
func (h *Host) Address(id peer.ID) string { return addressOf(h.h, id) }

func addressOf(h host.Host, id peer.ID) string {
	conns := h.Network().ConnsToPeer(id)
	if len(conns) == 0 {
		return ""
	}
	return addressKey(conns[0].RemoteMultiaddr())
}

// Dismiss ends the connections with a peer.
func (h *Host) Dismiss(id peer.ID) {
	h.left(id)
	if err := h.h.Network().ClosePeer(id); err != nil {
		h.log.Debug("close connections", "peer", id, "err", err)
	}
}

// Guests lists who has been welcomed and is connected.
func (h *Host) Guests() []peer.ID {
	h.guests.mu.Lock()
	defer h.guests.mu.Unlock()
	ids := make([]peer.ID, 0, len(h.guests.in))
	for id := range h.guests.in {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Room tells how many more guests may come.
func (h *Host) Room() int {
	h.guests.mu.Lock()
	defer h.guests.mu.Unlock()
	return max(0, h.guests.room())
}

func (h *Host) left(id peer.ID) {
	h.guests.leave(id)
	h.h.ConnManager().Unprotect(id, guestTag)
	h.openMu.Lock()
	defer h.openMu.Unlock()
	delete(h.vouched, id)
}

// exile ends the connections with a peer that misbehaved, unless it is a member.
func (h *Host) exile(id peer.ID) {
	if h.isMember(id) {
		return
	}
	h.log.Info("peer is sent away: it misbehaves", "peer", id)
	h.guests.exile(id, time.Now())
	h.Dismiss(id)
}

// admitFeed lets gossip of members and guests through. A visitor's waits for the place
// that it may be about to get: a peer whose gossip is refused does not try soon again.
func (h *Host) admitFeed(ctx context.Context, s network.Stream) (network.Stream, error) {
	id := s.Conn().RemotePeer()
	if h.isMember(id) {
		return s, nil
	}
	if !h.guests.has(id) {
		if h.Check(ctx, id) == nil {
			return s, nil
		}
		if err := h.guests.wait(ctx, id); err != nil {
			return nil, err
		}
	}
	return &throttled{Stream: s, limit: rate.NewLimiter(guestReadRate, guestReadBurst)}, nil
}

// throttled is a stream that is read no faster than its limit: who writes has to wait.
type throttled struct {
	network.Stream
	limit *rate.Limiter
}

// Read implements network.Stream.
func (t *throttled) Read(b []byte) (int, error) {
	n, err := t.Stream.Read(b[:min(len(b), guestReadBurst)])
	if n > 0 {
		time.Sleep(t.limit.ReserveN(time.Now(), n).Delay())
	}
	return n, err
}

// watchGuests ends the connections of idle visitors, until ctx ends.
func (h *Host) watchGuests(ctx context.Context) error {
	events := &network.NotifyBundle{DisconnectedF: func(_ network.Network, c network.Conn) {
		if id := c.RemotePeer(); h.h.Network().Connectedness(id) != network.Connected {
			h.left(id)
		}
	}}
	h.h.Network().Notify(events)
	defer h.h.Network().StopNotify(events)
	tick := time.NewTicker(connectEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			h.seeOut(time.Now())
		}
	}
}

// seeOut ends connections of strangers that are too many, and those of visitors whose time is over.
func (h *Host) seeOut(now time.Time) {
	for _, id := range h.h.Network().Peers() { // some came at the same moment
		if !h.isMember(id) && !h.isAdmitted(id) {
			few(h.h.Network(), id, strangerConns)
		}
	}
	letIn(h.places(), "", maxVisitors+1, maxVisitors+1, now)
	for _, c := range h.h.Network().Conns() {
		id := c.RemotePeer()
		if !h.isVisitor(c) || h.asks(c) {
			continue
		}
		age := now.Sub(c.Stat().Opened)
		if age < visitTime || age < visitLimit && !h.isStranger(id) {
			continue
		}
		h.log.Debug("visit ended", "peer", id)
		if err := h.h.Network().ClosePeer(id); err != nil {
			h.log.Debug("close connections", "peer", id, "err", err)
		}
	}
}

// isVisitor tells whether a connection is that of neither a member nor a guest, and the
// other's idea.
func (h *Host) isVisitor(c network.Conn) bool {
	id := c.RemotePeer()
	return c.Stat().Direction == network.DirInbound && !h.isMember(id) && !h.guests.has(id) && !h.isAdmitted(id)
}

// asks tells whether the peer has a request under way: a stream of what is open to all.
func (h *Host) asks(c network.Conn) bool {
	h.openMu.Lock()
	defer h.openMu.Unlock()
	return slices.ContainsFunc(c.GetStreams(), func(s network.Stream) bool { return h.open[s.Protocol()] })
}

// isStranger tells whether the peer is sure not to be a member: it shows no certificate.
func (h *Host) isStranger(id peer.ID) bool {
	spoken, err := h.h.Peerstore().GetProtocols(id)
	return err == nil && len(spoken) > 0 && !slices.Contains(spoken, certificateProtocol)
}

// CheckSpoken is Check, but asks nobody for a certificate who is known not to show any.
func (h *Host) CheckSpoken(ctx context.Context, id peer.ID) error {
	if !h.isMember(id) && h.isStranger(id) {
		return fmt.Errorf("peer %s has no certificate: %w", id, ErrDenied)
	}
	return h.Check(ctx, id)
}

// isAdmitted tells whether the log has the peer as a member, though it has not shown its
// certificate yet.
func (h *Host) isAdmitted(id peer.ID) bool {
	return slices.ContainsFunc(h.roster.members(), func(m peer.AddrInfo) bool { return m.ID == id })
}

// openTo notes that streams of the protocol are open to all.
func (h *Host) openTo(id protocol.ID) {
	h.openMu.Lock()
	defer h.openMu.Unlock()
	h.open[id] = true
}
