package embedded

import (
	"context"
	"sync"
	"time"

	"github.com/ipfs/boxo/bitswap/message"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	// hearsayFor is for how long at least it is not heard that a guest has a block, and half of
	// the most.
	hearsayFor = 1500 * time.Millisecond
	// hearsayMost bounds the blocks that one guest says it has meanwhile, and hearsayLong the
	// bytes of a CID: a digest may be as large as a message.
	hearsayMost = 1024
	hearsayLong = 128
)

// hearsay is what guests say they have. It costs them nothing, and boxo asks who said so for
// the block, and waits, however often nothing came. So a full peer hears it late, when what
// members have of what it wants has come: what guests alone have is had from them all the same.
type hearsay struct {
	t *trader

	mu         sync.Mutex
	young, old map[peer.ID][]cid.Cid

	stop func()
	done chan struct{}
}

func newHearsay(t *trader) *hearsay {
	ctx, stop := context.WithCancel(context.Background())
	h := &hearsay{t: t, young: map[peer.ID][]cid.Cid{}, stop: stop, done: make(chan struct{})}
	go h.run(ctx)
	return h
}

func (h *hearsay) close() {
	h.stop()
	<-h.done
}

func (h *hearsay) run(ctx context.Context) {
	defer close(h.done)
	tick := time.NewTicker(hearsayFor)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			h.pass(ctx)
		}
	}
}

// pass has the client hear what has waited and is wanted still.
func (h *hearsay) pass(ctx context.Context) {
	h.mu.Lock()
	due := h.old
	h.old, h.young = h.young, map[peer.ID][]cid.Cid{}
	h.mu.Unlock()
	if len(due) == 0 {
		return
	}
	wanted := map[cid.Cid]bool{}
	for _, c := range h.t.Client.GetWantlist() {
		wanted[c] = true
	}
	for p, said := range due {
		m := message.New(false)
		for _, c := range said {
			if wanted[c] {
				m.AddHave(c)
			}
		}
		if !m.Empty() {
			h.t.Client.ReceiveMessage(ctx, p, m)
		}
	}
}

// keep takes what a guest says it has out of its message.
func (h *hearsay) keep(from peer.ID, m message.BitSwapMessage) message.BitSwapMessage {
	said := m.Haves()
	if len(said) == 0 {
		return m
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range said {
		if c.ByteLen() <= hearsayLong && len(h.young[from]) < hearsayMost {
			h.young[from] = append(h.young[from], c)
		}
	}
	rest := message.New(false)
	for _, b := range m.Blocks() {
		rest.AddBlock(b)
	}
	for _, c := range m.DontHaves() {
		rest.AddDontHave(c)
	}
	return rest
}

// isGuest tells whether a peer came by itself and is no member.
func (t *trader) isGuest(p peer.ID) bool {
	if t.n.isMember(p) {
		return false
	}
	for _, c := range t.n.host.Network().ConnsToPeer(p) {
		if c.Stat().Direction == network.DirOutbound {
			return false
		}
	}
	return true
}
