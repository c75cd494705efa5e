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
	guestSenders     = 2    // of one guest: one makes a message while the other sends one
	guestReads       = 16   // of blocks, of all guests
	guestWants       = 2048 // who looks for a thousand blocks while ten pins fetch has 1,320

	usualBlock = 256 << 10 // bytes; what files are cut into unless told otherwise

	goneTick = time.Second // of forgetting who has gone
)

// A trader is bitswap: it asks others for blocks and gives them. It is boxo's but for its
// servers: members have one, and each guest one of its own.
type trader struct {
	*client.Client
	n       *Node
	net     bsnetwork.BitSwapNetwork
	members *server.Server
	hearsay *hearsay
	blocks  guestBlocks // for guests
	room    *room       // for large messages of guests, and answers to them

	serving sync.Mutex     // guests
	works   sync.WaitGroup // beside: run, and what it began

	mu    sync.Mutex
	heard map[peer.ID]*account // those of whom messages came
	past  server.Stat          // what guests were given that have gone
}

// An account is what there is to do, and to pay, for one of whom messages came.
type account struct {
	messages int           // being worked at
	owes     time.Duration // for work that its entries did not pay for
	server   *guestServer  // nil for a member
}

// newTrader begins to exchange blocks over the data host.
func newTrader(n *Node) *trader {
	n.asked = bsnetwork.NewConnectEventManager()
	ctx := context.Background()
	t := &trader{n: n, blocks: guestBlocks{n.local, make(chan struct{}, guestReads)}, heard: map[peer.ID]*account{}}
	sieve := newSieve(n, t.owes)
	t.room = sieve.room
	t.net = bsnet.NewFromIpfsHost(sieve, bsnet.WithConnectEventManager(n.asked))
	t.members = server.New(ctx, t.net, n.local,
		server.WithPeerBlockRequestFilter(n.mayFetch),
		server.WithTargetMessageSize(memberMessage),
		server.MaxOutstandingBytesPerPeer(memberOutstanding),
		server.TaskWorkerCount(memberSenders),
		server.EngineTaskWorkerCount(16),
		server.EngineBlockstoreWorkerCount(16),
		server.MaxQueuedWantlistEntriesPerPeer(memberWants),
	)
	t.hearsay = newHearsay(t)
	t.Client = client.New(ctx, watched{t.net, t.hearsay}, discovery{n}, n.local,
		client.ProviderSearchDelay(searchDelay),
		client.RebroadcastDelay(rebroadcast),
		client.WithoutDuplicatedBlockStats(),
		client.WithBlockReceivedNotifier(t),
		client.WithDontHaveTimeoutConfig(n.o.answerTimes()),
	)
	t.net.Start(t)
	t.works.Go(t.run)
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

// forgetGone has nothing remembered of who has gone. The servers were told when that was, but
// note what a message says once they have looked for it: who hangs up meanwhile would be
// remembered for ever.
func (t *trader) forgetGone() {
	for p, a := range t.gone() {
		if a.server != nil {
			t.works.Go(a.server.close)
		}
		if !t.n.connected(p) { // it may have come again
			t.members.PeerDisconnected(p)
		}
	}
}

// gone takes those out of whom messages came and who have gone.
func (t *trader) gone() map[peer.ID]*account {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := map[peer.ID]*account{}
	for p, a := range t.heard {
		if a.messages > 0 || t.n.connected(p) {
			continue
		}
		delete(t.heard, p)
		all[p] = a
		if a.server != nil {
			s, _ := a.server.Stat() // which has no error
			t.past.BlocksSent, t.past.DataSent = t.past.BlocksSent+s.BlocksSent, t.past.DataSent+s.DataSent
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
	if s := t.serverFor(from); s != nil {
		s.ReceiveMessage(ctx, from, m)
	}
	took := time.Since(began)
	t.serving.Unlock()
	late := took - guestPartCost - time.Duration(len(m.Wantlist()))*guestEntryCost
	t.charge(from, max(0, min(late, guestLateCost)))
}

// charge has a peer pay for work, unless it has gone.
func (t *trader) charge(p peer.ID, work time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a := t.heard[p]; a != nil {
		a.owes += work
	}
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

// serverFor is that of a guest of whom there is a message; nil once the node closes.
func (t *trader) serverFor(p peer.ID) *guestServer {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.heard[p]
	if a.server == nil && t.n.closing.Err() == nil {
		to := &oneStream{BitSwapNetwork: t.net, of: t}
		a.server = &guestServer{to: to, Server: server.New(context.Background(), to, t.blocks,
			server.WithPeerBlockRequestFilter(t.n.mayFetch),
			server.WithTargetMessageSize(guestMessage),
			server.MaxOutstandingBytesPerPeer(guestOutstanding),
			server.TaskWorkerCount(guestSenders),
			server.EngineTaskWorkerCount(1),
			server.EngineBlockstoreWorkerCount(4),
			server.MaxQueuedWantlistEntriesPerPeer(guestWants),
		)}
		a.server.PeerConnected(p)
	}
	return a.server
}

// serverOf is the one that a peer is given blocks by, nil where that is none.
func (t *trader) serverOf(p peer.ID) *server.Server {
	if t.n.isMember(p) {
		return t.members
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if a := t.heard[p]; a != nil && a.server != nil {
		return a.server.Server
	}
	return nil
}

// servers are all that there are, and what those have given that are not any more.
func (t *trader) servers() (all []*server.Server, past server.Stat) {
	t.mu.Lock()
	defer t.mu.Unlock()
	all = append(all, t.members)
	for _, a := range t.heard {
		if a.server != nil {
			all = append(all, a.server.Server)
		}
	}
	return all, t.past
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
	t.works.Wait()
	all, _ := t.servers()
	for _, s := range all {
		s.Close()
	}
	return errors.Join(errs...)
}

// NotifyNewBlocks tells those that want them that blocks are here now.
func (t *trader) NotifyNewBlocks(ctx context.Context, bs ...blocks.Block) error {
	err := t.Client.NotifyNewBlocks(ctx, bs...)
	all, _ := t.servers()
	for _, s := range all {
		err = errors.Join(err, s.NotifyNewBlocks(ctx, bs...))
	}
	return err
}

// ReceivedBlocks implements client.BlockReceivedNotifier.
func (t *trader) ReceivedBlocks(from peer.ID, bs []blocks.Block) {
	if s := t.serverOf(from); s != nil {
		s.ReceivedBlocks(from, bs)
	}
}

// ReceiveMessage implements network.Receiver, as the next ones do.
func (t *trader) ReceiveMessage(ctx context.Context, from peer.ID, m message.BitSwapMessage) {
	defer t.hears(from)()
	t.serve(ctx, from, m)
	t.hearsay.receive(ctx, from, m)
}

func (t *trader) ReceiveError(err error) { t.n.log.Debug("bitswap", "err", err) }

// PeerConnected tells the members' server: it may become known as one only later.
func (t *trader) PeerConnected(p peer.ID) {
	t.hearsay.connected(p)
	t.members.PeerConnected(p)
}

func (t *trader) PeerDisconnected(p peer.ID) {
	t.hearsay.disconnected(p)
	t.members.PeerDisconnected(p)
	var own *guestServer // until it is closed, or the guest comes again
	t.mu.Lock()
	if a := t.heard[p]; a != nil {
		own = a.server
	}
	t.mu.Unlock()
	if own != nil { // it may be at work: others wait for t.mu
		own.PeerDisconnected(p)
	}
}

// given is what all servers have sent, and to whom they owe something.
func (t *trader) given() (sum server.Stat, err error) {
	all, sum := t.servers()
	for _, s := range all {
		one, statErr := s.Stat()
		err = errors.Join(err, statErr)
		sum.BlocksSent, sum.DataSent = sum.BlocksSent+one.BlocksSent, sum.DataSent+one.DataSent
		sum.Peers = append(sum.Peers, one.Peers...)
	}
	slices.Sort(sum.Peers)
	sum.Peers = slices.Compact(sum.Peers)
	return sum, err
}
