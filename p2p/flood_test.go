package p2p

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// holdStreams opens streams, on each of which the name of a protocol begins and never
// ends, until the test ends.
func holdStreams(t *testing.T, from, to *Host) {
	t.Helper()
	conns := from.h.Network().ConnsToPeer(to.ID())
	if len(conns) == 0 {
		t.Fatal("not connected")
	}
	run(t, func(ctx context.Context) error {
		pace := time.NewTicker(time.Millisecond) // our cores are the server's, too
		defer pace.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-pace.C:
			}
			s, err := conns[0].NewStream(ctx)
			if err != nil {
				continue // also once the connection has ended
			}
			_ = s.SetWriteDeadline(time.Now().Add(time.Second))
			_, _ = s.Write([]byte{19}) // what is refused is done again
		}
	})
}

// Guests that open all the streams they can take none from members, and one of them
// leaves the others theirs; also where the operator bounds the memory to less than they
// could take.
func TestHost_StreamsOfStrangersAreApart(t *testing.T) {
	t.Run("by default", func(t *testing.T) { streamsAreApart(t, ResourceManager{}) })
	t.Run("with little memory", func(t *testing.T) { streamsAreApart(t, ResourceManager{MemoryLimitBytes: 16 << 20}) })
}

func streamsAreApart(t *testing.T, bounds ResourceManager) {
	const guests = 8
	c := newTestCluster(t)
	id := newIdentity(t)
	server := c.host(id, c.certified(id.ID, newIdentity(t).ID), Options{Guests: guests + 1, ResourceManager: bounds})
	l, err := server.Listen(echoProtocol)
	serveEcho(t, l, err)
	l, err = server.ListenOpen("/test/open/1")
	serveEcho(t, l, err)
	member, other := c.member(), c.stranger()
	guest := func(address string) *Host {
		h := c.host(newIdentity(t), &Cluster{Key: c.founder.Key, Incarnation: c.founder.Incarnation}, Options{Dial: from(address), ResourceManager: ResourceManager{Enabled: new(false)}})
		connect(t, h, server)
		if !server.Welcome(h.ID()) {
			t.Fatal("no place")
		}
		return h
	}
	connect(t, member, server)
	connect(t, other, server)
	var flood []*Host
	for i := range guests {
		flood = append(flood, guest(fmt.Sprint("127.0.0.", 2+i%2)))
	}
	for _, h := range flood {
		holdStreams(t, h, server)
	}
	held := func() (n int) {
		for _, h := range flood {
			for _, c := range server.h.Network().ConnsToPeer(h.ID()) {
				in := len(c.GetStreams())
				if in > strangerEach+4 { // and what the server opened
					t.Fatalf("a guest holds %d streams", in)
				}
				n += in
			}
		}
		return n
	}
	eventually(t, "they hold what they get", func() bool { return held() > guests*strangerEach/2 })
	for _, address := range []string{"127.0.0.2", "127.0.0.3"} {
		if in, _ := has(server.h.Network(), address); in < strangerEach {
			t.Errorf("%d streams are counted of %s", in, address)
		}
	}
	for range 60 {
		if err := echo(t.Context(), member, server.ID(), echoProtocol); err != nil {
			t.Fatalf("a member: %v", err)
		}
	}
	if err := echo(t.Context(), other, server.ID(), "/test/open/1"); err != nil {
		t.Fatalf("another stranger: %v", err)
	}
	if held() == 0 {
		t.Error("nobody floods any more")
	}
}
