package embedded

import (
	"context"
	"sync"
	"time"

	"github.com/ipfs/boxo/bitswap/message"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"
)

const (
	// hearsayTick is how often it is looked at who owes what,
	hearsayTick = 250 * time.Millisecond
	// and hearsayRest the least time between, whatever guests say; and so many times what the
	// last look took.
	hearsayRest  = 10 * time.Millisecond
	hearsayRests = 4
	// hearsayLate is for how long a wary node does not hear that a guest has a block.
	hearsayLate = 1500 * time.Millisecond
	// hearsayLong bounds the CIDs that are kept, in bytes: a digest may be as large as a message.
	hearsayLong = 128
	// Who is asked for a block, and gives none for this long, is not heard for a while. On a
	// line of bounded rate it has the time as well that all takes which was asked for. Of some
	// blocks one message is made, and those of a message come together.
	trialTime = 2 * time.Second
	oweTime   = 10 * time.Second
	// slower is how many times as long as others who have a block one may owe it.
	slower = 4
	// deafMin is the first such while, doubled each time.
	deafMin = 30 * time.Second
	deafMax = 8 * time.Minute
	// deafLeast is for how long not even its blocks are taken: boxo looks at what happened
	// from time to time, and not at what of it was first.
	deafLeast = time.Second
	// deafSlow is that of who is much slower than others.
	deafSlow = 10 * time.Second
	// deafAway bounds those of whom it is remembered that have left.
	deafAway = 1024
)

// hearsay is what guests say they have. It costs them nothing, and boxo asks who said so for
// the block, and waits, however often nothing came. So boxo hears of a guest only once that
// has given a block that it was asked for here, and for as long as it goes on giving.
type hearsay struct {
	t    *trader
	wake chan struct{} // somebody is to be tried

	stop   func()
	done   chan struct{}
	trials errgroup.Group

	mu       sync.Mutex
	by       map[peer.ID]*dealing
	hearing  map[peer.ID]int  // messages that boxo hears now
	given    map[cid.Cid]bool // what some are asked for who give; as of the last look
	next     time.Time        // when more guests are tried for what nobody else gives,
	nextEasy time.Time        // and for what somebody does
}

// A dealing is what there was with one peer.
type dealing struct {
	here   bool                  // connected, as far as bitswap knows
	guest  bool                  // when last looked at
	asked  map[cid.Cid]want      // what it was asked for
	said   map[cid.Cid]time.Time // when it said that it has what it was asked for; not heard yet
	owes   int                   // blocks that it was asked for
	waits  time.Time             // since when it gave none
	took   time.Duration         // for the last block it gave, were that of the usual size
	proven bool                  // gave one, and has not failed since
	trial  cid.Cid               // the block that it is tried with
	tried  time.Time             // when that began
	failed int                   // times in a row
	until  time.Time             // not heard before
	deaf   bool                  // boxo takes it for gone,
	gone   time.Time             // since then,
	least  time.Duration         // and for so long takes no blocks of it
	leaves bool                  // boxo is to take it for gone, once it has heard what came before
}

// A want is what a peer was asked: whether for the block, and since when, and whether boxo has
// heard that the peer has it.
type want struct {
	block, heard bool
	since        time.Time
}

func newHearsay(t *trader) *hearsay {
	ctx, stop := context.WithCancel(context.Background())
	h := &hearsay{t: t, wake: make(chan struct{}, 1), stop: stop, done: make(chan struct{}), by: map[peer.ID]*dealing{}, hearing: map[peer.ID]int{}}
	h.trials.SetLimit(maxTrials)
	go h.run(ctx)
	return h
}

func (h *hearsay) close() {
	h.stop()
	<-h.done
}

func (h *hearsay) run(ctx context.Context) {
	defer close(h.done)
	tick := time.NewTicker(hearsayTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			_ = h.trials.Wait() // none has an error
			return
		case <-tick.C:
		case <-h.wake:
		}
		began := time.Now()
		h.look(ctx, began)
		select {
		case <-ctx.Done():
		case <-time.After(max(hearsayRest, hearsayRests*time.Since(began))):
		}
	}
}

// look judges who was asked, passes on what waited, and tries guests.
func (h *hearsay) look(ctx context.Context, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for p, d := range h.by {
		d.guest = h.t.isGuest(p)
		switch {
		case d.leaves:
		case !d.here:
			if now.After(d.until) {
				delete(h.by, p)
			}
		case d.deaf && d.guest && now.Before(d.until):
		case d.deaf:
			h.hearAgain(p, d)
		case d.guest && h.fails(d, now):
			h.fail(p, d, deafLeast, now)
		}
	}
	for _, p := range h.laggards(now) {
		h.fail(p, h.by[p], deafSlow, now)
	}
	h.given = h.giving(now)
	for p, d := range h.by {
		if len(d.said) > 0 && (!d.guest || d.proven) {
			h.pass(ctx, p, d, now)
		}
	}
	h.try(ctx, now)
}

