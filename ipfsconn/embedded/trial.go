package embedded

import (
	"context"
	"math"
	"time"

	"github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	bsnetwork "github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	maxTrials = 64 // messages under way
	// easyTrials is how many guests are tried at a time with blocks that others give: so that
	// these need not give all.
	easyTrials = 4
	// easyShare is what part of a line of bounded rate that may cost, as a divisor: such a
	// block comes twice.
	easyShare = 32
	// trialLooks bounds the blocks that are looked at to find one for a guest.
	trialLooks = 8
)

// try asks guests for a block that they say they have, each for one: more and more of them
// where nobody else gives it.
func (h *hearsay) try(ctx context.Context, now time.Time) {
	running := 0
	needed, easy := map[peer.ID]cid.Cid{}, map[peer.ID]cid.Cid{}
	for p, d := range h.by {
		switch {
		case !d.proven && now.Sub(d.tried) <= trialTime+h.t.n.o.lineTime():
			running++ // or it has hung up
		case !d.here || d.deaf || !d.guest || d.proven:
		default:
			if c, given := h.forTrial(d, now); given {
				easy[p] = c
			} else if c.Defined() {
				needed[p] = c
			}
		}
	}
	block := h.t.n.o.takes(usualBlock)
	if len(needed) > 0 && !now.Before(h.next) {
		h.next = now.Add(hearsayTick + block)
		h.begin(ctx, needed, max(1, running), now)
	} else if running < easyTrials && !now.Before(h.nextEasy) && !h.t.n.o.Wary {
		h.nextEasy = now.Add(easyShare * block)
		n := easyTrials - running
		if block > 0 {
			n = 1
		}
		h.begin(ctx, easy, n, now)
	}
}

// forTrial chooses a block of those that the guest says it has, and tells whether somebody
// else gives that.
func (h *hearsay) forTrial(d *dealing, now time.Time) (choice cid.Cid, given bool) {
	looks := 0
	for c, at := range d.said {
		if h.t.n.o.Wary && now.Sub(at) < hearsayLate {
			continue
		}
		if !h.given[c] {
			return c, false
		}
		choice, given = c, true
		if looks++; looks == trialLooks {
			break
		}
	}
	return choice, given
}

// begin tries up to n of the guests.
func (h *hearsay) begin(ctx context.Context, guests map[peer.ID]cid.Cid, n int, now time.Time) {
	for p, c := range guests {
		if n--; n < 0 {
			return
		}
		m := message.New(false)
		m.AddEntry(c, math.MaxInt32, pb.Message_Wantlist_Block, true)
		if !h.trials.TryGo(func() error {
			if err := h.t.net.SendMessage(network.WithNoDial(ctx, "trial"), p, m); err != nil {
				h.t.n.log.Debug("guest is not asked", "peer", p, "err", err)
			}
			return nil
		}) {
			return
		}
		d := h.by[p]
		d.trial, d.tried = c, now
	}
}

// lineTime is how long at most all takes that is asked for at once, on a line of bounded
// rate.
func (o Options) lineTime() time.Duration { return o.takes(o.FetchConcurrency * usualBlock) }

// takes is how long so many bytes do.
func (o Options) takes(bytes int) time.Duration {
	if o.FetchRate == 0 {
		return 0
	}
	return time.Duration(float64(bytes) / float64(o.FetchRate) * float64(time.Second))
}

// A watched network tells hearsay what peers are asked for.
type watched struct {
	bsnetwork.BitSwapNetwork
	h *hearsay
}

// NewMessageSender implements network.BitSwapNetwork.
func (w watched) NewMessageSender(ctx context.Context, p peer.ID, o *bsnetwork.MessageSenderOpts) (bsnetwork.MessageSender, error) {
	s, err := w.BitSwapNetwork.NewMessageSender(ctx, p, o)
	if err != nil {
		return nil, err
	}
	return watchedSender{s, w.h, p}, nil
}

type watchedSender struct {
	bsnetwork.MessageSender
	h *hearsay
	p peer.ID
}

// SendMsg implements network.MessageSender.
func (s watchedSender) SendMsg(ctx context.Context, m message.BitSwapMessage) error {
	s.h.ask(s.p, m, time.Now())
	if m.Empty() {
		return nil
	}
	return s.MessageSender.SendMsg(ctx, m)
}

// ask notes what the peer is about to be asked for, and takes out of the message that it
// need not give the block any more that it is tried with.
func (h *hearsay) ask(p peer.ID, m message.BitSwapMessage, now time.Time) {
	guest := h.t.isGuest(p)
	h.mu.Lock()
	defer h.mu.Unlock()
	d := h.by[p]
	if d == nil || !d.here || d.leaves || d.deaf {
		return
	}
	d.guest = guest
	for _, e := range m.Wantlist() {
		block := e.WantType == pb.Message_Wantlist_Block
		w, ok := d.asked[e.Cid]
		switch {
		case e.Cancel:
			d.settle(e.Cid)
			if guest && e.Cid.Equals(d.trial) {
				m.Remove(e.Cid)
			}
		case block && !w.block:
			if d.owes++; d.owes == 1 {
				d.waits = now
			}
			w.block, w.since = true, now
			d.asked[e.Cid] = w
		case !ok:
			d.asked[e.Cid] = w
		}
	}
}
