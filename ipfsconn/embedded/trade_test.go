package embedded

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	bsnetwork "github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	block "github.com/ipfs/go-block-format"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/multiformats/go-multiaddr"

	"github.com/pinfold-cluster/pinfold/ipfsconn/ipfsconntest"
)

// hostWithGuests lets some in who are no members.
type hostWithGuests struct {
	host.Host
	guests    map[peer.ID]bool
	origin    peer.ID            // of the guests, if any
	addresses map[peer.ID]string // one where it tells none
}

func withGuests(t testing.TB, guests ...host.Host) hostWithGuests {
	t.Helper()
	h := hostWithGuests{Host: newHost(t), guests: map[peer.ID]bool{}}
	for _, g := range guests {
		h.guests[g.ID()] = true
	}
	return h
}

func (hostWithGuests) Expect(peer.ID)                                      {}
func (hostWithGuests) Forget(peer.ID)                                      {}
func (h hostWithGuests) Expects(id peer.ID) bool                           { return id == h.origin }
func (hostWithGuests) MayFetch(peer.ID) bool                               { return true }
func (h hostWithGuests) Address(id peer.ID) string                         { return h.addresses[id] }
func (hostWithGuests) Spend(context.Context, peer.ID, time.Duration) error { return nil }
func (h hostWithGuests) IsMember(id peer.ID) bool                          { return !h.guests[id] }