// fails tells whether a guest has given nothing for too long, of what it was asked for before.
func (h *hearsay) fails(d *dealing, now time.Time) bool {
	line := h.t.n.o.lineTime()
	if d.trial.Defined() && now.Sub(d.tried) > trialTime+line {
		return true
	}
	if d.owes == 0 || now.Sub(d.waits) <= oweTime+line {
		return false
	}
	for _, w := range d.asked {
		if w.block && now.Sub(w.since) > oweTime+line {
			return true
		}
	}
	return false
}

// laggards are the guests that owe a block for much longer than others need who have it,
// though they give some now and then.
func (h *hearsay) laggards(now time.Time) (late []peer.ID) {
	need := map[cid.Cid]time.Duration{} // by who has it and gives soonest
	for _, d := range h.by {
		if d.deaf || d.guest && !d.proven || d.took == 0 {
			continue
		}
		gives := d.took
		if d.owes > 0 {
			gives = max(gives, now.Sub(d.waits))
		}
		note := func(c cid.Cid) {
			if least, ok := need[c]; !ok || gives < least {
				need[c] = gives
			}
		}
		for c := range d.said {
			note(c)
		}
		for c, w := range d.asked {
			if w.heard {
				note(c)
			}
		}
	}
	for p, d := range h.by {
		for c, w := range d.asked {
			owed := now.Sub(w.since)
			if least, ok := need[c]; ok && w.block && d.guest && !d.deaf && owed > trialTime+h.t.n.o.lineTime() && least < owed/slower {
				late = append(late, p)
				break
			}
		}
	}
	return late
}

// fail has boxo take the guest for gone: what it was asked for others are asked for, and it
// is asked for nothing. That comes after what boxo hears of it now: who has gone and then gave
// a block, or said that it has one, is there for boxo, but what it was asked for is asked of
// nobody any more.
func (h *hearsay) fail(p peer.ID, d *dealing, least time.Duration, now time.Time) {
	d.proven, d.deaf, d.gone, d.least, d.leaves = false, true, now, least, true
	d.until = now.Add(min(deafMin<<min(d.failed, 10), deafMax))
	d.failed++
	clear(d.said)
	h.t.n.log.Debug("guest did not give what it said it has", "peer", p, "times", d.failed)
	h.leave(p, d, now)
}

// leave tells boxo that the peer has gone, if that is due, and that it has come again.
func (h *hearsay) leave(p peer.ID, d *dealing, now time.Time) {
	if !d.leaves || h.hearing[p] > 0 {
		return
	}
	d.leaves, d.gone = false, now
	h.t.Client.PeerDisconnected(p)
	switch {
	case d.here && !d.deaf:
		h.hearAgain(p, d)
	case !d.here && (!d.deaf || len(h.by) > deafAway):
		delete(h.by, p)
	}
}

// receive has boxo hear what it is to hear of a message.
func (h *hearsay) receive(ctx context.Context, from peer.ID, m message.BitSwapMessage) {
	h.mu.Lock()
	h.hearing[from]++
	h.mu.Unlock()
	h.t.Client.ReceiveMessage(ctx, from, h.hear(from, m))
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.hearing[from]--; h.hearing[from] == 0 {
		delete(h.hearing, from)
	}
	if d := h.by[from]; d != nil {
		h.leave(from, d, time.Now())
	}
}

// hearAgain ends what fail began.
func (h *hearsay) hearAgain(p peer.ID, d *dealing) {
	*d = dealing{here: true, guest: d.guest, proven: d.proven, failed: d.failed, asked: map[cid.Cid]want{}, said: map[cid.Cid]time.Time{}}
	h.t.Client.PeerConnected(p)
}

// pass has boxo hear what one has said. A wary node hears guests late, and not of what
// others are giving.
func (h *hearsay) pass(ctx context.Context, p peer.ID, d *dealing, now time.Time) {
	m := message.New(false)
	for c, at := range d.said {
		if d.guest && h.t.n.o.Wary && (now.Sub(at) < hearsayLate || h.given[c]) {
			continue
		}
		d.hears(c)
		m.AddHave(c)
	}
	if !m.Empty() {
		h.t.Client.ReceiveMessage(ctx, p, m)
	}
}

// giving lists the blocks for which somebody was asked, not too long ago, who gives what it
// is asked for.
func (h *hearsay) giving(now time.Time) map[cid.Cid]bool {
	given, line := map[cid.Cid]bool{}, h.t.n.o.lineTime()
	for _, d := range h.by {
		if !d.here || d.deaf || d.guest && !d.proven || d.owes == 0 || now.Sub(d.waits) >= oweTime+line {
			continue
		}
		for c, w := range d.asked {
			if w.block && now.Sub(w.since) < oweTime+line {
				given[c] = true
			}
		}
	}
	return given
}

// hears notes that boxo has heard, or is about to, that the peer has the block.
func (d *dealing) hears(c cid.Cid) {
	if w, ok := d.asked[c]; ok {
		w.heard = true
		d.asked[c] = w
	}
	delete(d.said, c)
}

