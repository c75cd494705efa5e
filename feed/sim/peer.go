package sim

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/net/gostream"
	"github.com/multiformats/go-multiaddr"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/feed"
	"github.com/pinfold-cluster/pinfold/p2p"
)

const (
	// visitTime is how long a peer without a place may stay, as in package p2p.
	visitTime = 10 * time.Second
	// certificateBytes is what asking for a certificate takes each way, with its stream.
	certificateBytes = 600
)

// A Peer is a cluster host as package feed sees one: real gossip and streams over a
// host of the Network. Who is a member, and who has a place, it decides as p2p.Host does.
type Peer struct {
	*p2p.Feed
	host    host.Host
	node    *node
	places  int
	closed  context.Context
	stop    context.CancelFunc
	members *Members

	mu      sync.Mutex
	guests  map[peer.ID]bool // whether it takes a place
	checked map[peer.ID]bool
	changed chan struct{} // closed when a guest comes
}

var _ feed.Network = (*Peer)(nil)

// Members are the peers of the cluster that have certificates.
type Members map[peer.ID]bool

// Peer adds a peer with places for so many guests. The caller closes it.
func (w *Network) Peer(id p2p.Identity, members *Members, places int) (*Peer, error) {
	h, err := w.Host(id.Key)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	p := &Peer{host: h, node: w.node(id.ID), places: places, closed: ctx, stop: stop, members: members,
		guests: map[peer.ID]bool{}, checked: map[peer.ID]bool{}, changed: make(chan struct{})}
	p.node.member = (*members)[id.ID]
	h.Network().Notify(&network.NotifyBundle{ConnectedF: p.arrived, DisconnectedF: p.left})
	if p.Feed, err = p2p.NewFeed(ctx, gate{h, p}, slog.New(slog.DiscardHandler)); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	p.Feed.Bad = p.Dismiss
	return p, nil
}

// Close ends all connections.
func (p *Peer) Close() error {
	p.stop()
	return p.host.Close()
}

// ID implements feed.Network, as do the next.
func (p *Peer) ID() api.PeerID { return p.host.ID() }

func (p *Peer) Addrs() []api.Multiaddr {
	return []api.Multiaddr{p.node.addr.Encapsulate(multiaddr.StringCast("/p2p/" + p.host.ID().String()))}
}

func (p *Peer) Listen() (net.Listener, error) {
	l, err := gostream.Listen(p.host, feed.Protocol)
	return listener{l}, err
}

func (p *Peer) Dial(ctx context.Context, id api.PeerID) (net.Conn, error) {
	return gostream.Dial(ctx, p.host, id, feed.Protocol)
}

func (p *Peer) Connect(ctx context.Context, info peer.AddrInfo) error {
	return p.host.Connect(ctx, info)
}
func (p *Peer) Connected() []api.PeerID { return p.host.Network().Peers() }

// Address implements feed.Network: each machine has one peer.
func (p *Peer) Address(id api.PeerID) string { return string(id) }

func (p *Peer) Check(_ context.Context, id api.PeerID) error {
	c := p.node.conn(id)
	if c == nil {
		return errors.New("not connected")
	}
	p.mu.Lock()
	first := !p.checked[id]
	p.checked[id] = true
	p.mu.Unlock()
	if first && c.to.member { // others are known to have none, by what they speak
		p.node.carry(c.to, certificate, certificateBytes)
		c.to.carry(p.node, certificate, certificateBytes)
	}
	if !(*p.members)[id] {
		return p2p.ErrDenied
	}
	return nil
}

// AskRenewals implements feed.Network: the key of a simulated cluster stays.
func (p *Peer) AskRenewals(context.Context, api.PeerID) error { return nil }

func (p *Peer) Welcome(id api.PeerID) bool {
	c := p.node.conn(id)
	if c == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.guests[id]; ok {
		return true
	}
	called := c.stat.Direction == network.DirOutbound
	if !called && p.room() == 0 {
		return false
	}
	p.guests[id] = !called
	close(p.changed)
	p.changed = make(chan struct{})
	return true
}

func (p *Peer) Room() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.room()
}

// room is called under mu.
func (p *Peer) room() int {
	n := p.places
	for _, takes := range p.guests {
		if takes {
			n--
		}
	}
	return max(0, n)
}

func (p *Peer) Guests() []api.PeerID {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Keys(p.guests))
}

func (p *Peer) Dismiss(id api.PeerID) {
	if c := p.node.conn(id); c != nil {
		c.Close()
	}
}

// arrived sees that a visitor does not stay.
func (p *Peer) arrived(_ network.Network, c network.Conn) {
	id := c.RemotePeer()
	if c.Stat().Direction == network.DirOutbound || (*p.members)[id] {
		return
	}
	time.AfterFunc(visitTime, func() {
		if !p.isGuest(id) {
			c.Close()
		}
	})
}

func (p *Peer) left(_ network.Network, c network.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.guests, c.RemotePeer())
	delete(p.checked, c.RemotePeer())
}

func (p *Peer) isGuest(id peer.ID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.guests[id]
	return ok
}

// admit waits, as long as a visitor may stay, for the peer to be a guest.
func (p *Peer) admit(id peer.ID) bool {
	late := time.After(visitTime)
	for {
		p.mu.Lock()
		_, ok := p.guests[id]
		changed := p.changed
		p.mu.Unlock()
		if ok || (*p.members)[id] {
			return true
		}
		select {
		case <-changed:
		case <-late:
			return false
		case <-p.closed.Done():
			return false
		}
	}
}

// gate keeps gossip of visitors out.
type gate struct {
	host.Host
	p *Peer
}

func (g gate) SetStreamHandler(id protocol.ID, handle network.StreamHandler) {
	g.Host.SetStreamHandler(id, g.guard(handle))
}

func (g gate) SetStreamHandlerMatch(id protocol.ID, match func(protocol.ID) bool, handle network.StreamHandler) {
	g.Host.SetStreamHandlerMatch(id, match, g.guard(handle))
}

func (g gate) guard(handle network.StreamHandler) network.StreamHandler {
	return func(s network.Stream) {
		if !g.p.admit(s.Conn().RemotePeer()) {
			s.Reset()
			return
		}
		handle(s)
	}
}

// listener is gostream's with the error that net's have once closed.
type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if errors.Is(err, context.Canceled) {
		err = net.ErrClosed
	}
	return c, err
}
