package p2p

import (
	"net"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/transport"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/libp2p/go-libp2p/p2p/transport/tcpreuse"
	manet "github.com/multiformats/go-multiaddr/net"
)

const (
	arrivalsMost = 256             // of all addresses
	arrivalsEach = 64              // of one, half of what it may have of connections
	arrivalTime  = 2 * time.Second // after which one makes room for another
)

// arrivals are the connections that others make, until both ends have shown their keys and
// have agreed on how to go on. Whoever reaches the port can make any number, and say nothing.
type arrivals struct {
	mu sync.Mutex
	in map[*arrival]bool
}

// An arrival is the scope of a connection that came.
type arrival struct {
	network.ConnManagementScope
	conn    manet.Conn
	address string
	since   time.Time
	of      *arrivals
}

func newArrivals() *arrivals { return &arrivals{in: map[*arrival]bool{}} }

// tcp makes TCP transports whose listeners bound the arrivals.
func (as *arrivals) tcp(options ...tcp.Option) any {
	return func(u transport.Upgrader, rm network.ResourceManager, shared *tcpreuse.ConnMgr) (*tcp.TcpTransport, error) {
		return tcp.NewTCPTransport(arrivalsUpgrader{u, as}, rm, shared, options...)
	}
}

// arrivalsUpgrader makes listeners that bound the arrivals.
type arrivalsUpgrader struct {
	transport.Upgrader
	arrivals *arrivals
}

// GateMaListener implements transport.Upgrader.
func (u arrivalsUpgrader) GateMaListener(l manet.Listener) transport.GatedMaListener {
	return arrivalsListener{u.Upgrader.GateMaListener(l), u.arrivals}
}

type arrivalsListener struct {
	transport.GatedMaListener
	arrivals *arrivals
}

// Accept implements transport.GatedMaListener.
func (l arrivalsListener) Accept() (manet.Conn, network.ConnManagementScope, error) {
	for {
		conn, scope, err := l.GatedMaListener.Accept()
		if err != nil {
			return nil, nil, err
		}
		a := &arrival{scope, conn, addressKey(conn.RemoteMultiaddr()), time.Now(), l.arrivals}
		ok, lost := l.arrivals.enter(a)
		if lost != nil {
			_ = lost.conn.Close() // who waits for its first words sees that, and ends it
		}
		if ok {
			return conn, a, nil
		}
		scope.Done()
		_ = conn.Close() // nothing was said yet
	}
}

// enter counts one, if there is room. Where another has lost its place for that, it says
// which.
func (as *arrivals) enter(a *arrival) (ok bool, lost *arrival) {
	as.mu.Lock()
	defer as.mu.Unlock()
	places := make([]Place[*arrival], 0, len(as.in))
	for b := range as.in {
		places = append(places, Place[*arrival]{Of: b, Address: b.address, Since: b.since})
	}
	if lost, ok = MakesRoom(places, a.address, arrivalsMost, arrivalsEach, a.since.Add(-arrivalTime)); ok {
		delete(as.in, lost)
		as.in[a] = true
	}
	return ok, lost
}

func (as *arrivals) leave(a *arrival) {
	as.mu.Lock()
	defer as.mu.Unlock()
	delete(as.in, a)
}

// Done implements network.ConnManagementScope.
func (a *arrival) Done() {
	a.of.leave(a)
	a.ConnManagementScope.Done()
}

// PeerScope implements network.ConnManagementScope.
func (a *arrival) PeerScope() network.PeerScope {
	p := a.ConnManagementScope.PeerScope()
	if p == nil {
		return nil
	}
	return arrivedScope{p, a}
}

// arrivedScope is what a multiplexer is given of an arrival.
type arrivedScope struct {
	network.PeerScope
	arrival *arrival
}

// arrivalsMuxer is a multiplexer with which arrivals have come in.
type arrivalsMuxer struct{ network.Multiplexer }

// NewConn implements network.Multiplexer.
func (m arrivalsMuxer) NewConn(c net.Conn, isServer bool, scope network.PeerScope) (network.MuxedConn, error) {
	if s, ok := scope.(arrivedScope); ok {
		s.arrival.of.leave(s.arrival)
		scope = s.PeerScope
	}
	return m.Multiplexer.NewConn(c, isServer, scope)
}
