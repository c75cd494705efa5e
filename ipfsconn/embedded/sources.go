package embedded

import (
	"context"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
)

// sourceTime is how long the origins of a pin may stay connected after an attempt to
// fetch it: until the next one, where that comes soon.
const sourceTime = time.Minute

// A privateHost lets in members only, and the sources that it is told of; p2p.DataHost
// is one. On another host everybody is let in and given blocks.
type privateHost interface {
	// Expect lets a peer in until Forget has been called as often.
	Expect(id peer.ID)
	Forget(id peer.ID)
	// Expects tells whether it is let in by Expect.
	Expects(id peer.ID) bool
	// MayFetch tells whether a peer that was let in is to be given blocks.
	MayFetch(id peer.ID) bool
	// IsMember tells whether it is one of the cluster's.
	IsMember(id peer.ID) bool
	// Address is the IP address of a connected peer, or what of it one customer of a network has.
	Address(id peer.ID) string
	// Spend waits until so much may be worked for a peer, beside the reading. The error is
	// ctx's, or says that it has gone.
	Spend(ctx context.Context, id peer.ID, work time.Duration) error
}

// expect lets the origins of a pin in, which are strangers: their blocks come over
// streams that they open.
func (n *Node) expect(origins []peer.AddrInfo) {
	if h, ok := n.host.(privateHost); ok {
		for _, o := range origins {
			h.Expect(o.ID)
		}
	}
}

// forget ends, after a while, what expect began.
func (n *Node) forget(origins []peer.AddrInfo) {
	h, ok := n.host.(privateHost)
	if !ok || len(origins) == 0 {
		return
	}
	time.AfterFunc(sourceTime, func() {
		for _, o := range origins {
			h.Forget(o.ID)
		}
	})
}

// isMember tells whether the host is one of the cluster's; all are where nobody asks.
func (n *Node) isMember(id peer.ID) bool {
	h, ok := n.host.(privateHost)
	return !ok || h.IsMember(id)
}

// mayCall tells whether a peer that has gone is called where it said that it is.
func (n *Node) mayCall(id peer.ID) bool {
	h, ok := n.host.(privateHost)
	return !ok || h.IsMember(id) || h.Expects(id)
}

// address is Address of the host.
func (n *Node) address(id peer.ID) string {
	if h, ok := n.host.(privateHost); ok {
		return h.Address(id)
	}
	return ""
}

// spend is Spend of the host.
func (n *Node) spend(ctx context.Context, id peer.ID, work time.Duration) error {
	if h, ok := n.host.(privateHost); ok {
		return h.Spend(ctx, id, work)
	}
	return nil
}

// mayFetch keeps what the node has from those that only give.
func (n *Node) mayFetch(id peer.ID, _ cid.Cid) bool {
	h, ok := n.host.(privateHost)
	return !ok || h.MayFetch(id)
}
