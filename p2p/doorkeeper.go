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
// that: one that is idle, or none of the first of those that ask.
func (h *Host) letIn(address string, now time.Time) bool {
	var all []Place[network.Conn]
	for _, c := range h.h.Network().Conns() {
		if h.isVisitor(c) {
			all = append(all, Place[network.Conn]{Of: c, Address: addressKey(c.RemoteMultiaddr()), Since: c.Stat().Opened})
		}
	}
	keep(all, h.asks)
	c, ok := MakesRoom(all, address, maxVisitors, visitorsEach, now.Add(-visitorTime))
	if c != nil {
		h.log.Debug("a visitor makes room for another", "peer", c.RemotePeer())
		_ = c.Close() // its end has nothing to tell
	}
	return ok
}

// keep has visitors that ask keep their places: of each address the first that came, then of
// each the second, and so on.
func keep[T any](visitors []Place[T], asks func(T) bool) {
	slices.SortFunc(visitors, func(a, b Place[T]) int { return a.Since.Compare(b.Since) })
	n := map[string]int{}
	turns := make([][]*Place[T], visitorsKeptEach)
	for i := range visitors {
		if v := &visitors[i]; n[v.Address] < visitorsKeptEach && asks(v.Of) {
			turns[n[v.Address]] = append(turns[n[v.Address]], v)
			n[v.Address]++
		}
	}
	asking := slices.Concat(turns...)
	for _, v := range asking[:min(len(asking), visitorsKept)] {
		v.Kept = true
	}
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
