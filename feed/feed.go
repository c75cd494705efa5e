// Package feed lets anybody follow a cluster's pinset, and trust what it gets.
//
// A Publisher, on every full peer, tells what each log entry did to the pinset: the
// leader's goes round by gossip, and all keep the last of it for those that ask. A
// Follower applies that to a state of its own. It believes nobody but certified members:
// what they say is a statement that shows who signed it, so that it may come from anyone.
//
// Each batch names the digest of the pinset before it and after. A follower applies one
// only where it stands at the first, and stays only if it gets to the second; so at every
// index it reaches, it has what the members have. What it has missed it asks its
// neighbours for: the batches, or else the pinset in pages under a signed root.
//
// Nothing here waits for a follower: what strangers may ask is bounded in size, number
// and time.
package feed

import (
	"context"
	"net"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/p2p"
)

// Protocol names the streams on which one peer asks another about the feed.
const Protocol = "/pinfold/feed/1"

// Network is what the feed asks of a peer's cluster host. Over makes one of it.
type Network interface {
	ID() api.PeerID
	Addrs() []api.Multiaddr // each with its /p2p

	// Join, Read, Relay, Readers, Publish, Next and Leave are those of p2p.Feed.
	Join(valid func(from api.PeerID, data []byte) p2p.Verdict) error
	Read() error
	Relay() (stop func(), err error)
	Readers() int
	Publish(ctx context.Context, data []byte) error
	Next(ctx context.Context) ([]byte, error)
	Leave() error

	// Listen takes streams of Protocol; their RemoteAddr is the peer ID.
	Listen() (net.Listener, error)
	// Dial opens one to a connected peer.
	Dial(ctx context.Context, id api.PeerID) (net.Conn, error)
	Connect(ctx context.Context, info peer.AddrInfo) error
	Connected() []api.PeerID
	// Address tells where the connection with a peer comes from, "" where there is none:
	// what is the same for all peers of a machine.
	Address(id api.PeerID) string
	// Check returns nil if a connected peer is a certified member.
	Check(ctx context.Context, id api.PeerID) error
	// AskRenewals asks a connected peer how the cluster's key was renewed: see
	// p2p.Members.
	AskRenewals(ctx context.Context, id api.PeerID) error

	// Welcome gives a connected peer that is no member a place, if there is one; Room
	// tells how many there are, Guests who has one. Dismiss ends the connections with it.
	Welcome(id api.PeerID) bool
	Room() int
	Guests() []api.PeerID
	Dismiss(id api.PeerID)
}

// Over makes a cluster host a Network. The host takes part in the feed.
func Over(h *p2p.Host) Network { return overHost{h, h.Feed()} }

type gossip = *p2p.Feed

type overHost struct {
	*p2p.Host
	gossip
}

func (o overHost) Listen() (net.Listener, error) { return o.ListenFeed(Protocol) }

func (o overHost) Check(ctx context.Context, id api.PeerID) error { return o.CheckSpoken(ctx, id) }

func (o overHost) Dial(ctx context.Context, id api.PeerID) (net.Conn, error) {
	return o.Open(ctx, id, Protocol)
}

// A Peer is what a peer tells of itself when it says hello. Nothing of it but the ID, and
// where it said so from, is proven.
type Peer struct {
	ID      api.PeerID
	From    string // see Network.Address
	Name    string // at most 64 bytes, as is Version
	Version string
	Addrs   []api.Multiaddr // of its cluster host; without /p2p, at most 4, as the next
	Data    peer.AddrInfo   // its data host; the zero value where it has none
	Member  bool            // it has shown its certificate
}