// muteHost is a host over whose connections nothing is read any more once mute is closed.
func muteHost(t *testing.T, mute chan struct{}) host.Host {
	t.Helper()
	dial := tcp.WithDialerForAddr(func(multiaddr.Multiaddr) (tcp.ContextDialer, error) { return muteDialer(mute), nil })
	h, err := libp2p.New(libp2p.NoTransports, libp2p.Transport(tcp.NewTCPTransport, dial), libp2p.Security(libp2ptls.ID, libp2ptls.New),
		libp2p.NoListenAddrs, libp2p.DisableRelay())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

type muteDialer chan struct{}

// DialContext implements tcp.ContextDialer.
func (m muteDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &muteConn{Conn: c, mute: m, closed: make(chan struct{})}, nil
}

type muteConn struct {
	net.Conn
	mute, closed chan struct{}
	once         sync.Once
}

func (c *muteConn) Read(b []byte) (int, error) {
	select {
	case <-c.mute:
		<-c.closed
		return 0, net.ErrClosed
	default:
		return c.Conn.Read(b)
	}
}

func (c *muteConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// A guest that asks again and again and takes no answer has senders of its own wait, and
// no other guest.
func TestTrader_AMuteHoldsUpNoGuest(t *testing.T) {
	mute := make(chan struct{})
	bad := muteHost(t, mute)
	good := onLine(t, Options{})
	own := withGuests(t, bad, good.host)
	holder := openOn(t, own, Options{})
	file := ipfsconntest.File(t, 1, 4, 64<<10)
	ipfsconntest.Add(t, holder, file)
	good.peers.(*holders).infos = []peer.AddrInfo{{ID: own.ID(), Addrs: own.Addrs()}}

	if err := bad.Connect(t.Context(), peer.AddrInfo{ID: own.ID(), Addrs: own.Addrs()}); err != nil {
		t.Fatal(err)
	}
	s, err := bad.NewStream(t.Context(), own.ID(), bsnet.ProtocolBitswap)
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	ask := func() error {
		asked++
		b := block.NewBlock(fmt.Appendf(nil, "nobody has %d", asked))
		wants := message.New(false)
		wants.AddEntry(b.Cid(), 1, pb.Message_Wantlist_Have, true)
		return wants.ToNetV1(s)
	}
	close(mute)
	deadline := within(t, 60*time.Second)
	for more := 300; more > 0; { // each by itself, so that each has an answer
		if err := ask(); err != nil {
			t.Fatal(err)
		}
		if sends(holder, bad.ID()) {
			more--
		}
		select {
		case <-deadline.Done():
			t.Fatal("nobody waits for the mute")
		case <-time.After(time.Millisecond):
		}
	}
	if err := good.Pin(within(t, time.Minute), ipfsconntest.Pin(file.Root), nil); err != nil {
		t.Errorf("a guest waits for another: %v", err)
	}
}

// Guests that ask for much and read nothing take nothing from members, and are not waited
// for at the end.
func TestTrader_MutesHoldUpNoMember(t *testing.T) {
	guests := []host.Host{newHost(t), newHost(t), newHost(t)}
	own := withGuests(t, guests...)
	holder, err := New(own, t.TempDir(), Options{}, &holders{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	large, small := ipfsconntest.File(t, 1, 64, 1<<20), ipfsconntest.File(t, 2, 4, 256<<10)
	ipfsconntest.Add(t, holder, large)
	ipfsconntest.Add(t, holder, small)
	for _, g := range guests {
		sent := make(chan network.Stream, 1000)
		g.SetStreamHandler(bsnet.ProtocolBitswap, func(s network.Stream) { sent <- s }) // and reads nothing
		if err := g.Connect(t.Context(), peer.AddrInfo{ID: holder.host.ID(), Addrs: holder.host.Addrs()}); err != nil {
			t.Fatal(err)
		}
		s, err := g.NewStream(t.Context(), holder.host.ID(), bsnet.ProtocolBitswap)
		if err != nil {
			t.Fatal(err)
		}
		if err := wantsBlocks(large.Blocks...).ToNetV1(s); err != nil {
			t.Fatal(err)
		}
		select {
		case <-sent:
		case <-within(t, time.Minute).Done():
			t.Fatal("a guest waits for another")
		}
	}

	member := onLine(t, Options{}, holder)
	if err := member.Pin(within(t, time.Minute), ipfsconntest.Pin(small.Root), nil); err != nil {
		t.Errorf("a member waits for a guest: %v", err)
	}
	closed := make(chan error, 1)
	go func() { closed <- holder.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(40 * time.Second): // boxo sends a megabyte for 86 at least
		t.Error("the node waits for the guest")
		<-closed
	}
}

// What somebody wants is remembered for as long as that is there, however late boxo notes it.
func TestTrader_ForgetsWhoHasGone(t *testing.T) {
	guest, member, there := newHost(t), newHost(t), newHost(t)
	own := withGuests(t, guest, there)
	n := openOn(t, own, Options{})
	if err := there.Connect(t.Context(), peer.AddrInfo{ID: own.ID(), Addrs: own.Addrs()}); err != nil {
		t.Fatal(err)
	}
	until(t, "it is connected", func() bool { return len(own.Network().ConnsToPeer(there.ID())) > 0 })
	for _, h := range []host.Host{guest, member, there} { // two have gone
		n.bitswap.ReceiveMessage(t.Context(), h.ID(), wantsOf(8))
	}
	until(t, "who has gone is forgotten", func() bool {
		return n.bitswap.serverOf(guest.ID()) == nil && len(n.bitswap.members.WantlistForPeer(member.ID())) == 0
	})
	if n := len(n.bitswap.serverOf(there.ID()).WantlistForPeer(there.ID())); n != 8 {
		t.Errorf("of one that is there %d wants are left of 8", n)
	}
	if err := there.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "nobody is remembered", func() bool {
		n.bitswap.mu.Lock()
		defer n.bitswap.mu.Unlock()
		return len(n.bitswap.heard) == 0
	})
}

// A guest that has gone is not called at the addresses that it told, be it that an answer or
// a question to it is due: they may be anybody's. A member is.
func TestTrader_CallsNoGuest(t *testing.T) {
	for _, c := range []struct {
		what           string
		member, origin bool
	}{{"guest", false, false}, {"member", true, false}, {"origin of a pin", false, true}} {
		called := newHost(t)
		called.SetStreamHandler(bsnet.ProtocolBitswap, func(s network.Stream) { s.Close() })
		own := hostWithGuests{Host: newHost(t), guests: map[peer.ID]bool{called.ID(): !c.member}}
		if c.origin {
			own.origin = called.ID()
		}
		n := openOn(t, own, Options{})
		own.Peerstore().AddAddrs(called.ID(), called.Addrs(), time.Hour)
		err := n.bitswap.net.SendMessage(t.Context(), called.ID(), wantsOf(1))
		if (err == nil) != (c.member || c.origin) {
			t.Errorf("a %s is answered: %v", c.what, err)
		}
		if err := own.Network().ClosePeer(called.ID()); err != nil {
			t.Fatal(err)
		}
		_, err = n.bitswap.net.NewMessageSender(t.Context(), called.ID(), &bsnetwork.MessageSenderOpts{MaxRetries: 1})
		if (err == nil) != (c.member || c.origin) {
			t.Errorf("a %s is asked: %v", c.what, err)
		}
	}
}
