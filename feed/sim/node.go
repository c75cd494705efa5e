package sim

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/multiformats/go-multiaddr"
)

// node is a host's place in the Network.
type node struct {
	net    *Network
	number int
	id     peer.ID
	addr   multiaddr.Multiaddr
	member bool
	book   peerstore.Peerstore
	bus    event.Bus

	identified event.Emitter
	connected  event.Emitter

	mu      sync.Mutex
	conns   map[peer.ID]*conn
	handler network.StreamHandler
	notify  []network.Notifiee
	busy    time.Time // until when its line is taken
	traffic map[protocol.ID]Traffic
	with    map[int]Dealings // of members, by the other's number
	down    bool
}

var _ network.Network = (*node)(nil)

// carry counts n bytes to another node and returns when they arrive there.
func (n *node) carry(to *node, p protocol.ID, size int) time.Time {
	size += frame
	n.mu.Lock()
	n.addTraffic(p, Traffic{Out: int64(size)})
	dealt := Dealings{Bytes: int64(size)}
	if p == gossipProtocol {
		dealt.Gossip = dealt.Bytes
	}
	n.dealt(to, dealt)
	start := time.Now()
	if n.busy.After(start) {
		start = n.busy
	}
	n.busy = start.Add(time.Duration(size) * time.Second / time.Duration(n.net.Rate))
	at := n.busy.Add(n.net.delay(n.number, to.number))
	if rand.Float64() < n.net.Loss {
		at = at.Add(again)
	}
	n.mu.Unlock()

	to.mu.Lock()
	defer to.mu.Unlock()
	to.addTraffic(p, Traffic{In: int64(size)})
	to.dealt(n, dealt)
	return at
}

func (n *node) accept(s *stream) {
	n.mu.Lock()
	handle := n.handler
	n.mu.Unlock()
	if handle == nil {
		s.Reset()
		return
	}
	handle(s)
}

// DialPeer returns the connection with a peer, a new one where there is none.
func (n *node) DialPeer(ctx context.Context, id peer.ID) (network.Conn, error) {
	if c := n.conn(id); c != nil {
		return c, nil
	}
	to := n.net.node(id)
	// TCP, the private network's nonces and Noise take two round trips before identify.
	trip := time.Second
	if to != nil {
		trip = 2 * n.net.delay(n.number, to.number)
	}
	if err := pause(ctx, 2*trip); err != nil {
		return nil, err
	}
	if len(n.book.Addrs(id)) == 0 {
		return nil, fmt.Errorf("dial %s: no address is known", id)
	}
	if to == nil || to.isDown() || n.isDown() || n.net.isCut(n, to) {
		return nil, fmt.Errorf("dial %s: no answer", id)
	}
	n.carry(to, setUp, setUpBytes)
	to.carry(n, setUp, setUpBytes)
	out, in := connect(n, to)
	if old := n.put(out); old != nil {
		return old, nil
	}
	if to.put(in) != nil { // both dialled at once
		n.remove(out)
		return n.DialPeer(ctx, id)
	}
	n.arrived(out)
	to.arrived(in)
	return out, nil
}

// put keeps the connection unless there is one, which it returns.
func (n *node) put(c *conn) network.Conn {
	n.mu.Lock()
	defer n.mu.Unlock()
	if old := n.conns[c.to.id]; old != nil {
		return old
	}
	n.conns[c.to.id] = c
	return nil
}

func (n *node) remove(c *conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.conns[c.to.id] == c {
		delete(n.conns, c.to.id)
		n.addTraffic(keepAlive, c.kept())
	}
}

// addTraffic is called under mu.
func (n *node) addTraffic(p protocol.ID, more Traffic) {
	t := n.traffic[p]
	n.traffic[p] = Traffic{t.In + more.In, t.Out + more.Out}
}

// dealt is called under mu.
func (n *node) dealt(with *node, more Dealings) {
	if n.member {
		n.with[with.number] = n.with[with.number].plus(more)
	}
}

