package p2p

import (
	"net"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
)

// A doorkeeper bounds how many visitors connect at once: libp2p's own bounds count
// members too, which strangers could then keep out. And it chooses how a connection is kept,
// and how fast it is read.
type doorkeeper struct {
	h     *Host
	paces *paces
}

var _ connmgr.ConnectionGater = (*doorkeeper)(nil)
var _ network.Multiplexer = (*doorkeeper)(nil)

// NewConn implements network.Multiplexer.
func (d *doorkeeper) NewConn(c net.Conn, isServer bool, scope network.PeerScope) (network.MuxedConn, error) {
	id := scope.Peer()
	// Where there are no bounds on resources, there is no ID either.
	member := id == "" || d.h.isMember(id) || d.h.isAdmitted(id)
	m := muxer()
	if d.h.follows || isServer && !member {
		m = strangersMuxer(strangersAlive)
	}
	if !isServer || member {
		return m.NewConn(c, isServer, scope)
	}
	free := func() bool { return d.h.isMember(id) || d.h.isAdmitted(id) || d.h.isVouched(id) }
	return d.paces.mux(m, c, scope, free)
}

func (*doorkeeper) InterceptPeerDial(peer.ID) bool                      { return true }
func (*doorkeeper) InterceptAddrDial(peer.ID, multiaddr.Multiaddr) bool { return true }
func (*doorkeeper) InterceptAccept(network.ConnMultiaddrs) bool         { return true }
func (*doorkeeper) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) {
	return true, 0
}

// InterceptSecured implements connmgr.ConnectionGater.
func (d *doorkeeper) InterceptSecured(dir network.Direction, id peer.ID, addrs network.ConnMultiaddrs) bool {
	h := d.h
	if dir != network.DirInbound || h.isMember(id) || h.guests.has(id) || h.isAdmitted(id) {
		return true
	}
	if h.guests.exiled(id, time.Now()) {
		return false
	}
	return h.letIn(addressKey(addrs.RemoteMultiaddr()), time.Now())
}

// letIn tells whether one more visitor may come from an address. Another may have to go for
// that: one that is idle, or beside the first few of its address that ask.
func (h *Host) letIn(address string, now time.Time) bool {
	all, asking := []place[network.Conn]{}, map[string]int{}
	conns := h.h.Network().Conns()
	slices.SortFunc(conns, func(a, b network.Conn) int { return a.Stat().Opened.Compare(b.Stat().Opened) })
	for _, c := range conns {
		if !h.isVisitor(c) {
			continue
		}
		at := addressKey(c.RemoteMultiaddr())
		kept := asking[at] < visitorsKept && h.asks(c)
		if kept {
			asking[at]++
		}
		all = append(all, place[network.Conn]{of: c, address: at, since: c.Stat().Opened, kept: kept})
	}
	c, ok := makesRoom(all, address, maxVisitors, visitorsEach, now.Add(-visitorTime))
	if c != nil {
		h.log.Debug("a visitor makes room for another", "peer", c.RemotePeer())
		_ = c.Close() // its end has nothing to tell
	}
	return ok
}

// Vouch has the connections with a client be read as fast as they come, for as long as
// there are any: it has shown more than that it knows the swarm's secret.
func (h *Host) Vouch(id peer.ID) {
	if h.h.Network().Connectedness(id) != network.Connected {
		return
	}
	h.openMu.Lock()
	defer h.openMu.Unlock()
	h.vouched[id] = true
}

func (h *Host) isVouched(id peer.ID) bool {
	h.openMu.Lock()
	defer h.openMu.Unlock()
	return h.vouched[id]
}
