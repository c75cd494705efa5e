package p2p

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"github.com/multiformats/go-multiaddr"
)

func TestPacedConn_IsReadAtItsPace(t *testing.T) {
	all := int64(3 * clusterPace.burst)
	for name, free := range map[string]bool{"of a stranger": false, "of one that is free": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := net.Pipe()
				c := newPaces(clusterPace).conn(ours, func() bool { return free })
				go func() {
					theirs.Write(make([]byte, all))
					theirs.Close()
				}()
				start := time.Now()
				n, err := io.Copy(io.Discard, c)
				if err != nil || n != all {
					t.Fatalf("%d bytes, %v", n, err)
				}
				took, want := time.Since(start), time.Duration(0)
				if !free {
					want = time.Duration(all-int64(clusterPace.burst)) * time.Second / time.Duration(clusterPace.rate)
				}
				if took < want || took > want*5/4 { // reads count more than they bring
					t.Errorf("%d bytes took %v, want %v and a little more", n, took, want)
				}
			})
		})
	}
}

// What strangers of one address send leaves those of another their pace, and a connection
// that is closed waits no more.
func TestPacedConn_IsSlowByAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := newPaces(clusterPace)
		busy := all.of("busy", time.Now())
		other := all.of("other", time.Now())
		busy.ReserveN(time.Now(), clusterPace.burst)
		ours, theirs := net.Pipe()
		c := &pacedConn{Conn: ours, bytes: busy, of: all, free: func() bool { return false }, closed: make(chan struct{})}
		c.close = sync.OnceFunc(func() { close(c.closed) })
		for range 100 {
			busy.ReserveN(time.Now(), clusterPace.burst) // minutes' worth
		}
		go theirs.Write([]byte("x"))
		start := time.Now()
		done := make(chan struct{})
		go func() { c.Read(make([]byte, 1)); close(done) }()
		synctest.Wait()
		select {
		case <-done:
			t.Error("it does not wait")
		default:
		}
		c.Close()
		<-done
		theirs.Close()
		if took := time.Since(start); took > 0 {
			t.Errorf("a closed connection waited for %v", took)
		}
		if !other.AllowN(time.Now(), clusterPace.burst) {
			t.Error("another address has less for it")
		}
	})
}

// acceptsAny is a connection of which streams come without end.
type acceptsAny struct{ network.MuxedConn }

func (acceptsAny) AcceptStream() (network.MuxedStream, error) { return nil, nil }

// What one does that may be read as it comes is not at the cost of strangers of its address.
func TestPacedConn_IsFreeForItsNeighbours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := newPaces(clusterPace)
		ours, theirs := net.Pipe()
		c := all.conn(ours, func() bool { return true })
		defer c.Close()
		defer theirs.Close()
		go io.Copy(io.Discard, theirs)
		for range 2 {
			c.spend(clusterPace.burst, time.Now())
		}
		for range 100 {
			go theirs.Write([]byte("x"))
			if _, err := c.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			for range 100 {
				if _, err := c.Write([]byte("x")); err != nil {
					t.Fatal(err)
				}
				if _, err := (pacedMux{acceptsAny{}, c}).AcceptStream(); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(lookAgain)
		}
		if left, want := c.bytes.TokensAt(time.Now()), float64(clusterPace.burst-1<<10); left < want {
			t.Errorf("of what strangers of its address may send %v bytes are left, want %v", left, want)
		}
	})
}

// Who waited for its turn to count comes with an older time than who was before it: what there is
// does not grow by that.
func TestPacedConn_CountsNoTimeTwice(t *testing.T) {
	c := newPaces(clusterPace).conn(lying{}, func() bool { return false })
	now := time.Now()
	c.spend(clusterPace.burst, now)
	for range 10 {
		c.spend(clusterPace.rate, now.Add(-10*time.Second))
		c.spend(clusterPace.rate, now)
	}
	if got, want := c.spend(0, now), 20*time.Second; got < want {
		t.Errorf("the next waits for %v, want %v", got, want)
	}
}

