package p2p

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	mss "github.com/multiformats/go-multistream"
)

// data makes a data host whose member has an ID of its own; it returns that too.
func (c *cluster) data(o DataOptions) (*DataHost, peer.ID) {
	c.t.Helper()
	member, id := newIdentity(c.t).ID, newIdentity(c.t)
	o.Listen = []multiaddr.Multiaddr{loopback}
	d, err := NewDataHost(id, c.certified(member, id.ID), c.roster(), o, quiet)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { d.Close() })
	d.SetStreamHandler(echoProtocol, func(s network.Stream) {
		defer s.Close()
		io.Copy(s, s)
	})
	if len(d.Addrs()) > 0 {
		c.t.Fatal("it listens before its handlers are set")
	}
	if err := d.Listen(); err != nil {
		c.t.Fatal(err)
	}
	return d, member
}

func ask(t *testing.T, from, to host.Host) error {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := from.Connect(ctx, peer.AddrInfo{ID: to.ID(), Addrs: to.Addrs()}); err != nil {
		return err
	}
	s, err := from.NewStream(ctx, to.ID(), echoProtocol)
	if err != nil {
		return err
	}
	defer s.Close()
	s.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := s.Write([]byte("hello")); err != nil {
		return err
	}
	_, err = io.ReadFull(s, make([]byte, 5))
	return err
}

