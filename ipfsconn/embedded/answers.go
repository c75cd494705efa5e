package embedded

import (
	"context"
	"sync"
	"time"

	"github.com/ipfs/boxo/bitswap/message"
	bsnetwork "github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/boxo/bitswap/server"
	blockstore "github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
)

// A guestServer is a guest's own. One of boxo's for several has all wait for the first that
// it thinks of, be it that this one takes nothing.
type guestServer struct {
	*server.Server
	to *oneStream
}

// close ends what is on the way. The guest has gone, or is cut off.
func (s *guestServer) close() {
	s.Server.Close()
	s.to.close()
}

// oneStream sends a guest its answers one after another. boxo has a stream for each, which
// stays open until the other has shaken hands on it: who never does would keep any number.
type oneStream struct {
	bsnetwork.BitSwapNetwork
	of     *trader
	mu     sync.Mutex
	sender bsnetwork.MessageSender // nil at first
}

// SendMessage implements network.BitSwapNetwork. What a guest does not take was read for nothing.
func (o *oneStream) SendMessage(ctx context.Context, p peer.ID, m message.BitSwapMessage) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	size := m.Size()
	err := o.send(ctx, p, m, size)
	if err != nil {
		o.of.charge(p, time.Duration(size)*guestByteCost)
	}
	return err
}

// send sends a message once there is room. A guest that takes nothing is cut off where others need
// that: it asks anew when it is back.
func (o *oneStream) send(ctx context.Context, p peer.ID, m message.BitSwapMessage, size int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if size > guestSmall {
		n := o.of.n
		mine := &place{bytes: 2 * size, address: n.address(p)} // the blocks, and their message
		mine.gone = func() bool { return !n.connected(p) }
		mine.lose = func() {
			cancel()
			_ = n.host.Network().ClosePeer(p) // it has gone then
		}
		if err := o.of.room.take(ctx, mine); err != nil {
			return err
		}
		defer o.of.room.leave(mine)
	}
	if o.sender == nil {
		sender, err := o.NewMessageSender(ctx, p, &bsnetwork.MessageSenderOpts{MaxRetries: 2}) // the guest may have ended the stream
		if err != nil {
			return err
		}
		o.sender = sender
	}
	return o.sender.SendMsg(ctx, m)
}

func (o *oneStream) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.sender != nil {
		_ = o.sender.Reset() // its stream may have ended
	}
}

// guestBlocks are the node's blocks, of which all guests' servers read so many at a time.
type guestBlocks struct {
	blockstore.Blockstore
	reads chan struct{}
}

// Get implements blockstore.Blockstore.
func (b guestBlocks) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	select {
	case b.reads <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-b.reads }()
	return b.Blockstore.Get(ctx, c)
}
