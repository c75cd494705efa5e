package p2p

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	manet "github.com/multiformats/go-multiaddr/net"
	"golang.org/x/time/rate"
)

// What is read of strangers, new streams among it. Each protocol bounds what it does for them,
// but what comes before is work too: frames, names of protocols, pings, and messages of twenty
// bytes. So a read counts more bytes than it brings, and a write as many more.
type paceLimits struct {
	rate, burst int // bytes a second, and at once, of one address
	call        int // bytes that a read or a write counts,
	part        int // beside one of so many that are read
	most        int // bytes read at a time: those of an address take turns
	stream      int // bytes that a new stream counts
}

var (
	// On the cluster host they have little to say. Streams may be more than the 512 a second
	// that there are pages for, see feed.
	clusterPace = paceLimits{rate: 1 << 20, burst: 4 << 20, call: 128, part: 1, most: 1 << 10, stream: 1 << 10}
	// On the data host they may send blocks, as fast as 1 Gbit/s in frames of 64 KiB.
	dataPace = paceLimits{rate: 16 << 20, burst: 64 << 20, call: 1 << 10, part: 16, most: 64 << 10, stream: 16 << 10}
)

const (
	paceAll = 4 // times as much for all as for one address

	// lookAgain is for how long what was found of a connection counts.
	lookAgain = 100 * time.Millisecond

	paceAddresses = 1024 // remembered before idle ones are forgotten
)

// paces are those of the strangers of a host, by address.
type paces struct {
	paceLimits
	all *rate.Limiter

	mu   sync.Mutex
	by   map[string]*rate.Limiter
	rest *rate.Limiter // of those for whom there is no room
	last time.Time     // when something was spent
}

func newPaces(l paceLimits) *paces {
	p := &paces{paceLimits: l, all: rate.NewLimiter(rate.Limit(paceAll*l.rate), paceAll*l.burst), by: map[string]*rate.Limiter{}}
	p.rest = p.one()
	return p
}

// one is the pace of an address: bytes to be read.
func (p *paces) one() *rate.Limiter { return rate.NewLimiter(rate.Limit(p.rate), p.burst) }

func (p *paces) of(address string, now time.Time) *rate.Limiter {
	p.mu.Lock()
	defer p.mu.Unlock()
	one := p.by[address]
	if one == nil {
		if len(p.by) >= paceAddresses {
			for address, old := range p.by {
				if old.TokensAt(now) >= float64(p.burst) { // a new one has as much
					delete(p.by, address)
				}
			}
		}
		if len(p.by) >= paceAddresses {
			return p.rest
		}
		one = p.one()
		p.by[address] = one
	}
	return one
}

// pacedConn is a connection that is read no faster than its pace, unless free says so: then
// it takes nothing from others of its address either. It is read by one goroutine.
type pacedConn struct {
	net.Conn
	bytes  *rate.Limiter // those of its address
	of     *paces
	free   func() bool
	isFree atomic.Bool // when it was looked at last
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
	paced := &pacedConn{Conn: c, bytes: p.of(address, time.Now()), of: p, free: free, closed: make(chan struct{})}
	paced.close = sync.OnceFunc(func() { close(paced.closed) })
	return paced
}

// Read implements net.Conn. It waits after what it read: the other end is slowed by what
// the line holds.
func (c *pacedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b[:min(len(b), c.of.most)])
	now := time.Now()
	if err != nil || c.isFree.Load() && c.look(now) {
		return n, err
	}
	wait := c.spend(c.of.call+n/c.of.part, now)
	if wait <= 0 || c.look(now) {
		return n, nil
	}
	turn := time.NewTimer(wait)
	defer turn.Stop()
	select {
	case <-turn.C:
		return n, nil
	case <-c.closed:
		return 0, net.ErrClosed
	}
}

// look tells whether the connection may be read as it comes.
func (c *pacedConn) look(now time.Time) bool {
	if now.Sub(c.looked) >= lookAgain {
		c.isFree.Store(c.free())
		c.looked = now
	}
	return c.isFree.Load()
}

// Write implements net.Conn. It does not wait, but what is read next does: for four bytes a
// stranger gets an answer.
func (c *pacedConn) Write(b []byte) (int, error) {
	if now := time.Now(); !c.isFree.Load() && c.bytes.TokensAt(now) > -float64(c.of.rate) && c.of.all.TokensAt(now) > -paceAll*float64(c.of.rate) {
		c.spend(c.of.call, now)
	}
	return c.Conn.Write(b)
}

// spend takes n bytes from what there is, and tells for how long that is too much.
func (c *pacedConn) spend(n int, now time.Time) (wait time.Duration) {
	p := c.of
	p.mu.Lock()
	defer p.mu.Unlock()
	// A Limiter that is told an older time, by who waited here, counts what is since then twice.
	if now.Before(p.last) {
		now = p.last
	}
	p.last = now
	return max(c.bytes.ReserveN(now, n).DelayFrom(now), p.all.ReserveN(now, n).DelayFrom(now))
}

// Close implements net.Conn.
func (c *pacedConn) Close() error {
	c.close()
	return c.Conn.Close()
}

// mux makes c, of a stranger, a connection of m at its pace.
func (p *paces) mux(m network.Multiplexer, c net.Conn, scope network.PeerScope, free func() bool) (network.MuxedConn, error) {
	paced := p.conn(c, free)
	conn, err := m.NewConn(paced, true, scope)
	return pacedMux{conn, paced}, err
}

// A pacedMux has each new stream count as some bytes that were read. None is refused: it
// may be an honest one's, who shares the address with others.
type pacedMux struct {
	network.MuxedConn
	c *pacedConn
}

// AcceptStream implements network.MuxedConn.
func (m pacedMux) AcceptStream() (network.MuxedStream, error) {
	s, err := m.MuxedConn.AcceptStream()
	if err == nil && !m.c.isFree.Load() {
		m.c.spend(m.c.of.stream, time.Now())
	}
	return s, err
}
