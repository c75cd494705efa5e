package p2p

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
)

const (
	lineRate = 1 << 20 // bytes a second
	lineTurn = limitChunk * time.Second / lineRate
)

// Members come first, as soon as they have something to pass; what they leave is all
// the guests'.
func TestBandwidth_MembersComeFirst(t *testing.T) {
	for _, way := range []string{"out", "in"} {
		t.Run(way, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newTestLine(t)
				var guests, members passed
				for n := range 12 {
					c := &lineConn{id: peer.ID(fmt.Sprint("guest ", n)), at: "10.0.0.1"}
					for range 8 {
						go b.busy(c, way, &guests)
					}
				}
				const span = 10 * time.Second
				all := int64(lineRate * span / time.Second)
				time.Sleep(span)
				if got := guests.Swap(0); got < all*98/100 || got > all*102/100 {
					t.Errorf("by themselves guests pass %d bytes in %s, want %d", got, span, all)
				}
				member := &lineConn{id: "member", at: "10.0.0.1"}
				go b.busy(member, way, &members)
				time.Sleep(span)
				got, rest := members.Swap(0), guests.Swap(0)
				if got < all*3/4 {
					t.Errorf("a member passes %d bytes in %s beside guests, want three quarters of %d", got, span, all)
				}
				if rest < all/10 || got+rest > all*102/100 {
					t.Errorf("guests pass %d bytes beside a member's %d, want the rest of %d", rest, got, all)
				}
				member.full.Store(true)
				time.Sleep(span)
				if got := guests.Swap(0); got < all*98/100 {
					t.Errorf("after the member guests pass %d bytes in %s, want %d", got, span, all)
				}
			})
		})
	}
}

// Guests share by address, and those of one address by peer: many streams or names of one
// machine take no more than one.
func TestBandwidth_IsSharedByAddressAndPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestLine(t)
		want := map[string]int64{"many streams": 1, "one stream": 1, "elsewhere": 2}
		got := map[string]*passed{}
		for name := range want {
			got[name] = new(passed)
			c, streams := &lineConn{id: peer.ID(name), at: "10.0.0.1"}, 1
			switch name {
			case "many streams":
				streams = 16
			case "elsewhere":
				c.at = "10.0.0.2"
			}
			for range streams {
				go b.busy(c, "out", got[name])
			}
		}
		const seconds = 20
		time.Sleep(seconds * time.Second)
		for name, parts := range want {
			want := parts * seconds * lineRate / 4
			if got := got[name].Load(); got < want*95/100 || got > want*105/100 {
				t.Errorf("%s: %d bytes have passed, want %d", name, got, want)
			}
		}
	})
}

// Who says little does not wait for those that say much.
func TestBandwidth_SmallMessagesPassLargeOnes(t *testing.T) {
	for _, who := range []peer.ID{"member", "guest"} {
		t.Run(string(who), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newTestLine(t)
				for n := range 50 {
					go b.busy(&lineConn{id: peer.ID(fmt.Sprint("guest ", n)), at: "10.0.0.1"}, "out", new(passed))
				}
				time.Sleep(time.Minute)
				s := b.limit(&lineStream{c: &lineConn{id: who, at: "10.0.0.1"}})
				for range 5 {
					began := time.Now()
					if _, err := s.Write(make([]byte, 100)); err != nil {
						t.Fatal(err)
					}
					if took := time.Since(began); took > 2*lineTurn {
						t.Errorf("100 bytes wait %s beside 50 guests, want a turn or two of %s", took, lineTurn)
					}
					time.Sleep(time.Second)
				}
			})
		})
	}
}

// Turns of connections that have ended cost nobody anything.
func TestBandwidth_ForgetsThoseThatLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestLine(t)
		var before, after passed
		c := &lineConn{id: "guest", at: "10.0.0.1"}
		for range 500 {
			go b.busy(c, "out", &before)
		}
		time.Sleep(10 * time.Second)
		c.full.Store(true)
		c.closed.Store(true)
		before.Store(0)
		go b.busy(&lineConn{id: "another", at: "10.0.0.1"}, "out", &after)
		time.Sleep(time.Second)
		if got := after.Load(); got < lineRate*9/10 {
			t.Errorf("%d bytes have passed in a second after a guest has gone, want %d", got, lineRate)
		}
		if got := before.Load(); got < 499*limitChunk { // the stream refuses them
			t.Errorf("streams that ended are still waiting for a turn: %d bytes were let go", got)
		}
	})
}

// What is remembered of those that share a line is of those that wait, and few others.
func TestLine_RemembersFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(lineRate)
		stays := func() bool { return false }
		for n := range 3000 {
			who := []string{guestClass, fmt.Sprint("address ", n), fmt.Sprint("guest ", n)}
			if err := l.wait(t.Context(), who, 1+n%limitChunk, stays); err != nil {
				t.Fatal(err)
			}
		}
		if got := len(l.all.parts[guestClass].parts); got > 10 {
			t.Errorf("%d addresses are remembered", got)
		}
	})
}

// A testLine is one on which all waiting is for turns: the streams below take and give what
// one likes at once, as those of libp2p know no clock of a bubble.
type testLine struct{ *bandwidth }

func newTestLine(t *testing.T) testLine {
	b := newBandwidth(lineRate, func(id peer.ID) bool { return id == "member" })
	t.Cleanup(b.stop)
	return testLine{b}
}

type passed = atomic.Int64

// busy passes as much as it can, one way, until c takes no more.
func (l testLine) busy(c *lineConn, way string, n *passed) {
	s := l.limit(&lineStream{c: c})
	b, do := make([]byte, limitChunk), s.Write
	if way == "in" {
		do = s.Read
	}
	for !c.full.Load() {
		passed, err := do(b)
		n.Add(int64(passed))
		if err != nil {
			return
		}
	}
}

type lineConn struct {
	network.Conn
	id           peer.ID
	at           string // IP
	full, closed atomic.Bool
}

func (c *lineConn) RemotePeer() peer.ID { return c.id }
func (c *lineConn) IsClosed() bool      { return c.closed.Load() }
func (c *lineConn) RemoteMultiaddr() multiaddr.Multiaddr {
	return multiaddr.StringCast("/ip4/" + c.at + "/tcp/4001")
}

type lineStream struct {
	network.Stream
	c *lineConn
}

func (s *lineStream) Conn() network.Conn { return s.c }

func (s *lineStream) Read(p []byte) (int, error) { return s.Write(p) }

func (s *lineStream) Write(p []byte) (int, error) {
	if s.c.full.Load() {
		return len(p), network.ErrReset
	}
	return len(p), nil
}