func (n *node) arrived(c *conn) {
	if c.stat.Direction == network.DirInbound {
		n.mu.Lock()
		n.dealt(c.to, Dealings{Calls: 1})
		n.mu.Unlock()
	}
	n.book.AddAddr(c.to.id, c.to.addr, peerstore.ConnectedAddrTTL)
	for _, f := range n.notifiees() {
		f.Connected(n, c)
	}
	emit(n.connected, event.EvtPeerConnectednessChanged{Peer: c.to.id, Connectedness: network.Connected})
	emit(n.identified, event.EvtPeerIdentificationCompleted{Peer: c.to.id, Conn: c,
		ListenAddrs: []multiaddr.Multiaddr{c.to.addr}, Protocols: c.to.protocols()})
}

func (n *node) disconnected(c *conn) {
	n.remove(c)
	for _, f := range n.notifiees() {
		f.Disconnected(n, c)
	}
	emit(n.connected, event.EvtPeerConnectednessChanged{Peer: c.to.id, Connectedness: network.NotConnected})
}

// emit tells who listens, if anybody does: it fails only once the host is closed.
func emit(e event.Emitter, what any) { _ = e.Emit(what) }

func (n *node) protocols() []protocol.ID { return n.net.host(n.id).Mux().Protocols() }

func (n *node) notifiees() []network.Notifiee {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.notify)
}

func (n *node) conn(id peer.ID) *conn {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.conns[id]
}

func (n *node) isDown() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.down
}

// Close ends all connections; nobody reaches the node any more.
func (n *node) Close() error {
	n.mu.Lock()
	n.down = true
	all := slices.Collect(maps.Values(n.conns))
	n.mu.Unlock()
	for _, c := range all {
		c.Close()
	}
	return errors.Join(n.identified.Close(), n.connected.Close(), n.book.Close())
}

func (n *node) ClosePeer(id peer.ID) error {
	if c := n.conn(id); c != nil {
		return c.Close()
	}
	return nil
}

func (n *node) NewStream(ctx context.Context, id peer.ID) (network.Stream, error) {
	c, err := n.DialPeer(ctx, id)
	if err != nil {
		return nil, err
	}
	return c.NewStream(ctx)
}

func (n *node) Connectedness(id peer.ID) network.Connectedness {
	if n.conn(id) == nil {
		return network.NotConnected
	}
	return network.Connected
}

func (n *node) Conns() []network.Conn {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []network.Conn
	for _, c := range n.conns {
		all = append(all, c)
	}
	return all
}

func (n *node) ConnsToPeer(id peer.ID) []network.Conn {
	if c := n.conn(id); c != nil {
		return []network.Conn{c}
	}
	return nil
}

func (n *node) Peers() []peer.ID {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Collect(maps.Keys(n.conns))
}

func (n *node) SetStreamHandler(h network.StreamHandler) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.handler = h
}

func (n *node) Notify(f network.Notifiee) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.notify = append(n.notify, f)
}

func (n *node) StopNotify(f network.Notifiee) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.notify = slices.DeleteFunc(n.notify, func(g network.Notifiee) bool { return g == f })
}

func (n *node) Peerstore() peerstore.Peerstore            { return n.book }
func (n *node) LocalPeer() peer.ID                        { return n.id }
func (n *node) CanDial(peer.ID, multiaddr.Multiaddr) bool { return true }
func (n *node) Listen(...multiaddr.Multiaddr) error       { return nil }
func (n *node) ListenAddresses() []multiaddr.Multiaddr    { return []multiaddr.Multiaddr{n.addr} }
func (n *node) ResourceManager() network.ResourceManager  { return &network.NullResourceManager{} }
func (n *node) InterfaceListenAddresses() ([]multiaddr.Multiaddr, error) {
	return n.ListenAddresses(), nil
}

// pause waits, at most until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
