// Package sim is a network in memory for thousands of hosts in one process, to run the
// feed's real code on: gossipsub, messages, streams. It has delays and lines of a
// limited rate, cuts links, and counts every host's bytes.
//
// Its clock is the time package's: inside a testing/synctest bubble an hour of a
// thousand followers passes as fast as the processor works it off.
package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	blankhost "github.com/libp2p/go-libp2p/p2p/host/blank"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/host/peerstore/pstoremem"
	"github.com/multiformats/go-multiaddr"
)

const (
	// frame is what a write costs beside its bytes: headers of yamux (12), Noise (18)
	// and TCP over IPv4 (52).
	frame = 82
	// setUpBytes go each way before the first stream: handshakes and identify take 14
	// writes and 1,000 bytes between two of p2p's hosts.
	setUpBytes = 1000 + 14*52
	// In keepAliveEvery yamux looks at both ends whether the other is there, and in
	// distanceEvery how far it is, with keepAliveWrites each way: as p2p's hosts for
	// strangers do, whether or not something else is under way.
	keepAliveEvery  = time.Minute
	distanceEvery   = 10 * time.Minute
	keepAliveWrites = 2
	// Between members they are these.
	memberKeepAliveEvery = 10 * time.Second
	memberDistanceEvery  = 30 * time.Second
	// again is when what was lost comes a second time: the shortest wait of Linux's TCP.
	again = 200 * time.Millisecond

	// What these cost is counted under names of their own.
	setUp       protocol.ID = "set-up"
	keepAlive   protocol.ID = "keep-alive"
	certificate protocol.ID = "certificate"
)

// Traffic counts bytes, those of headers too.
type Traffic struct{ In, Out int64 }

// Network joins hosts. The fields are set before the first host.
type Network struct {
	Near, Far time.Duration // one way, between the closest two hosts and the farthest
	Rate      int64         // bytes a second that a host can send
	Loss      float64       // the share of writes that TCP has to send twice

	mu    sync.Mutex
	nodes map[peer.ID]*node
	hosts map[peer.ID]host.Host
	cut   map[[2]int]bool
}

// New returns a network of volunteers: 10 to 120 ms apart, each with 10 Mbit/s, and 1 % of
// what they send lost.
func New() *Network {
	return &Network{Near: 10 * time.Millisecond, Far: 120 * time.Millisecond, Rate: 10_000_000 / 8, Loss: 0.01,
		nodes: map[peer.ID]*node{}, hosts: map[peer.ID]host.Host{}, cut: map[[2]int]bool{}}
}

// Host adds a host. The caller closes it.
func (w *Network) Host(key crypto.PrivKey) (host.Host, error) {
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return nil, err
	}
	n := &node{net: w, id: id, conns: map[peer.ID]*conn{}, traffic: map[protocol.ID]Traffic{}, with: map[int]Dealings{}}
	if n.book, err = pstoremem.NewPeerstore(); err != nil {
		return nil, err
	}
	if err := n.book.AddPrivKey(id, key); err != nil {
		return nil, err
	}
	n.bus = eventbus.NewBus()
	if n.identified, err = n.bus.Emitter(new(event.EvtPeerIdentificationCompleted)); err != nil {
		return nil, err
	}
	if n.connected, err = n.bus.Emitter(new(event.EvtPeerConnectednessChanged)); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if old := w.nodes[id]; old != nil { // it comes back to where it was
		n.number = old.number
	} else {
		n.number = len(w.nodes)
	}
	n.addr, err = multiaddr.NewMultiaddr(fmt.Sprintf("/ip4/10.%d.%d.%d/tcp/9096", n.number>>16&255, n.number>>8&255, n.number&255))
	if err != nil {
		return nil, err
	}
	h := blankhost.NewBlankHost(n, blankhost.WithEventBus(n.bus))
	w.nodes[id], w.hosts[id] = n, h
	return h, nil
}

// Cut breaks the link between two hosts, or mends it: connections end, new ones fail.
func (w *Network) Cut(a, b peer.ID, cut bool) {
	x, y := w.node(a), w.node(b)
	w.mu.Lock()
	w.cut[[2]int{min(x.number, y.number), max(x.number, y.number)}] = cut
	w.mu.Unlock()
	if c := x.conn(b); cut && c != nil {
		c.Close()
	}
}

// Traffic returns what the host has sent and received, by protocol; what was before
// a stream's protocol was agreed on stands under "".
func (w *Network) Traffic(id peer.ID) map[protocol.ID]Traffic {
	n := w.node(id)
	n.mu.Lock()
	defer n.mu.Unlock()
	all := make(map[protocol.ID]Traffic, len(n.traffic))
	for p, t := range n.traffic {
		all[p] = t
	}
	for _, c := range n.conns {
		k, t := c.kept(), all[keepAlive]
		all[keepAlive] = Traffic{t.In + k.In, t.Out + k.Out}
	}
	return all
}

// Dealings are what a full peer had to do with another host: bytes in and out, without
// what kept connections, how many of them were gossip, and how often the other called.
type Dealings struct {
	Bytes, Gossip int64
	Calls         int
}

// since is what is more than before, without gossip.
func (d Dealings) since(before Dealings) int64 {
	return d.Bytes - before.Bytes - (d.Gossip - before.Gossip)
}

func (d Dealings) plus(e Dealings) Dealings {
	return Dealings{d.Bytes + e.Bytes, d.Gossip + e.Gossip, d.Calls + e.Calls}
}

// Dealings returns those of a full peer with another.
func (w *Network) Dealings(member, with peer.ID) Dealings {
	n, other := w.node(member), w.node(with)
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.with[other.number]
}

func (w *Network) node(id peer.ID) *node {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.nodes[id]
}

func (w *Network) host(id peer.ID) host.Host {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.hosts[id]
}

func (w *Network) isCut(a, b *node) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cut[[2]int{min(a.number, b.number), max(a.number, b.number)}]
}

// delay is one way between two hosts, each of which has a fixed place on a square.
func (w *Network) delay(a, b int) time.Duration {
	ax, ay := place(a)
	bx, by := place(b)
	return w.Near + time.Duration(math.Hypot(ax-bx, ay-by)/math.Sqrt2*float64(w.Far-w.Near))
}

func place(n int) (x, y float64) {
	r := rand.New(rand.NewPCG(uint64(n), 0))
	return r.Float64(), r.Float64()
}
