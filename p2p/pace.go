package p2p

import (
	"net"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	manet "github.com/multiformats/go-multiaddr/net"
	"golang.org/x/time/rate"
)

// What is read of strangers on a cluster host, and how many streams they open. Each
// protocol bounds what it does for them, but what comes before is work too: frames, names of
// protocols, pings, and messages of twenty bytes. A read counts readCost bytes more than it
// brings, and a write as much.
const (
	paceRate  = 1 << 20 // bytes a second, of one address
	paceBurst = 4 << 20 // bytes, of one address, at once
	paceAll   = 4       // times as much, of all
	readCost  = 128     // bytes
	readMost  = 1 << 10 // bytes at a time: those of an address take turns

	newStreamRate  = 640 // a second, of one address: pages alone are 512, see feed
	newStreamBurst = 2048

	// lookAgain is for how long one that may be read as it comes is not looked at again.
	lookAgain = 100 * time.Millisecond

	paceAddresses = 1024 // remembered before idle ones are forgotten
	paceMemory    = time.Minute
)

// paces are those of the strangers of a host, by address.
type paces struct {
	all *rate.Limiter

	mu   sync.Mutex
	by   map[string]*pace
	rest *pace // of those for whom there is no room
}

// A pace is that of an address.
type pace struct {
	bytes, streams *rate.Limiter
	last           time.Time
}

func newPaces() *paces {
	return &paces{all: rate.NewLimiter(paceAll*paceRate, paceAll*paceBurst), by: map[string]*pace{}, rest: newPace()}
}

func newPace() *pace {
	return &pace{bytes: rate.NewLimiter(paceRate, paceBurst), streams: rate.NewLimiter(newStreamRate, newStreamBurst)}
}

func (p *paces) of(address string, now time.Time) *pace {
	p.mu.Lock()
	defer p.mu.Unlock()
	one := p.by[address]
	if one == nil {
		if len(p.by) >= paceAddresses {
			for address, old := range p.by {
				if now.Sub(old.last) > paceMemory {
					delete(p.by, address)
				}
			}
		}
		if len(p.by) >= paceAddresses {
			return p.rest
		}
		one = newPace()
		p.by[address] = one
	}
	one.last = now
	return one
}

// pacedConn is a connection that is read no faster than its pace, unless free says so. It
// is read by one goroutine.
type pacedConn struct {
	net.Conn
	*pace
	all    *rate.Limiter
	free   func() bool
	isFree bool // when it was looked at last
	looked time.Time
	closed chan struct{}
	close  func()
}

// conn paces c.
func (p *paces) conn(c net.Conn, free func() bool) *pacedConn {
	address := c.RemoteAddr().String()
	if a, err := manet.FromNetAddr(c.RemoteAddr()); err == nil {
		address = addressKey(a)
	}
	paced := &pacedConn{Conn: c, pace: p.of(address, time.Now()), all: p.all, free: free, closed: make(chan struct{})}
	paced.close = sync.OnceFunc(func() { close(paced.closed) })
	return paced
}

// Read implements net.Conn. It waits after what it read: the other end is slowed by what
// the line holds.
func (c *pacedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b[:min(len(b), readMost)])
	now := time.Now()
	if err != nil || c.isFree && now.Sub(c.looked) < lookAgain {
		return n, err
	}
	wait := c.spend(n+readCost, now)
	if wait <= 0 {
		return n, nil
	}
	if c.isFree, c.looked = c.free(), now; c.isFree {
		return n, nil
	}
	turn := time.NewTimer(wait)
	defer turn.Stop()
	select {
	case <-turn.C:
	case <-c.closed:
	}
	return n, nil
}

// Write implements net.Conn. It does not wait, but what is read next does: for four bytes a
// stranger gets an answer.
func (c *pacedConn) Write(b []byte) (int, error) {
	if now := time.Now(); c.bytes.TokensAt(now) > -paceRate && c.all.TokensAt(now) > -paceAll*paceRate {
		c.spend(readCost, now)
	}
	return c.Conn.Write(b)
}

// spend takes n bytes from what there is, and tells for how long that is too much.
func (c *pacedConn) spend(n int, now time.Time) (wait time.Duration) {
	return max(c.bytes.ReserveN(now, n).DelayFrom(now), c.all.ReserveN(now, n).DelayFrom(now))
}

// Close implements net.Conn.
func (c *pacedConn) Close() error {
	c.close()
	return c.Conn.Close()
}

// A pacedMux refuses streams that are opened faster than the pace of its connection.
type pacedMux struct {
	network.MuxedConn
	c *pacedConn
}

// AcceptStream implements network.MuxedConn.
func (m pacedMux) AcceptStream() (network.MuxedStream, error) {
	for {
		s, err := m.MuxedConn.AcceptStream()
		if err != nil || m.c.streams.Allow() || m.c.free() {
			return s, err
		}
		if err := s.Reset(); err != nil {
			return nil, err
		}
	}
}
