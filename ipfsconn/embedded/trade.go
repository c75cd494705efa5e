package embedded

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/ipfs/boxo/bitswap/client"
	"github.com/ipfs/boxo/bitswap/message"
	bsnetwork "github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/boxo/bitswap/server"
	blocks "github.com/ipfs/go-block-format"
	"github.com/libp2p/go-libp2p/core/peer"
)

// Messages with blocks, in bytes. Whoever reads slowly has a sender of its server wait with
// each: members have theirs apart, so that guests hold up one another at most.
const (
	memberMessage     = 1 << 20
	memberOutstanding = 16 << 20 // on the way to one peer: lines between members may be long
	memberSenders     = 16

	guestMessage     = 256 << 10
	guestOutstanding = 1 << 20
	guestSenders     = (guestOutstanding/guestMessage + 1) * maxGuests
	maxGuests        = 128 // that p2p lets be connected with a data host

	usualBlock = 256 << 10 // bytes; what files are cut into unless told otherwise
)

// A trader is bitswap: it asks others for blocks and gives them. It is boxo's but for its
// two servers.
type trader struct {
	*client.Client
	n               *Node
	net             bsnetwork.BitSwapNetwork
	members, guests *server.Server
}

// newTrader begins to exchange blocks over the data host.
func newTrader(n *Node) *trader {
	n.asked = bsnetwork.NewConnectEventManager()
	ctx := context.Background()
	t := &trader{n: n, net: bsnet.NewFromIpfsHost(n.host, bsnet.WithConnectEventManager(n.asked))}
	serve := func(message, outstanding, senders int) *server.Server {
		return server.New(ctx, t.net, n.local,
			server.WithPeerBlockRequestFilter(n.mayFetch),
			server.WithTargetMessageSize(message),
			server.MaxOutstandingBytesPerPeer(outstanding),
			server.TaskWorkerCount(senders),
			server.EngineTaskWorkerCount(16),
			server.EngineBlockstoreWorkerCount(16),
			server.MaxQueuedWantlistEntriesPerPeer(16384),
		)
	}
	t.members = serve(memberMessage, memberOutstanding, memberSenders)
	t.guests = serve(guestMessage, guestOutstanding, guestSenders)
	t.Client = client.New(ctx, t.net, discovery{n}, n.local,
		client.ProviderSearchDelay(searchDelay),
		client.RebroadcastDelay(rebroadcast),
		client.WithoutDuplicatedBlockStats(),
		client.WithBlockReceivedNotifier(t),
		client.WithDontHaveTimeoutConfig(n.o.answerTimes()),
	)
	t.net.Start(t)
	return t
}

// answerTimes say after how long without an answer another peer is asked for a block. At a
// bounded rate an answer comes behind all else that was asked for.
func (o Options) answerTimes() *client.DontHaveTimeoutConfig {
	c := client.DefaultDontHaveTimeoutConfig()
	if o.FetchRate > 0 {
		behind := time.Duration(float64(o.FetchConcurrency*usualBlock) / float64(o.FetchRate) * float64(time.Second))
		c.MinTimeout += behind
		c.DontHaveTimeout += behind
		c.MaxTimeout += behind
	}
	return c
}

// serverOf is the one that a peer is given blocks by.
func (t *trader) serverOf(p peer.ID) *server.Server {
	if t.n.isMember(p) {
		return t.members
	}
	return t.guests
}

// Close ends the exchange. Guests are cut off: one that reads slowly would be waited for.
func (t *trader) Close() error {
	t.net.Stop()
	var errs []error
	for _, p := range t.n.host.Network().Peers() {
		if !t.n.isMember(p) {
			errs = append(errs, t.n.host.Network().ClosePeer(p))
		}
	}
	errs = append(errs, t.Client.Close())
	t.guests.Close()
	t.members.Close()
	return errors.Join(errs...)
}

// NotifyNewBlocks tells those that want them that blocks are here now.
func (t *trader) NotifyNewBlocks(ctx context.Context, bs ...blocks.Block) error {
	return errors.Join(t.Client.NotifyNewBlocks(ctx, bs...), t.members.NotifyNewBlocks(ctx, bs...), t.guests.NotifyNewBlocks(ctx, bs...))
}

// ReceivedBlocks implements client.BlockReceivedNotifier.
func (t *trader) ReceivedBlocks(from peer.ID, bs []blocks.Block) {
	t.serverOf(from).ReceivedBlocks(from, bs)
}

// ReceiveMessage implements network.Receiver, as the next ones do.
func (t *trader) ReceiveMessage(ctx context.Context, from peer.ID, m message.BitSwapMessage) {
	t.Client.ReceiveMessage(ctx, from, m)
	t.serverOf(from).ReceiveMessage(ctx, from, m)
}

func (t *trader) ReceiveError(err error) { t.n.log.Debug("bitswap", "err", err) }

// PeerConnected tells both servers: it may become known as a member only later.
func (t *trader) PeerConnected(p peer.ID) {
	t.Client.PeerConnected(p)
	t.members.PeerConnected(p)
	t.guests.PeerConnected(p)
}

func (t *trader) PeerDisconnected(p peer.ID) {
	t.Client.PeerDisconnected(p)
	t.members.PeerDisconnected(p)
	t.guests.PeerDisconnected(p)
}

// given is what both servers have sent, and to whom they owe something.
func (t *trader) given() (sum server.Stat, _ error) {
	m, err := t.members.Stat()
	g, guestsErr := t.guests.Stat()
	sum.BlocksSent, sum.DataSent = m.BlocksSent+g.BlocksSent, m.DataSent+g.DataSent
	sum.Peers = slices.Concat(m.Peers, g.Peers)
	slices.Sort(sum.Peers)
	sum.Peers = slices.Compact(sum.Peers)
	return sum, errors.Join(err, guestsErr)
}