func plainHost(t *testing.T) host.Host {
	t.Helper()
	h, err := libp2p.New(libp2p.ListenAddrs(loopback), libp2p.DisableMetrics())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func TestDataHost_MembersTalkOverTLS(t *testing.T) {
	c := newTestCluster(t)
	a, _ := c.data(DataOptions{})
	b, member := c.data(DataOptions{})
	run(t, a.Run)
	if err := ask(t, b, a); err != nil {
		t.Fatal(err)
	}
	if got := b.Network().ConnsToPeer(a.ID())[0].ConnState().Security; got != "/tls/1.0.0" {
		t.Fatalf("security %s, want TLS", got)
	}
	if err := a.Check(t.Context(), b.ID()); err != nil {
		t.Fatal(err)
	}
	if got := a.Certified(); len(got) != 1 || got[0].ID != member {
		t.Fatalf("certified: %v", got)
	}
	c.remove(member)
	eventually(t, "the removed one is cut off", func() bool { return len(a.Network().Peers()) == 0 })
	if err := ask(t, b, a); err == nil {
		t.Fatal("the removed one gets through")
	}
}

// 'ipfs swarm resources' shows what a data host uses, and may.
func TestDataHost_TellsItsResources(t *testing.T) {
	c := newTestCluster(t)
	a, _ := c.data(DataOptions{})
	b, _ := c.data(DataOptions{})
	run(t, a.Run)
	if err := ask(t, b, a); err != nil {
		t.Fatal(err)
	}
	m, ok := a.Network().ResourceManager().(rcmgr.ResourceManagerState)
	if !ok {
		t.Fatalf("%T tells nothing of what is used", a.Network().ResourceManager())
	}
	if n := m.Stat().System.NumConnsInbound; n == 0 {
		t.Error("no connection is counted")
	}
}

func TestDataHost_StrangersAreExpelled(t *testing.T) {
	c := newTestCluster(t)
	a, _ := c.data(DataOptions{})
	run(t, a.Run)

	stranger := plainHost(t)
	if err := ask(t, stranger, a); err == nil {
		t.Fatal("a stranger gets through")
	}
	parted := func() bool { return len(a.Network().Peers()) == 0 && len(stranger.Network().Peers()) == 0 }
	eventually(t, "the stranger's connection ends", parted)

	// The certificate of a member's cluster host is not that of its data host.
	id := newIdentity(t)
	cert, err := c.founder.Certify(id.ID, newIdentity(t).ID)
	if err != nil {
		t.Fatal(err)
	}
	in := &Cluster{Key: c.founder.Key, Incarnation: c.founder.Incarnation, Certificate: cert}
	wrong, err := NewDataHost(id, in, Roster{}, DataOptions{Listen: []multiaddr.Multiaddr{loopback}}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer wrong.Close()
	if err := ask(t, wrong, a); err == nil {
		t.Fatal("another data host gets through")
	}

	a.Admit(stranger.ID())
	if err := ask(t, stranger, a); err != nil {
		t.Fatalf("an admitted one: %v", err)
	}
	a.Dismiss(stranger.ID())
	eventually(t, "the dismissed one's connection ends", parted)

	a.Expect(stranger.ID())
	a.Expect(stranger.ID())
	a.Forget(stranger.ID())
	if err := ask(t, stranger, a); err != nil {
		t.Fatalf("a source: %v", err)
	}
	if a.MayFetch(stranger.ID()) {
		t.Fatal("a source may fetch")
	}
	a.Forget(stranger.ID())
	eventually(t, "the forgotten one's connection ends", parted)
}

// One that is asked for its certificate and says nothing gets nothing meanwhile.
func TestDataHost_SilentStrangerGetsNothing(t *testing.T) {
	c := newTestCluster(t)
	a, _ := c.data(DataOptions{})
	stranger := plainHost(t)
	asked := make(chan struct{})
	stranger.SetStreamHandler(certificateProtocol, func(s network.Stream) { asked <- struct{}{} })
	answer := make(chan error, 1)
	go func() { answer <- ask(t, stranger, a) }()
	select {
	case <-asked:
	case err := <-answer:
		t.Fatalf("it was not asked for its certificate: %v", err)
	}
	select {
	case err := <-answer:
		if err == nil {
			t.Fatal("it got through")
		}
	case <-time.After(100 * time.Millisecond):
	}
	if err := stranger.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-answer; err == nil {
		t.Fatal("it got through in the end")
	}
}

func TestDataHost_PublicLetsEverybodyIn(t *testing.T) {
	c := newTestCluster(t)
	a, _ := c.data(DataOptions{Public: true})
	run(t, a.Run)
	stranger := plainHost(t)
	if err := ask(t, stranger, a); err != nil {
		t.Fatal(err)
	}
	if err := a.Check(t.Context(), stranger.ID()); !errors.Is(err, ErrDenied) {
		t.Fatalf("it counts as a member: %v", err)
	}
}

// Members that call are known as such where everybody is let in, too.
func TestDataHost_PublicKnowsMembersThatCall(t *testing.T) {
	c := newTestCluster(t)
	a, _ := c.data(DataOptions{Public: true})
	b, _ := c.data(DataOptions{})
	run(t, a.Run)
	stranger := plainHost(t)
	for _, from := range []host.Host{stranger, b} {
		if err := ask(t, from, a); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the member is known", func() bool { return a.IsMember(b.ID()) })
	if a.IsMember(stranger.ID()) {
		t.Error("a stranger counts as a member")
	}
	if err := ask(t, stranger, a); err != nil {
		t.Errorf("a stranger is not let in any more: %v", err)
	}
}

// However many leave the question for their certificate unanswered, members are asked. Guests
// are asked once.
func TestDataHost_SilentStrangersHoldUpNoMember(t *testing.T) {
	for _, public := range []bool{true, false} {
		c := newTestCluster(t)
		a, _ := c.data(DataOptions{Public: public})
		b, member := c.data(DataOptions{})
		c.list(member, b.ID())
		q := newAsking(a)
		silent := make(chan struct{})
		defer close(silent)
		for q.others.TryGo(func() error { <-silent; return nil }) {
		}
		stranger := plainHost(t)
		for _, from := range []host.Host{stranger, b} {
			if err := from.Connect(t.Context(), peer.AddrInfo{ID: a.ID(), Addrs: a.Addrs()}); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "the member is known", func() bool {
			q.look(t.Context(), time.Now())
			return a.IsMember(b.ID())
		})
		if q.busy[stranger.ID()] {
			t.Error("more strangers are asked than may be")
		}
	}
}

// What guests ask for may cost more than its bytes. They wait in turn: one that always waits
// keeps nobody out, at its address or another.
func TestDataHost_Spend(t *testing.T) {
	c := newTestCluster(t)
	d, _ := c.data(DataOptions{Public: true})
	run(t, d.Run)
	greedy, neighbour, gone := plainHost(t), plainHost(t), plainHost(t)
	for _, guest := range []host.Host{greedy, neighbour} {
		if err := guest.Connect(t.Context(), peer.AddrInfo{ID: d.ID(), Addrs: d.Addrs()}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the guest is connected", func() bool { return len(d.Network().ConnsToPeer(guest.ID())) > 0 })
	}
	if err := d.Spend(t.Context(), gone.ID(), time.Hour); !errors.Is(err, errGone) {
		t.Errorf("for one that is not connected: %v", err)
	}
	const many = 1024
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	waiting := make(chan error)
	for range many {
		go func() { waiting <- d.Spend(ctx, greedy.ID(), time.Hour) }()
	}
	eventually(t, "all wait", func() bool {
		d.spent.mu.Lock()
		defer d.spent.mu.Unlock()
		return d.spent.all.waits == many
	})
	neighbours := make(chan error)
	go func() { neighbours <- d.Spend(ctx, neighbour.ID(), 64*spendTurn) }()
	select {
	case err := <-neighbours:
		if err != nil {
			t.Error(err)
		}
	case err := <-waiting:
		t.Fatalf("who wants too much has it: %v", err)
	case <-time.After(time.Minute):
		t.Fatal("a guest waits for its neighbour")
	}
	cancel()
	for range many {
		if err := <-waiting; !errors.Is(err, context.Canceled) {
			t.Errorf("after the end: %v", err)
		}
	}
}

// halfway connects as one that nobody knows and shows its key. How to go on is agreed on only once
// finish is called.
func halfway(t *testing.T, ip string, to *DataHost) (finish func()) {
	t.Helper()
	id, addr := newIdentity(t), to.Addrs()[0]
	na, err := manet.ToNetAddr(addr)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := from(ip)(t.Context(), "tcp", na.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := mss.SelectOneOf([]string{noise.ID}, conn); err != nil {
		t.Fatal(err)
	}
	keys, err := noise.New(noise.ID, id.Key, nil)
	if err != nil {
		t.Fatal(err)
	}
	secured, err := keys.SecureOutbound(t.Context(), conn, to.ID())
	if err != nil {
		t.Fatal(err)
	}
	return func() { // which fails where it was refused
		if _, err := mss.SelectOneOf([]string{yamux.ID}, secured); err == nil {
			_, _ = yamux.DefaultTransport.NewConn(secured, false, &network.NullScope{})
		}
	}
}

// Who holds all connections that strangers may have with a data host, and says nothing, keeps
// nobody out who comes from elsewhere; be it that they came halfway before, and then all at once.
func TestDataHost_StrangersMakeRoom(t *testing.T) {
	c := newTestCluster(t)
	server, _ := c.data(DataOptions{})
	run(t, server.Run)
	at := func(ip string) host.Host {
		dial := tcp.WithDialerForAddr(func(multiaddr.Multiaddr) (tcp.ContextDialer, error) { return from(ip), nil })
		h, err := libp2p.New(libp2p.NoListenAddrs, libp2p.Transport(tcp.NewTCPTransport, tcp.DisableReuseport(), dial), libp2p.DisableRelay(), libp2p.DisableMetrics())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.Close() })
		return h
	}
	follower := at("127.0.1.1")
	server.Admit(follower.ID())
	if err := ask(t, follower, server); err != nil {
		t.Fatal(err)
	}
	most := strangersConns(dataStrangers)
	for range 2 {
		var half []func()
		for i := range arrivalsMost - 6 {
			half = append(half, halfway(t, fmt.Sprintf("127.0.2.%d", 1+i%5), server))
		}
		var all sync.WaitGroup
		for _, finish := range half {
			all.Go(finish)
		}
		all.Wait()
	}
	eventually(t, "strangers have as many connections as they may", func() bool { n := len(server.Network().Conns()); return n > most/2 && n <= most })
	restarted, _ := c.data(DataOptions{})
	if err := ask(t, restarted, server); err != nil {
		t.Errorf("a member is kept out: %v", err)
	}
	another := at("127.0.1.2")
	server.Admit(another.ID())
	for _, h := range []host.Host{follower, another} {
		if err := ask(t, h, server); err != nil {
			t.Errorf("a follower is kept out: %v", err)
		}
	}
	if n := len(server.Network().ConnsToPeer(follower.ID())); n != 1 {
		t.Errorf("one that was there has %d connections", n)
	}
}