// What lies there of a connection that was closed is not read to its end.
func TestPacedConn_IsReadNoMoreOnceClosed(t *testing.T) {
	c := newPaces(clusterPace).conn(lying{}, func() bool { return false })
	for range 2 {
		c.spend(clusterPace.burst, time.Now())
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); err == nil {
		t.Errorf("%d bytes are read", n)
	}
}

// lying is a connection of which some bytes always lie there.
type lying struct{ net.Conn }

func (lying) Read(b []byte) (int, error) { return len(b), nil }
func (lying) RemoteAddr() net.Addr       { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)} }
func (lying) Close() error               { return nil }

func TestPaces_RememberFewAddresses(t *testing.T) {
	p, now := newPaces(clusterPace), time.Now()
	for i := range 4 * paceAddresses { // who comes and goes leaves nothing behind
		if p.of(string(rune('a'+i)), now) == p.rest {
			t.Fatalf("address %d has no pace of its own", i)
		}
	}
	clear(p.by)
	for i := range paceAddresses {
		p.of(string(rune('a'+i)), now).ReserveN(now, p.rate)
	}
	if p.of("one more", now) != p.rest {
		t.Error("one more has its own")
	}
	if now = now.Add(time.Second); p.of("one more", now) == p.rest || len(p.by) != 1 {
		t.Errorf("%d addresses are remembered after their time", len(p.by))
	}
}

// sendTo has a host read n bytes, and tells how long that takes.
func sendTo(t *testing.T, server, from *Host, n int) time.Duration {
	t.Helper()
	start := time.Now()
	s, err := from.h.NewStream(t.Context(), server.ID(), "/test/sink/1")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Reset()
	for ; n > 0; n -= 1 << 16 {
		if _, err := s.Write(make([]byte, 1<<16)); err != nil {
			t.Fatal(err)
		}
	}
	s.CloseWrite()
	if _, err := s.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return time.Since(start)
}

func sink(s network.Stream) { io.Copy(io.Discard, s); s.Write([]byte{1}); s.Close() }

// A guest that sends without end is read at its pace; a member, as it comes.
func TestHost_ReadsStrangersAtTheirPace(t *testing.T) {
	c := newTestCluster(t)
	id := newIdentity(t)
	server := c.host(id, c.certified(id.ID, newIdentity(t).ID), Options{Guests: 1})
	run(t, server.Run)
	guest, member := c.stranger(), c.member()
	server.h.SetStreamHandler("/test/sink/1", sink)
	for _, h := range []*Host{guest, member} {
		connect(t, h, server)
	}
	if !server.Welcome(guest.ID()) {
		t.Fatal("no place")
	}
	eventually(t, "the member is known", func() bool { return server.Check(t.Context(), member.ID()) == nil })
	if took := sendTo(t, server, guest, clusterPace.burst+clusterPace.rate); took < time.Second {
		t.Errorf("a guest sent %d bytes in %v", clusterPace.burst+clusterPace.rate, took)
	}
	// It has used up what it may send at once: others of its address take turns with it.
	much := 16 * clusterPace.rate
	if took := sendTo(t, server, member, much); took >= 16*time.Second {
		t.Errorf("a member waits, too: %v", took)
	}
	client := c.stranger()
	connect(t, client, server)
	server.Vouch(client.ID())
	if took := sendTo(t, server, client, much); took >= 16*time.Second {
		t.Errorf("a client's upload waits: %v", took)
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "who has gone is not remembered", func() bool { return !server.isVouched(client.ID()) })
}

