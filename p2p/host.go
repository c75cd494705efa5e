package p2p

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/metrics"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/pnet"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/net/gostream"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/multiformats/go-multiaddr"
	"golang.org/x/sync/errgroup"
)

// Host is the cluster host of a peer: Raft, calls and metrics go over it. All its
// methods are safe for concurrent use.
type Host struct {
	*Members
	// Traffic counts the bytes of streams, by protocol and by peer.
	Traffic   metrics.Reporter
	o         Options
	h         host.Host
	book      *book
	roster    Roster
	strangers *strangers
	askers    *strangers // those on the streams of the feed
	guests    *guests
	follows   bool           // it is a follower's
	pubsub    *pubsub.PubSub // nil where this peer is not a member
	feed      *Feed          // nil where this peer takes no part in it
	stop      context.CancelFunc
	log       *slog.Logger

	openMu  sync.Mutex
	open    map[protocol.ID]bool // protocols whose streams strangers may open
	vouched map[peer.ID]bool     // see Vouch
}

// NewHost returns a host that listens, but seeks nobody until Run. Where the cluster
// has no certificate for this peer, it is a stranger's host: it can Dial, to
// introduce itself and to join, and nothing else. A new one is made once it has
// joined. The caller closes it.
func NewHost(id Identity, c *Cluster, r Roster, o Options, log *slog.Logger) (*Host, error) {
	return newHost(id, c, r, o, false, log)
}

// NewFollowerHost returns the host of a follower: of a peer without a certificate that
// takes part in the feed, and has up to Options.Guests others call. It connects to those
// that it is told to, and Run seeks nobody. Of c it needs the key and the incarnation.
func NewFollowerHost(id Identity, c *Cluster, o Options, log *slog.Logger) (*Host, error) {
	if len(c.Certificate) > 0 {
		return nil, errors.New("cluster host: a member is no follower")
	}
	return newHost(id, c, Roster{}, o, true, log)
}

func newHost(id Identity, c *Cluster, r Roster, o Options, follows bool, log *slog.Logger) (*Host, error) {
	o = o.WithDefaults()
	if len(o.Secret) != SecretSize {
		return nil, fmt.Errorf("cluster host: the secret has %d bytes, not %d", len(o.Secret), SecretSize)
	}
	first, err := peer.AddrInfosFromP2pAddrs(o.PeerAddresses...)
	if err != nil {
		return nil, fmt.Errorf("cluster host: peer_addresses: %w", err)
	}
	listen, err := tcpOnly(o.Listen, log)
	if err != nil {
		return nil, fmt.Errorf("cluster host: %w", err)
	}
	door := &doorkeeper{paces: newPaces(clusterPace)}
	var h *Host // before anybody can connect
	isMember := func(id peer.ID) bool { return h.isMember(id) }
	address := func(id peer.ID) string { return h.Address(id) }
	opts, err := common(id, o.Announce, o.NoAnnounce, o.ConnectionManager, o.ResourceManager, o.Dial, o.Guests, isMember, address, door)
	if err != nil {
		return nil, fmt.Errorf("cluster host: %w", err)
	}
	traffic := newTally(isMember)
	opts = append(opts,
		libp2p.BandwidthReporter(traffic),
		libp2p.ConnectionGater(door),
		libp2p.PrivateNetwork(pnet.PSK(o.Secret)),
		libp2p.Security(noise.ID, noise.New),
		libp2p.WithDialTimeout(o.DialPeerTimeout))
	lh, err := libp2p.New(opts...)
	if err != nil {
		return nil, fmt.Errorf("cluster host: %w", err)
	}

	ctx, stop := context.WithCancel(context.Background())
	h = &Host{Traffic: traffic, o: o, h: lh, roster: r,
		guests: newGuests(o.Guests), follows: follows, stop: stop, log: log, open: map[protocol.ID]bool{}, vouched: map[peer.ID]bool{},
		Members: newMembers(lh, false, c, r, o.Learn, log)}
	h.strangers, h.askers = newStrangers(h.isVouched), newStrangers(h.isVouched)
	door.h = h
	if h.book, err = openBook(o.PeerstoreFile); err != nil {
		log.Warn("some known addresses are left out", "err", err)
	}
	for _, info := range first {
		h.book.add(info)
	}
	if len(c.Certificate) > 0 {
		if h.pubsub, err = newPubSub(ctx, gate{lh, h.admitMember}, o.PubSub, log); err != nil {
			return nil, errors.Join(fmt.Errorf("pubsub: %w", err), h.Close())
		}
	}
	if follows || len(c.Certificate) > 0 && o.Guests > 0 {
		if h.feed, err = NewFeed(ctx, gate{lh, h.admitFeed}, log); err != nil {
			return nil, errors.Join(err, h.Close())
		}
		h.feed.Bad = h.exile
	}
	// Not before: a peer that connects and is refused a pubsub stream seeks none again.
	if err := lh.Network().Listen(listen...); err != nil {
		return nil, errors.Join(fmt.Errorf("cluster host: %w", err), h.Close())
	}
	return h, nil
}

