package p2p

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

const echoProtocol = "/test/echo/1"

var (
	quiet    = slog.New(slog.DiscardHandler)
	loopback = multiaddr.StringCast("/ip4/127.0.0.1/tcp/0")
)

// cluster makes the hosts of one test cluster.
type cluster struct {
	t       *testing.T
	secret  Secret
	founder *Cluster
	mu      sync.Mutex
	removed map[peer.ID]bool
	listed  map[peer.ID]peer.ID // data hosts by member, as the log names them
}

func newTestCluster(t *testing.T) *cluster {
	c, _, _ := newCluster(t)
	return &cluster{t: t, secret: NewSecret(), founder: c, removed: map[peer.ID]bool{}, listed: map[peer.ID]peer.ID{}}
}

// list has the log name the data host of a member.
func (c *cluster) list(member, data peer.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listed[member] = data
}

func (c *cluster) remove(id peer.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.removed[id] = true
}

func (c *cluster) roster() Roster {
	return Roster{Removed: func(id peer.ID) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.removed[id]
	}, Lists: func(id, dataID peer.ID) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.listed[id] == dataID
	}, ListsData: func(dataID peer.ID) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return slices.Contains(slices.Collect(maps.Values(c.listed)), dataID)
	}}
}

// certified is the cluster with a certificate for id, not holding the private key.
func (c *cluster) certified(id, dataID peer.ID) *Cluster {
	cert, err := c.founder.Certify(id, dataID)
	if err != nil {
		c.t.Fatal(err)
	}
	return &Cluster{Key: c.founder.Key, Incarnation: c.founder.Incarnation, Certificate: cert}
}

func (c *cluster) host(id Identity, in *Cluster, o Options) *Host {
	c.t.Helper()
	if o.Secret == nil {
		o.Secret = c.secret
	}
	if o.Listen == nil {
		o.Listen = []multiaddr.Multiaddr{loopback}
	}
	o.DialPeerTimeout = 5 * time.Second
	h, err := NewHost(id, in, c.roster(), o, quiet)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { h.Close() })
	return h
}

func (c *cluster) member() *Host {
	c.t.Helper()
	id := newIdentity(c.t)
	return c.host(id, c.certified(id.ID, newIdentity(c.t).ID), Options{})
}

// stranger knows the secret and the cluster's key, but has no certificate.
func (c *cluster) stranger() *Host {
	c.t.Helper()
	return c.host(newIdentity(c.t), &Cluster{Key: c.founder.Key, Incarnation: c.founder.Incarnation}, Options{})
}

// A peer that connected before pubsub was there would hear nothing of it.
func TestNewHost_ListensLast(t *testing.T) {
	c := newTestCluster(t)
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := port.Addr().String()
	listen, err := manet.FromNetAddr(port.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if err := port.Close(); err != nil {
		t.Fatal(err)
	}
	// Known addresses are read before pubsub begins: here, for as long as the test likes.
	pipe := filepath.Join(t.TempDir(), "peerstore")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	made := make(chan *Host)
	go func() {
		defer close(made)
		id := newIdentity(t)
		h, err := NewHost(id, c.certified(id.ID, id.ID), c.roster(), Options{Secret: c.secret, Listen: []multiaddr.Multiaddr{listen}, PeerstoreFile: pipe}, quiet)
		if err != nil {
			t.Error(err)
			return
		}
		made <- h
	}()
	w, err := os.OpenFile(pipe, os.O_WRONLY, 0) // once it is being read
	if err != nil {
		t.Fatal(err)
	}
	if early, err := net.Dial("tcp", addr); err == nil {
		early.Close()
		t.Error("it takes connections before pubsub is there")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	h := <-made
	if h == nil {
		return
	}
	defer h.Close()
	connect(t, c.member(), h)
}

func info(h *Host) peer.AddrInfo { return peer.AddrInfo{ID: h.ID(), Addrs: h.h.Addrs()} }

func connect(t *testing.T, from, to *Host) {
	t.Helper()
	if err := from.Connect(t.Context(), info(to)); err != nil {
		t.Fatal(err)
	}
}

// serveEcho sends back what comes, until the listener closes.
func serveEcho(t *testing.T, l net.Listener, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() { l.Close() })
}

// echo tells whether the peer answers on the protocol.
func echo(ctx context.Context, from *Host, to peer.ID, proto string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, err := from.Dial(ctx, to, proto)
	if err != nil {
		return err
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return err
	}
	if _, err := c.Write([]byte("hello")); err != nil {
		return err
	}
	b := make([]byte, 5)
	_, err = io.ReadFull(c, b)
	return err
}

// eventually polls until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	end := time.After(time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-end:
			t.Fatalf("in vain: %s", what)
		case <-tick.C:
		}
	}
}