// gives notes how long the peer took for a block. A small one tells little of a line.
func (d *dealing) gives(size int, took time.Duration) {
	d.took = min(oweTime, took*usualBlock/time.Duration(max(1, min(size, usualBlock))))
	if size < usualBlock/16 {
		d.took = max(d.took, oweTime/slower)
	}
}

// settle notes that the peer has given a block, or need not any more.
func (d *dealing) settle(c cid.Cid) {
	d.lacks(c)
	delete(d.asked, c)
}

// lacks notes that the peer says that it has no such block. It may say otherwise later.
func (d *dealing) lacks(c cid.Cid) {
	if w, ok := d.asked[c]; ok {
		if w.block {
			d.owes--
		}
		d.asked[c] = want{}
	}
	delete(d.said, c)
}

// connected tells boxo of a peer that has come, unless it is not to be heard.
func (h *hearsay) connected(p peer.ID) {
	guest := h.t.isGuest(p)
	h.mu.Lock()
	defer h.mu.Unlock()
	d := h.by[p]
	if d == nil {
		d = &dealing{}
		h.by[p] = d
	}
	d.here, d.guest = true, guest
	if !d.deaf && !d.leaves {
		h.hearAgain(p, d)
	}
}

// disconnected tells boxo of a peer that has gone. Who goes when it is tried has failed.
func (h *hearsay) disconnected(p peer.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d, now := h.by[p], time.Now()
	if d == nil {
		h.t.Client.PeerDisconnected(p)
		return
	}
	if d.guest && !d.deaf && d.trial.Defined() {
		h.fail(p, d, deafLeast, now)
	}
	*d = dealing{failed: d.failed, until: d.until, deaf: d.deaf, tried: d.tried, leaves: true}
	h.leave(p, d, now)
}

// hear notes what a peer says and gives, and returns what boxo is to hear of it.
func (h *hearsay) hear(from peer.ID, m message.BitSwapMessage) message.BitSwapMessage {
	guest, now := h.t.isGuest(from), time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	d := h.by[from]
	if d == nil || !d.here || d.leaves { // it has gone meanwhile, or boxo has not heard that it came
		if guest {
			return message.New(false)
		}
		return m
	}
	if d.deaf && now.Sub(d.gone) < d.least {
		for _, b := range m.Blocks() {
			if _, asked := d.asked[b.Cid()]; asked {
				d.failed = 0
			}
		}
		return message.New(false)
	}
	d.guest = guest
	gave := false
	for _, b := range m.Blocks() {
		c := b.Cid()
		w, asked := d.asked[c]
		gave = gave || asked || c.Equals(d.trial)
		if c.Equals(d.trial) {
			w.since = d.tried
		}
		if !w.since.IsZero() {
			d.gives(len(b.RawData()), now.Sub(w.since))
		}
		d.settle(c)
	}
	if gave {
		d.proven, d.failed, d.trial, d.waits = true, 0, cid.Undef, now
		if d.deaf {
			h.hearAgain(from, d)
		}
	}
	if !guest {
		for _, c := range m.Haves() {
			d.hears(c)
		}
		for _, c := range m.DontHaves() {
			d.lacks(c)
		}
		return m
	}
	if d.deaf {
		return message.New(false)
	}
	for _, c := range m.DontHaves() {
		lied := d.asked[c].block && d.asked[c].heard || c.Equals(d.trial)
		d.lacks(c)
		if lied {
			h.fail(from, d, deafLeast, now)
			return message.New(false)
		}
	}
	h.keep(d, m.Haves(), now)
	rest := without(m)
	if d.proven && !h.t.n.o.Wary {
		for c := range d.said {
			d.hears(c)
			rest.AddHave(c)
		}
	}
	return rest
}

// keep notes what a guest says it has, of what it was asked for.
func (h *hearsay) keep(d *dealing, said []cid.Cid, now time.Time) {
	for _, c := range said {
		_, asked := d.asked[c]
		_, said := d.said[c]
		if !asked || said || c.ByteLen() > hearsayLong {
			continue
		}
		d.said[c] = now
		if !d.proven && !d.trial.Defined() {
			select {
			case h.wake <- struct{}{}:
			default:
			}
		}
	}
}

// heard tells whether boxo may ask the peer though that has not said that it has a block.
func (h *hearsay) heard(p peer.ID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	d := h.by[p]
	return d == nil || !d.deaf && (!d.guest || d.proven)
}

// without is the message without what its sender says it has.
func without(m message.BitSwapMessage) message.BitSwapMessage {
	rest := message.New(false)
	for _, b := range m.Blocks() {
		rest.AddBlock(b)
	}
	for _, c := range m.DontHaves() {
		rest.AddDontHave(c)
	}
	return rest
}

// isGuest tells whether a peer is no member, and on a wary node came by itself.
func (t *trader) isGuest(p peer.ID) bool {
	if t.n.isMember(p) {
		return false
	}
	if !t.n.o.Wary {
		return true
	}
	for _, c := range t.n.host.Network().ConnsToPeer(p) {
		if c.Stat().Direction == network.DirOutbound {
			return false
		}
	}
	return true
}