// So do followers with each other.
func TestHost_FollowersReadOthersAtTheirPace(t *testing.T) {
	c := newTestCluster(t)
	other, member := c.stranger(), c.member()
	server, err := NewFollowerHost(newIdentity(t), &Cluster{Key: c.founder.Key, Incarnation: c.founder.Incarnation},
		Options{Secret: c.secret, Listen: []multiaddr.Multiaddr{loopback}}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	server.h.SetStreamHandler("/test/sink/1", sink)
	connect(t, other, server)
	connect(t, member, server)
	if took := sendTo(t, server, other, clusterPace.burst+clusterPace.rate); took < time.Second {
		t.Errorf("another sent %d bytes in %v", clusterPace.burst+clusterPace.rate, took)
	}
	if err := server.Check(t.Context(), member.ID()); err != nil {
		t.Fatal(err)
	}
	if took := sendTo(t, server, member, 16*clusterPace.rate); took >= 16*time.Second {
		t.Errorf("a member waits, too: %v", took)
	}
}

// Streams that are opened without end are served at the pace of their address. None is
// reset: another of that address may have opened it.
func TestHost_ServesNewStreamsAtTheirPace(t *testing.T) {
	many := (clusterPace.burst + clusterPace.rate) / clusterPace.stream
	c := newTestCluster(t)
	server, stranger := c.member(), c.stranger()
	connect(t, stranger, server)
	conn := stranger.h.Network().ConnsToPeer(server.ID())[0]
	start := time.Now()
	for range many {
		s, err := conn.NewStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.SetDeadline(time.Now().Add(60 * time.Second))
		if _, err = s.Write([]byte("\x13/multistream/1.0.0\n")); err == nil {
			_, err = s.Read(make([]byte, 1))
		}
		if err != nil {
			t.Fatal(err)
		}
		s.Reset()
	}
	if took := time.Since(start); took < time.Second {
		t.Errorf("%d streams were served within %v", many, took)
	}
}

// Rubbish costs no line of the log.
func TestFeed_IsNotMadeToWriteALog(t *testing.T) {
	c := newTestCluster(t)
	id := newIdentity(t)
	var lines lockedBuffer
	server, err := NewHost(id, c.certified(id.ID, id.ID), c.roster(), Options{Secret: c.secret, Listen: []multiaddr.Multiaddr{loopback}, Guests: 1},
		slog.New(slog.NewTextHandler(&lines, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	guest := c.stranger()
	connect(t, guest, server)
	if !server.Welcome(guest.ID()) {
		t.Fatal("no place")
	}
	for range 3 { // the next is looked at once the one before is done with
		s, err := guest.h.NewStream(t.Context(), server.ID(), feedGossip)
		if err != nil {
			t.Fatal(err)
		}
		s.SetDeadline(time.Now().Add(60 * time.Second))
		if _, err := s.Write([]byte{4, 0xff, 0xff, 0xff, 0xff}); err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, s)
	}
	if text := lines.String(); text != "" {
		t.Errorf("it says: %s", text)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A data host has no secret: anybody may connect, and is read at a pace. Blocks of a
// follower come at the line's.
func TestDataHost_ReadsStrangersAtTheirPace(t *testing.T) {
	had := dataPace
	t.Cleanup(func() { dataPace = had })
	dataPace.rate, dataPace.burst = 1<<20, 1<<20
	c := newTestCluster(t)
	id := newIdentity(t)
	server, err := NewDataHost(id, c.certified(newIdentity(t).ID, id.ID), c.roster(), DataOptions{Listen: []multiaddr.Multiaddr{loopback}}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	if err := server.Listen(); err != nil {
		t.Fatal(err)
	}
	other := newIdentity(t)
	stranger, err := NewDataHost(other, &Cluster{Key: c.founder.Key, Incarnation: c.founder.Incarnation}, c.roster(), DataOptions{Listen: []multiaddr.Multiaddr{loopback}}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stranger.Close() })
	if err := stranger.Connect(t.Context(), peer.AddrInfo{ID: server.ID(), Addrs: server.base.Network().ListenAddresses()}); err != nil {
		t.Fatal(err)
	}
	s, err := stranger.NewStream(t.Context(), server.ID(), ping.ID)
	if err != nil {
		t.Fatal(err)
	}
	const rounds, pings = 64, 32 // each is answered: twice as much as is given at once
	start := time.Now()
	for range rounds {
		if _, err := s.Write(make([]byte, pings*ping.PingSize)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(s, make([]byte, pings*ping.PingSize)); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(start); took < 500*time.Millisecond {
		t.Errorf("a stranger had %d pings answered in %v", rounds*pings, took)
	}
}