// Run keeps the host connected with all known members until ctx ends, or a follower's
// with those that it called; and sees out who has no business here.
func (h *Host) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return h.watchGuests(ctx) })
	if h.follows {
		return g.Wait()
	}
	g.Go(func() error { return h.stayConnected(ctx) })
	if h.o.MDNSInterval > 0 {
		g.Go(func() error { return h.discover(ctx) })
	}
	return g.Wait()
}

// Close ends all connections and frees the addresses listened on.
func (h *Host) Close() error {
	h.stop()
	return h.h.Close()
}

// ID returns the host's peer ID.
func (h *Host) ID() peer.ID { return h.h.ID() }

// Addrs returns the addresses told to others, each with its /p2p.
func (h *Host) Addrs() []multiaddr.Multiaddr {
	addrs, err := peer.AddrInfoToP2pAddrs(&peer.AddrInfo{ID: h.h.ID(), Addrs: h.h.Addrs()})
	if err != nil {
		panic(err) // a valid ID has a text form
	}
	return addrs
}

// Connected returns the peers that there are connections with, members or not.
func (h *Host) Connected() []peer.ID { return h.h.Network().Peers() }

// Known returns the known peers and addresses, the first to be tried first.
func (h *Host) Known() []peer.AddrInfo { return h.book.all() }

// AddKnown adds addresses of a peer that Run is to connect to.
func (h *Host) AddKnown(info peer.AddrInfo) { h.book.add(info) }

// Connect makes a connection to the peer, over the addresses given and those known,
// unless there is one.
func (h *Host) Connect(ctx context.Context, info peer.AddrInfo) error {
	if info.ID == h.h.ID() {
		return errors.New("a peer cannot connect to itself")
	}
	if h.h.Network().Connectedness(info.ID) == network.Connected {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, h.o.DialPeerTimeout)
	defer cancel()
	info.Addrs = merge(info.Addrs, h.book.addrs(info.ID))
	for _, m := range h.roster.members() {
		if m.ID == info.ID {
			info.Addrs = merge(info.Addrs, m.Addrs)
		}
	}
	if sw, ok := h.h.Network().(*swarm.Swarm); ok && h.follows {
		sw.Backoff().Clear(info.ID) // who calls decides when
	}
	if err := h.h.Connect(ctx, info); err != nil {
		return fmt.Errorf("connect to %s: %w", info.ID, err)
	}
	return nil
}

// Listen returns a listener for streams of the protocol that certified members
// open; others' are reset. RemoteAddr().String() of a connection is the peer ID.
func (h *Host) Listen(proto string) (net.Listener, error) { return h.listen(proto, h.admitMember) }

// ListenOpen is Listen for streams of anybody who knows the secret. Those of
// strangers are few at once and at a time, and short-lived. What a stranger may ask
// is the caller's to check, with Check.
func (h *Host) ListenOpen(proto string) (net.Listener, error) {
	h.openTo(protocol.ID(proto))
	return h.listen(proto, h.admitAny)
}

