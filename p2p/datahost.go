package p2p

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/metrics"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/multiformats/go-multiaddr"
)

const (
	spendRate = time.Second / 4 // of work in a second, for all guests
	spendTurn = 2 * time.Millisecond
)

// errGone is what a guest's work ends with that has gone.
var errGone = errors.New("the peer has gone")

// DataHost is the host over which blocks travel: a libp2p host of its own identity.
// Unless it is public, the handlers set on it see only streams of members and of
// peers that were let in by Admit, and Run ends the connections of others.
type DataHost struct {
	host.Host
	*Members
	Traffic metrics.Reporter // counts the bytes of streams
	base    host.Host
	listen  []multiaddr.Multiaddr
	public  bool
	speed   *bandwidth
	spent   *line // nanoseconds of work for guests, see Spend
	most    int   // connections that strangers may make
	log     *slog.Logger

	mu       sync.Mutex
	admitted map[peer.ID]bool
	sources  map[peer.ID]int
}

// NewDataHost returns a data host that does not listen yet: that is for Listen. The
// identity is not that of the cluster host. The caller closes it.
func NewDataHost(id Identity, c *Cluster, r Roster, o DataOptions, log *slog.Logger) (*DataHost, error) {
	o = o.WithDefaults()
	listen, err := tcpOnly(o.Listen, log)
	if err != nil {
		return nil, fmt.Errorf("data host: %w", err)
	}
	door := &keeper{follows: len(c.Certificate) == 0, paces: newPaces(dataPace)}
	var d *DataHost // before anybody can connect
	isMember := func(id peer.ID) bool { return d.isMember(id) }
	address := func(id peer.ID) string { return d.Address(id) }
	guests := dataStrangers
	if o.Public {
		guests = max(guests, o.ConnectionManager.HighWater)
	}
	opts, err := common(id, o.Announce, nil, o.ConnectionManager, o.ResourceManager, o.Dial, guests, isMember, address, door)
	if err != nil {
		return nil, fmt.Errorf("data host: %w", err)
	}
	traffic := newTally(isMember)
	// The order is that of preference: TLS costs half of what noise does.
	opts = append(opts,
		libp2p.BandwidthReporter(traffic),
		libp2p.ConnectionGater(door),
		libp2p.Security(libp2ptls.ID, libp2ptls.New),
		libp2p.Security(noise.ID, noise.New))
	base, err := libp2p.New(opts...)
	if err != nil {
		return nil, fmt.Errorf("data host: %w", err)
	}
	d = &DataHost{Traffic: traffic, base: base, listen: listen, public: o.Public, speed: newBandwidth(o.MaxBandwidth, isMember), spent: newLine(uint64(spendRate)), most: strangersConns(guests), log: log, admitted: map[peer.ID]bool{}, sources: map[peer.ID]int{},
		Members: newMembers(base, true, c, r, nil, log)}
	d.Host = gate{base, d.admit}
	door.d = d
	return d, nil
}

// A keeper chooses how a connection is kept: those with followers for less. And how many of
// strangers there are, and how fast they are read: anybody can make one.
type keeper struct {
	openDoor
	d       *DataHost
	follows bool // it is a follower's
	paces   *paces
}

var _ connmgr.ConnectionGater = (*keeper)(nil)
var _ network.Multiplexer = (*keeper)(nil)

// InterceptUpgraded implements connmgr.ConnectionGater: a connection is counted from here on, and
// is an arrival before.
func (k *keeper) InterceptUpgraded(c network.Conn) (bool, control.DisconnectReason) {
	if c.Stat().Direction != network.DirInbound || k.d.isOurs(c.RemotePeer()) {
		return true, 0
	}
	few(k.d.base.Network(), c.RemotePeer(), strangerConns-1)
	return k.d.hasRoom(addressKey(c.RemoteMultiaddr()), k.d.most, time.Now()), 0
}

// NewConn implements network.Multiplexer.
func (k *keeper) NewConn(c net.Conn, isServer bool, scope network.PeerScope) (network.MuxedConn, error) {
	m, id := muxer(), scope.Peer()
	ours := k.d.isOurs(id)
	if k.follows || k.d.isGuest(id) && !ours {
		m = strangersMuxer(strangersDataAlive)
	}
	if k.follows || !isServer || id == "" || ours {
		return m.NewConn(c, isServer, scope)
	}
	m.MaxStreamWindowSize = streamWindow // makeRoom counts on that
	return k.paces.mux(m, c, scope, func() bool { return k.d.isMember(id) })
}

// Listen begins to take connections. All handlers must have been set: bitswap gives up
// a peer that is connected and does not speak it, until there is a new connection.
func (d *DataHost) Listen() error {
	if err := d.base.Network().Listen(d.listen...); err != nil {
		return fmt.Errorf("data host: %w", err)
	}
	return nil
}

