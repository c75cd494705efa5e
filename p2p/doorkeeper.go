package p2p

import (
	"net"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/identify"
	"github.com/multiformats/go-multiaddr"
)

// A doorkeeper bounds how many visitors connect at once: libp2p's own bounds count
// members too, which strangers could then keep out. And it chooses how a connection is kept,
// and how fast it is read.
type doorkeeper struct {
	openDoor
	h     *Host
	paces *paces
}

// openDoor is a ConnectionGater that says no to nobody.
type openDoor struct{}

func (openDoor) InterceptPeerDial(peer.ID) bool                      { return true }
func (openDoor) InterceptAddrDial(peer.ID, multiaddr.Multiaddr) bool { return true }
func (openDoor) InterceptAccept(network.ConnMultiaddrs) bool         { return true }
func (openDoor) InterceptSecured(network.Direction, peer.ID, network.ConnMultiaddrs) bool {
	return true
}
func (openDoor) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }

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

// InterceptSecured implements connmgr.ConnectionGater.
func (d *doorkeeper) InterceptSecured(dir network.Direction, id peer.ID, _ network.ConnMultiaddrs) bool {
	return dir != network.DirInbound || d.h.isMember(id) || d.h.isAdmitted(id) || !d.h.guests.exiled(id, time.Now())
}

// InterceptUpgraded implements connmgr.ConnectionGater: a connection is counted from here on, and
// is an arrival before.
func (d *doorkeeper) InterceptUpgraded(c network.Conn) (bool, control.DisconnectReason) {
	h, id := d.h, c.RemotePeer()
	if c.Stat().Direction != network.DirInbound || h.isMember(id) || h.isAdmitted(id) {
		return true, 0
	}
	few(h.h.Network(), id, strangerConns-1)
	if h.guests.has(id) {
		return true, 0
	}
	return letIn(h.places(), addressKey(c.RemoteMultiaddr()), maxVisitors, visitorsEach, time.Now()), 0
}

// places are the connections of visitors. Some of those that ask keep theirs.
func (h *Host) places() []Place[network.Conn] {
	all := places(h.h.Network(), h.isVisitor)
	keep(all, h.asks, visitorsKept, visitorsKeptEach)
	return all
}

// few leaves a stranger so many of the connections that it has made: first those go that it does
// not use, and of these the oldest.
func few(n network.Network, id peer.ID, most int) {
	var idle, used []network.Conn
	for _, c := range n.ConnsToPeer(id) {
		switch {
		case c.Stat().Direction != network.DirInbound:
		case slices.ContainsFunc(c.GetStreams(), inUse):
			used = append(used, c)
		default:
			idle = append(idle, c)
		}
	}
	oldest := func(a, b network.Conn) int { return a.Stat().Opened.Compare(b.Stat().Opened) }
	slices.SortFunc(idle, oldest)
	slices.SortFunc(used, oldest)
	made := append(idle, used...)
	for _, c := range made[:max(0, len(made)-most)] {
		_ = c.Close() // its end has nothing to tell
	}
}

// inUse tells whether a stream is more than what libp2p opens on each connection.
func inUse(s network.Stream) bool { return s.Protocol() != "" && s.Protocol() != identify.ID }

// places are the connections that count.
func places(n network.Network, counts func(network.Conn) bool) (all []Place[network.Conn]) {
	for _, c := range n.Conns() {
		if counts(c) {
			all = append(all, Place[network.Conn]{Of: c, Address: addressKey(c.RemoteMultiaddr()), Since: c.Stat().Opened})
		}
	}
	return all
}

// letIn tells whether one more stranger may come from an address, where most are there. Others
// may have to go for that, several where many came at the same moment: see MakesRoom.
func letIn(all []Place[network.Conn], address string, most, each int, now time.Time) bool {
	for {
		c, ok := MakesRoom(all, address, most, each, now.Add(-visitorTime))
		if c == nil {
			return ok
		}
		_ = c.Close() // its end has nothing to tell
		all = slices.DeleteFunc(all, func(p Place[network.Conn]) bool { return p.Of == c })
	}
}

// keep has those that ask keep their places: of each address the first that came, then of
// each the second, and so on.
func keep[T any](all []Place[T], asks func(T) bool, most, each int) {
	slices.SortFunc(all, func(a, b Place[T]) int { return a.Since.Compare(b.Since) })
	n := map[string]int{}
	turns := make([][]*Place[T], each)
	for i := range all {
		if v := &all[i]; n[v.Address] < each && asks(v.Of) {
			turns[n[v.Address]] = append(turns[n[v.Address]], v)
			n[v.Address]++
		}
	}
	asking := slices.Concat(turns...)
	for _, v := range asking[:min(len(asking), most)] {
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