// ListenFeed is ListenOpen for questions about the feed: streams of members and guests
// are not counted here.
func (h *Host) ListenFeed(proto string) (net.Listener, error) {
	h.openTo(protocol.ID(proto))
	return h.listen(proto, h.admitAsker)
}

func (h *Host) admitAsker(_ context.Context, s network.Stream) (network.Stream, error) {
	if id := s.Conn().RemotePeer(); h.isMember(id) || h.guests.has(id) {
		return s, nil
	}
	return h.askers.admit(s)
}

// Feed is this peer's part in the feed, nil where it has none.
func (h *Host) Feed() *Feed { return h.feed }

func (h *Host) listen(proto string, admit func(context.Context, network.Stream) (network.Stream, error)) (net.Listener, error) {
	id := protocol.ID(proto)
	if slices.Contains(h.h.Mux().Protocols(), id) {
		return nil, fmt.Errorf("listen on %s: somebody does already", proto)
	}
	l, err := gostream.Listen(gate{h.h, admit}, id)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", proto, err)
	}
	return listener{l}, nil
}

func (h *Host) admitMember(ctx context.Context, s network.Stream) (network.Stream, error) {
	if err := h.Check(ctx, s.Conn().RemotePeer()); err != nil {
		h.log.Debug("stream refused", "peer", s.Conn().RemotePeer(), "protocol", s.Protocol(), "err", err)
		return nil, err
	}
	return s, nil
}

// admitAny lets members through as they are. Others hold one of the strangers' places,
// also while they are asked whether they are members.
func (h *Host) admitAny(ctx context.Context, s network.Stream) (network.Stream, error) {
	id := s.Conn().RemotePeer()
	if h.isMember(id) {
		return s, nil
	}
	guest, err := h.strangers.admit(s)
	if err != nil {
		h.log.Debug("stream refused", "peer", id, "protocol", s.Protocol(), "err", err)
		return nil, err
	}
	if err := h.Check(ctx, id); err == nil {
		return guest.release(), nil
	}
	return guest, nil
}

// Dial opens a stream of the protocol to the peer, connecting first where that is
// needed. The connection has deadlines, which ctx does not set. The error wraps
// errors.ErrUnsupported where the peer speaks another version of the protocol only.
func (h *Host) Dial(ctx context.Context, id peer.ID, proto string) (net.Conn, error) {
	if err := h.Connect(ctx, peer.AddrInfo{ID: id}); err != nil {
		return nil, err
	}
	return h.Open(ctx, id, proto)
}

// Open is Dial for a peer that is connected. It calls nobody: those that are no members
// tell any addresses.
func (h *Host) Open(ctx context.Context, id peer.ID, proto string) (net.Conn, error) {
	ctx = network.WithNoDial(ctx, "only who is connected is asked")
	c, err := gostream.Dial(ctx, h.h, id, protocol.ID(proto))
	if notSpoken(err) {
		other := h.versions(id, proto)
		if other == "" { // not yet: it is starting
			return nil, fmt.Errorf("peer %s does not speak %s now", id, proto)
		}
		return nil, fmt.Errorf("peer %s speaks %s, this one %s: %w", id, other, proto, errors.ErrUnsupported)
	}
	if err != nil {
		return nil, fmt.Errorf("dial %s of %s: %w", proto, id, err)
	}
	return c, nil
}

// versions names the other versions of the protocol that the peer speaks, "" for none.
func (h *Host) versions(id peer.ID, proto string) string {
	base := proto[:strings.LastIndex(proto, "/")+1]
	all, err := h.h.Peerstore().GetProtocols(id)
	if err != nil {
		return ""
	}
	var versions []string
	for _, p := range all {
		if strings.HasPrefix(string(p), base) {
			versions = append(versions, string(p))
		}
	}
	return strings.Join(versions, " and ")
}

// listener is gostream's with the error that net's have once closed.
type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if errors.Is(err, context.Canceled) {
		return nil, net.ErrClosed
	}
	return c, err
}