// NewStream implements host.Host.
func (d *DataHost) NewStream(ctx context.Context, id peer.ID, protocols ...protocol.ID) (network.Stream, error) {
	s, err := d.Host.NewStream(ctx, id, protocols...)
	if err != nil {
		return nil, err
	}
	return d.speed.limit(s), nil
}

// Close ends all connections and frees the addresses listened on.
func (d *DataHost) Close() error {
	d.speed.stop()
	return d.Host.Close()
}

// Admit lets a peer in that is not a member, until Dismiss.
func (d *DataHost) Admit(id peer.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.admitted[id] = true
}

// Dismiss ends what Admit began.
func (d *DataHost) Dismiss(id peer.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.admitted, id)
}

// Expect lets a peer in from which something is fetched, until Forget has been called
// as often. It is to be given nothing: see MayFetch.
func (d *DataHost) Expect(id peer.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sources[id]++
}

// Forget ends what one Expect began.
func (d *DataHost) Forget(id peer.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sources[id]--; d.sources[id] <= 0 {
		delete(d.sources, id)
	}
}

// Expects tells whether a peer is let in by Expect.
func (d *DataHost) Expects(id peer.ID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sources[id] > 0
}

// MayFetch tells whether a peer that was let in is to be given blocks: a member, or one
// of Admit, or anybody where the host is public.
func (d *DataHost) MayFetch(id peer.ID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.public || d.admitted[id] || d.isMember(id)
}

// IsMember tells whether the peer is a member's data host, as far as is known. It does not
// wait.
func (d *DataHost) IsMember(id peer.ID) bool { return d.isMember(id) }

// Address is Host.Address, of who is connected with this host.
func (d *DataHost) Address(id peer.ID) string { return addressOf(d.base, id) }

// Spend waits until so much may be worked for a connected peer, beside the reading: what it
// asks for costs more than that. Guests take turns, by address and then by peer, and have a
// quarter of a processor together. The error is ctx's, or says that the peer has gone.
func (d *DataHost) Spend(ctx context.Context, id peer.ID, work time.Duration) error {
	for ; work > 0; work -= spendTurn {
		conns := d.base.Network().ConnsToPeer(id)
		if len(conns) == 0 {
			return errGone
		}
		if d.isMember(id) {
			return nil
		}
		c := conns[0]
		if err := d.spent.wait(ctx, []string{addressKey(c.RemoteMultiaddr()), string(id)}, int(min(work, spendTurn)), c.IsClosed); err != nil {
			return err
		}
	}
	return nil
}

// CameIn is how many bytes were read of all streams so far, where MaxBandwidth bounds them.
func (d *DataHost) CameIn() uint64 { return d.speed.came.Load() }

// hasRoom tells whether one more stranger may connect from an address, where most may. Those who
// were let in keep their places, up to half of the most.
func (d *DataHost) hasRoom(address string, most int, now time.Time) bool {
	n := d.base.Network()
	if len(n.Conns()) < most {
		return true
	}
	all := places(n, func(c network.Conn) bool {
		return c.Stat().Direction == network.DirInbound && !d.isOurs(c.RemotePeer())
	})
	keep(all, func(c network.Conn) bool { return d.wasLetIn(c.RemotePeer()) }, d.most/2, d.most/2)
	return letIn(all, address, most, most, now)
}

// isOurs tells whether the peer, which has shown its key, is a member's data host: one that is
// listed, or has shown its certificate.
func (d *DataHost) isOurs(id peer.ID) bool { return d.isMember(id) || d.roster.listsData(id) }

// isGuest tells whether the peer may stay without being a member.
func (d *DataHost) isGuest(id peer.ID) bool { return d.public || d.wasLetIn(id) }

// wasLetIn tells whether the peer was let in by Admit or Expect.
func (d *DataHost) wasLetIn(id peer.ID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.admitted[id] || d.sources[id] > 0
}

func (d *DataHost) admit(ctx context.Context, s network.Stream) (network.Stream, error) {
	id := s.Conn().RemotePeer()
	if d.isGuest(id) {
		return d.speed.limit(s), nil
	}
	if err := d.Check(ctx, id); err != nil {
		d.log.Debug("stream refused", "peer", id, "protocol", s.Protocol(), "err", err)
		return nil, err
	}
	return d.speed.limit(s), nil
}

// Run learns who is a member, and ends connections with removed members at once, and with
// peers that may not stay otherwise and have shown no certificate within 10 s of connecting,
// or a wrong one. It returns when ctx ends.
func (d *DataHost) Run(ctx context.Context) error { return newAsking(d).run(ctx) }
