package embedded

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/ipfs/boxo/bitswap/client"
	"github.com/ipfs/boxo/bitswap/message"
	bsnetwork "github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/boxo/bitswap/server"
	blocks "github.com/ipfs/go-block-format"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pinfold-cluster/pinfold/api"
)

// Messages with blocks, in bytes. Whoever reads slowly has a sender of its server wait with
// each: members have theirs apart, and each guest has its own, so that it holds up itself.
const (
	memberMessage     = 1 << 20
	memberOutstanding = 16 << 20 // on the way to one peer: lines between members may be long
	memberSenders     = 16
	memberWants       = 16384

	guestMessage     = 256 << 10
	guestOutstanding = 1 << 20
	guestSenders     = 8    // of one guest: for four messages with blocks, and for such without
	guestWants       = 2048 // who looks for a thousand blocks while ten pins fetch has 1,320

	usualBlock = 256 << 10 // bytes; what files are cut into unless told otherwise

	goneTick = time.Second // of forgetting who has gone
)

// A trader is bitswap: it asks others for blocks and gives them. It is boxo's but for its
// two servers.
type trader struct {
	*client.Client
	n               *Node
	net             bsnetwork.BitSwapNetwork
	members, guests *server.Server
	toGuests        *guestsNetwork
	hearsay         *hearsay

	serving sync.Mutex // guests

	mu    sync.Mutex
	heard map[peer.ID]*account // those of whom messages came
}

// An account is what there is to do, and to pay, for one of whom messages came.
type account struct {
	messages int           // being worked at
	owes     time.Duration // for work that took longer than its entries cost
}

// newTrader begins to exchange blocks over the data host.
func newTrader(n *Node) *trader {
	n.asked = bsnetwork.NewConnectEventManager()
	ctx := context.Background()
	t := &trader{n: n, heard: map[peer.ID]*account{}}
	t.net = bsnet.NewFromIpfsHost(newSieve(n, t.owes), bsnet.WithConnectEventManager(n.asked))
	t.toGuests = &guestsNetwork{BitSwapNetwork: t.net, sending: map[peer.ID]int{}}
	newServer := func(net bsnetwork.BitSwapNetwork, message, outstanding, senders int, wants uint) *server.Server {
		return server.New(ctx, net, n.local,
			server.WithPeerBlockRequestFilter(n.mayFetch),
			server.WithTargetMessageSize(message),
			server.MaxOutstandingBytesPerPeer(outstanding),
			server.TaskWorkerCount(senders),
			server.EngineTaskWorkerCount(16),
			server.EngineBlockstoreWorkerCount(16),
			server.MaxQueuedWantlistEntriesPerPeer(wants),
		)
	}
	t.members = newServer(t.net, memberMessage, memberOutstanding, memberSenders, memberWants)
	t.guests = newServer(t.toGuests, guestMessage, guestOutstanding, guestSenders*n.guests(), guestWants)
	t.hearsay = newHearsay(t)
	t.Client = client.New(ctx, watched{t.net, t.hearsay}, discovery{n}, n.local,
		client.ProviderSearchDelay(searchDelay),
		client.RebroadcastDelay(rebroadcast),
		client.WithoutDuplicatedBlockStats(),
		client.WithBlockReceivedNotifier(t),
		client.WithDontHaveTimeoutConfig(n.o.answerTimes()),
	)
	t.net.Start(t)
	go t.run()
	return t
}

// run forgets who has gone, until the node closes.
func (t *trader) run() {
	tick := time.NewTicker(goneTick)
	defer tick.Stop()
	for {
		select {
		case <-t.n.closing.Done():
			return
		case <-tick.C:
			t.forgetGone()
		}
	}
}

// forgetGone has the servers forget what those want that have gone. They were told when
// that was, but note what a message says once they have looked for it: who hangs up meanwhile
// would be remembered for ever.
func (t *trader) forgetGone() {
	for _, p := range t.gone() {
		if !t.n.connected(p) { // it may have come again
			t.members.PeerDisconnected(p)
			t.guests.PeerDisconnected(p)
		}
	}
}

// gone takes those out of whom messages came and who have gone.
func (t *trader) gone() (all []peer.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for p, a := range t.heard {
		if a.messages == 0 && !t.n.connected(p) {
			delete(t.heard, p)
			all = append(all, p)
		}
	}
	return all
}

func (n *Node) connected(p peer.ID) bool {
	return n.host.Network().Connectedness(p) == network.Connected
}

// serve has a server work at a message: of guests at one at a time, so that none pays for
// what another has it do.
func (t *trader) serve(ctx context.Context, from peer.ID, m message.BitSwapMessage) {
	if t.n.isMember(from) {
		t.members.ReceiveMessage(ctx, from, m)
		return
	}
	t.serving.Lock()
	began := time.Now()
	t.guests.ReceiveMessage(ctx, from, m)
	took := time.Since(began)
	t.serving.Unlock()
	late := took - guestPartCost - time.Duration(len(m.Wantlist()))*guestEntryCost
	t.mu.Lock()
	defer t.mu.Unlock()
	t.heard[from].owes += max(0, min(late, guestLateCost))
}

// owes is what a peer has not paid for yet. It pays now.
func (t *trader) owes(p peer.ID) (work time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a := t.heard[p]; a != nil {
		work, a.owes = a.owes, 0
	}
	return work
}

// hears counts a message of p as one that is being worked at, until done is called.
func (t *trader) hears(p peer.ID) (done func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.heard[p]
	if a == nil {
		a = &account{}
		t.heard[p] = a
	}
	a.messages++
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		a.messages--
	}
}

// answerTimes say after how long without an answer another peer is asked for a block. At a
// bounded rate an answer comes beside all else that was asked for: it has twice that time.
func (o Options) answerTimes() *client.DontHaveTimeoutConfig {
	c := client.DefaultDontHaveTimeoutConfig()
	if o.FetchRate > 0 {
		behind := 2 * o.lineTime()
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
	t.hearsay.close()
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
	defer t.hears(from)()
	t.serve(ctx, from, m)
	t.hearsay.receive(ctx, from, m)
}

func (t *trader) ReceiveError(err error) { t.n.log.Debug("bitswap", "err", err) }

// PeerConnected tells both servers: it may become known as a member only later.
func (t *trader) PeerConnected(p peer.ID) {
	t.hearsay.connected(p)
	t.members.PeerConnected(p)
	t.guests.PeerConnected(p)
}

func (t *trader) PeerDisconnected(p peer.ID) {
	t.hearsay.disconnected(p)
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

// guestsNetwork sends no more messages to one guest at a time than it has senders. boxo
// counts the bytes that are on the way, of which many messages can have few.
type guestsNetwork struct {
	bsnetwork.BitSwapNetwork
	mu      sync.Mutex
	sending map[peer.ID]int
}

// SendMessage implements network.BitSwapNetwork. What the guest takes too slowly is lost, and it may ask again.
func (g *guestsNetwork) SendMessage(ctx context.Context, p peer.ID, m message.BitSwapMessage) error {
	g.mu.Lock()
	if g.sending[p] == guestSenders {
		g.mu.Unlock()
		return api.Unavailable.Errorf("%s has not taken %d messages yet", p, guestSenders)
	}
	g.sending[p]++
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.sending[p]--; g.sending[p] == 0 {
			delete(g.sending, p)
		}
	}()
	return g.BitSwapNetwork.SendMessage(ctx, p, m)
}

// underWay is how many messages are being sent to a guest.
func (g *guestsNetwork) underWay(p peer.ID) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.sending[p]
}