// run runs until the test ends, or until the returned function is called.
func run(t *testing.T, f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func TestHost_MembersTalk(t *testing.T) {
	c := newTestCluster(t)
	a, b := c.member(), c.member()
	l, err := b.Listen(echoProtocol)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	connect(t, a, b)
	dialled, err := a.Dial(t.Context(), b.ID(), echoProtocol)
	if err != nil {
		t.Fatal(err)
	}
	defer dialled.Close()
	if _, err := dialled.Write([]byte("x")); err != nil { // the handshake is lazy
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	if got, want := accepted.RemoteAddr().String(), a.ID().String(); got != want {
		t.Fatalf("remote address %s, want %s", got, want)
	}
	if got, want := dialled.RemoteAddr().String(), b.ID().String(); got != want {
		t.Fatalf("remote address %s, want %s", got, want)
	}

	if err := dialled.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	var timeout net.Error
	if _, err := dialled.Read(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Fatalf("read past its deadline: %v, want a timeout", err)
	}

	if _, err := b.Listen(echoProtocol); err == nil {
		t.Fatal("two listen on one protocol")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("accept once closed: %v, want net.ErrClosed", err)
	}
	if _, err := b.Listen(echoProtocol); err != nil {
		t.Fatalf("listen again: %v", err)
	}
}

func TestHost_VersionMismatchNamesBoth(t *testing.T) {
	c := newTestCluster(t)
	a, b := c.member(), c.member()
	l, err := b.Listen("/test/echo/2")
	serveEcho(t, l, err)
	connect(t, a, b)
	_, err = a.Dial(t.Context(), b.ID(), "/test/echo/1")
	if !errors.Is(err, errors.ErrUnsupported) {
		t.Fatalf("got %v, want ErrUnsupported", err)
	}
	for _, want := range []string{"/test/echo/1", "/test/echo/2", b.ID().String()} {
		if !strings.Contains(err.Error(), want) {
			t.Fatalf("%v does not name %s", err, want)
		}
	}
	if _, err := a.Dial(t.Context(), b.ID(), "/test/other/1"); err == nil || errors.Is(err, errors.ErrUnsupported) {
		t.Fatalf("one that nobody has listened on yet: %v, want another error", err)
	}
}

func TestHost_WrongSecretDoesNotConnect(t *testing.T) {
	c := newTestCluster(t)
	a := c.member()
	id := newIdentity(t)
	b := c.host(id, c.certified(id.ID, id.ID), Options{Secret: NewSecret()})
	if err := b.Connect(t.Context(), info(a)); err == nil {
		t.Fatal("connected")
	}
	if _, err := NewHost(id, c.founder, Roster{}, Options{Secret: Secret("short")}, quiet); err == nil {
		t.Fatal("a short secret passes")
	}
}

func TestHost_PortInUse(t *testing.T) {
	c := newTestCluster(t)
	a := c.member()
	id := newIdentity(t)
	o := Options{Secret: c.secret, Listen: []multiaddr.Multiaddr{a.h.Network().ListenAddresses()[0]}}
	_, err := NewHost(id, c.founder, Roster{}, o, quiet)
	if err == nil || !strings.Contains(err.Error(), "address already in use") || strings.Contains(err.Error(), "\n") {
		t.Fatalf("got %v, want one line that says that the address is in use", err)
	}
}

// Whoever is no certified member gets through Listen to nothing, and through
// ListenOpen to what is open.
func TestHost_ListenLetsMembersOnlyThrough(t *testing.T) {
	c := newTestCluster(t)
	server := c.member()
	l, err := server.Listen(echoProtocol)
	serveEcho(t, l, err)
	open, err := server.ListenOpen("/test/open/1")
	serveEcho(t, open, err)

	other, _, _ := newCluster(t)
	lent := newIdentity(t).ID
	sign := func(by *Cluster, incarnation uint64, id peer.ID) []byte {
		b, err := Certificate{Cluster: by.Key, Incarnation: incarnation, ID: id, DataID: id}.Sign(by.Private)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, tc := range map[string]struct {
		certificate func(id peer.ID) []byte
		member      bool
	}{
		"member":            {func(id peer.ID) []byte { return sign(c.founder, c.founder.Incarnation, id) }, true},
		"no certificate":    {func(id peer.ID) []byte { return nil }, false},
		"other incarnation": {func(id peer.ID) []byte { return sign(c.founder, c.founder.Incarnation+1, id) }, false},
		"other cluster":     {func(id peer.ID) []byte { return sign(other, c.founder.Incarnation, id) }, false},
		"another's":         {func(id peer.ID) []byte { return sign(c.founder, c.founder.Incarnation, lent) }, false},
		"the server's own":  {func(id peer.ID) []byte { return server.cluster.Certificate }, false},
		"forged": {func(id peer.ID) []byte {
			b := sign(c.founder, c.founder.Incarnation, id)
			b[len(b)-1] ^= 1
			return b
		}, false},
		"endless": {func(id peer.ID) []byte { return make([]byte, 1<<20) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			id := newIdentity(t)
			h := c.host(id, &Cluster{Key: c.founder.Key, Incarnation: c.founder.Incarnation, Certificate: tc.certificate(id.ID)}, Options{})
			connect(t, h, server)
			if err := echo(t.Context(), h, server.ID(), echoProtocol); (err == nil) != tc.member {
				t.Fatalf("through Listen: %v", err)
			}
			if err := server.Check(t.Context(), id.ID); errors.Is(err, ErrDenied) == tc.member {
				t.Fatalf("Check: %v", err)
			}
			if err := echo(t.Context(), h, server.ID(), "/test/open/1"); err != nil {
				t.Fatalf("through ListenOpen: %v", err)
			}
		})
	}
}

func TestHost_RemovedMemberIsCutOff(t *testing.T) {
	c := newTestCluster(t)
	a, b := c.member(), c.member()
	l, err := b.Listen(echoProtocol)
	serveEcho(t, l, err)
	open, err := b.ListenOpen("/test/open/1")
	serveEcho(t, open, err)
	connect(t, a, b)
	if err := echo(t.Context(), a, b.ID(), echoProtocol); err != nil {
		t.Fatal(err)
	}
	held, err := a.Dial(t.Context(), b.ID(), echoProtocol)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if _, err := held.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(held, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}

	c.remove(a.ID())
	run(t, b.Run)
	if err := held.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var timeout net.Error
	if _, err := held.Read(make([]byte, 1)); err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatalf("its open stream goes on: %v", err)
	}
	connect(t, a, b)
	if err := echo(t.Context(), a, b.ID(), echoProtocol); err == nil {
		t.Fatal("it still gets through Listen")
	}
	if err := echo(t.Context(), a, b.ID(), "/test/open/1"); err != nil {
		t.Fatalf("it cannot ask why: %v", err)
	}
}

func TestHost_RenewAsksEverybodyAgain(t *testing.T) {
	c := newTestCluster(t)
	a, b := c.member(), c.member()
	l, err := b.Listen(echoProtocol)
	serveEcho(t, l, err)
	connect(t, a, b)
	if err := echo(t.Context(), a, b.ID(), echoProtocol); err != nil {
		t.Fatal(err)
	}
	next := newTestCluster(t) // a new key, of which a has no certificate yet
	b.Renew(next.certified(b.ID(), b.ID()))
	connect(t, a, b)
	if err := echo(t.Context(), a, b.ID(), echoProtocol); err == nil {
		t.Fatal("the old certificate passes")
	}
	a.Renew(next.certified(a.ID(), a.ID()))
	connect(t, a, b)
	if err := echo(t.Context(), a, b.ID(), echoProtocol); err != nil {
		t.Fatal(err)
	}
}

func TestHost_StrangersAreFew(t *testing.T) {
	c := newTestCluster(t)
	server := c.member()
	l, err := server.ListenOpen("/test/open/1")
	serveEcho(t, l, err)
	stranger, member := c.stranger(), c.member()
	connect(t, stranger, server)
	connect(t, member, server)
	var held []net.Conn
	for range strangerStreamsEach {
		conn, err := stranger.Dial(t.Context(), server.ID(), "/test/open/1")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		conn.Write([]byte("x"))
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
	}
	if err := echo(t.Context(), stranger, server.ID(), "/test/open/1"); err == nil {
		t.Fatal("one more than allowed")
	}
	// The member shares the address, but needs a place only to be asked who it is.
	if err := held[0].Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a place is free again", func() bool { return echo(t.Context(), member, server.ID(), "/test/open/1") == nil })
	for range 2 * strangerStreamsEach {
		conn, err := member.Dial(t.Context(), server.ID(), "/test/open/1")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		conn.Write([]byte("x"))
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Fatalf("a member is limited: %v", err)
		}
	}
}

// at is a stream of a stranger at an address.
func at(address string) *strangerStream { return &strangerStream{address: address} }

func TestStrangers_RateAndMemoryAreBounded(t *testing.T) {
	st := newStrangers(func(peer.ID) bool { return false })
	now := time.Now()
	passed := 0
	for range 10 * strangerBurst {
		s := at("192.0.2.1")
		if _, err := st.enter(s, now); err == nil {
			st.leave(s)
			passed++
		}
	}
	if passed != strangerBurst {
		t.Fatalf("%d streams at once, want %d", passed, strangerBurst)
	}
	if _, err := st.enter(at("192.0.2.1"), now.Add(time.Second)); err != nil {
		t.Fatalf("a second later: %v", err)
	}
	for i := range 10 * strangerAddresses {
		st.enter(at(net.IPv4(10, byte(i>>16), byte(i>>8), byte(i)).String()), now)
	}
	if len(st.by) > strangerAddresses {
		t.Fatalf("%d addresses remembered, want at most %d", len(st.by), strangerAddresses)
	}
	if len(st.open) > strangerStreams {
		t.Fatalf("%d streams open, want at most %d", len(st.open), strangerStreams)
	}
	for s := range st.open {
		st.leave(s)
	}
	if _, err := st.enter(at("192.0.2.200"), now.Add(time.Second)); err != nil || len(st.by) > 2 {
		t.Fatalf("after a while: %v, %d addresses remembered", err, len(st.by))
	}
}

// A peer that comes back with another address is found by those that knew the old one.
func TestHost_ChangedAddressIsFound(t *testing.T) {
	c := newTestCluster(t)
	dir := t.TempDir()
	idA, idB := newIdentity(t), newIdentity(t)
	inA, inB := c.certified(idA.ID, idA.ID), c.certified(idB.ID, idB.ID)
	fileA, fileB := filepath.Join(dir, "a"), filepath.Join(dir, "b")

	a := c.host(idA, inA, Options{PeerstoreFile: fileA})
	b := c.host(idB, inB, Options{PeerstoreFile: fileB, PeerAddresses: a.Addrs()})
	run(t, a.Run)
	stop := run(t, b.Run)
	eventually(t, "both know each other", func() bool { return len(a.Certified()) == 1 && len(b.Certified()) == 1 })
	old := b.h.Addrs()[0]
	eventually(t, "a keeps b's address", func() bool {
		data, err := os.ReadFile(fileA)
		return err == nil && strings.Contains(string(data), old.String()+"/p2p/"+idB.ID.String())
	})

	stop()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a sees it gone", func() bool { return a.h.Network().Connectedness(idB.ID) != network.Connected })
	taken, err := manet.Listen(old) // so that b gets another port
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	b = c.host(idB, inB, Options{PeerstoreFile: fileB}) // it knows a from its book
	run(t, b.Run)
	now := b.h.Addrs()[0]
	eventually(t, "a keeps b's new address first", func() bool {
		known := a.book.addrs(idB.ID)
		return len(known) > 0 && known[0].Equal(now)
	})
	eventually(t, "a calls b", func() bool { return a.Check(t.Context(), idB.ID) == nil })
}

// The other way round: the one that stayed dials, as the one that left knows nobody.
func TestHost_LostPeerIsRedialled(t *testing.T) {
	c := newTestCluster(t)
	idB := newIdentity(t)
	in := c.certified(idB.ID, idB.ID)
	a, b := c.member(), c.host(idB, in, Options{})
	addr := b.h.Network().ListenAddresses()[0]
	a.AddKnown(info(b))
	run(t, a.Run)
	eventually(t, "a connects", func() bool { return len(a.Certified()) == 1 })
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a sees it gone", func() bool { return len(a.Connected()) == 0 })
	c.host(idB, in, Options{Listen: []multiaddr.Multiaddr{addr}})
	eventually(t, "a connects again", func() bool { return len(a.Connected()) == 1 })
}

func TestHost_AnnouncesWhatItIsTold(t *testing.T) {
	c := newTestCluster(t)
	id := newIdentity(t)
	public, private := multiaddr.StringCast("/dns4/a.example/tcp/9096"), multiaddr.StringCast("/ip4/192.0.2.1/tcp/9096")
	h := c.host(id, c.founder, Options{
		Listen:     []multiaddr.Multiaddr{loopback, multiaddr.StringCast("/ip4/127.0.0.1/udp/0/quic-v1")},
		Announce:   []multiaddr.Multiaddr{public, private},
		NoAnnounce: []multiaddr.Multiaddr{private},
	})
	if got := h.Addrs(); len(got) != 1 || got[0].String() != public.String()+"/p2p/"+id.ID.String() {
		t.Fatalf("announced: %v", got)
	}
	if got := h.h.Network().ListenAddresses(); len(got) != 1 {
		t.Fatalf("listening on %v", got)
	}
}
