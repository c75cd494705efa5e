package pinner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/pinfold-cluster/pinfold/allocator"
	"github.com/pinfold-cluster/pinfold/api"
)

// nobody has the walk over the pins that name too few holders.
const nobody api.PeerID = ""

// Causes of pins below their minimum.
const (
	beingPlaced = "holders are gone, and others are being found"
	inGrace     = "holders are dead, and the time of grace is not over"
	noRoom      = "no other peer has room"
	noPeers     = "there are too few other peers"
)

// A walk goes over the pins of one peer that is dead or removed, again and again,
// until that is over. The first time it only counts.
type walk struct {
	peer api.PeerID
	act  bool // pins are placed anew, else only counted
	// below is how many of the pins are below their minimum, and cause why.
	below uint64
	cause string
	// covered is how many would be below it but for copies at followers.
	covered uint64

	again time.Time // not to begin before
	anew  bool      // begin at once after this one

	// of the walk in progress
	running bool
	counts  bool      // it does not act
	after   api.Cid   // how far it has come
	list    []api.Cid // nobody's: what is left of it
	found   uint64    // pins that are below their minimum
	leaned  uint64    // pins that would be, but for copies at followers
	named   int       // pins that go on naming the peer
	fault   string    // why they do
	took    time.Duration
	stepped time.Time
	counted bool // there was one before
}

// walk returns that of p, with r.mu held.
func (r *repair) walk(p api.PeerID) *walk {
	w := r.walks[p]
	if w == nil {
		w = &walk{peer: p, act: true, cause: beingPlaced}
		r.walks[p] = w
	}
	return w
}

// hasten makes w begin soon, and tells whether it would not have.
func (w *walk) hasten() bool {
	news := !w.anew && !w.again.IsZero()
	w.anew, w.again = true, time.Time{}
	return news
}

// set says whether w places pins anew or, for the reason why, only counts them.
func (w *walk) set(act bool, why string) {
	if w.act == act && (act || w.cause == why) {
		return
	}
	w.act, w.cause, w.again, w.running = act, why, time.Time{}, false
	if act {
		w.cause = beingPlaced
	}
}

// due returns the walk whose turn it is, nil where none is to be gone on with.
func (r *repair) due(now time.Time) (next *walk) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.walks {
		if (w.running || !now.Before(w.again)) && (next == nil || w.stepped.Before(next.stepped)) {
			next = w
		}
	}
	return next
}

// step takes w over a few pins: as many as may be placed anew in a tenth of a second.
func (r *repair) step(ctx context.Context, w *walk) error {
	start := time.Now()
	r.mu.Lock()
	if !w.running {
		w.begin()
		if w.peer == nobody {
			w.list = slices.Collect(maps.Keys(r.few.cids))
		}
	}
	r.mu.Unlock()
	page, err := r.page(ctx, w)
	if err != nil {
		return err
	}
	if len(page) == 0 {
		r.end(w, start)
		return nil
	}
	v, err := r.p.look(start)
	if err != nil {
		return err
	}
	var covered map[api.Cid]bool
	if !w.counts {
		covered = r.covered(ctx, page, v)
	}
	var changes []*change
	r.mu.Lock()
	for _, pin := range page {
		switch {
		case !placed(pin) || w.peer != nobody && !slices.Contains(pin.Allocations, w.peer):
		case covered[pin.Cid]:
			w.lean(pin, v)
		case !w.counts && r.wants(pin, v):
			changes = append(changes, r.change(pin.Cid))
		default:
			w.left(pin, v, inGrace)
		}
	}
	r.mu.Unlock()
	moved, err := r.settle(ctx, w, changes, v)
	if moved > 0 {
		if r.next.Before(start) {
			r.next = start
		}
		r.next = r.next.Add(time.Duration(moved) * time.Second / time.Duration(r.p.o.Rate))
	}
	w.stepped = time.Now()
	w.took += w.stepped.Sub(start)
	if err != nil {
		w.running = false // what became of these is not known: begin again
	}
	return err
}

func (w *walk) begin() {
	w.running, w.counts, w.after = true, !w.act || !w.counted, api.CidUndef
	w.found, w.leaned, w.named, w.fault, w.took, w.anew = 0, 0, 0, "", 0, false
}

// lean counts a pin that stays as it is since followers have copies.
func (w *walk) lean(pin api.Pin, v *view) {
	w.named++
	if v.below(pin, w.peer) {
		w.leaned++
	}
}

// left counts a pin that stays as it is, for the reason why.
func (w *walk) left(pin api.Pin, v *view, why string) {
	w.named++
	if v.below(pin, w.peer) {
		w.found++
		w.fault = why
	}
}

// end ends a walk: the next is later, the more so the longer this one took.
func (r *repair) end(w *walk, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	over := w.named == 0 && !w.anew
	if w.peer == nobody {
		over = len(r.few.cids) == 0
	} else if _, member := slices.BinarySearch(r.known, w.peer); member {
		over = false // as long as it is dead
	}
	if over {
		delete(r.walks, w.peer)
		return
	}
	w.running, w.below, w.covered = false, w.found, w.leaned
	switch {
	case w.counts && w.act: // now in earnest
		w.counted = true
		return
	case w.act && w.found > 0:
		w.cause = w.fault
	}
	w.counted = true
	if !w.anew {
		o := r.p.o
		w.again = now.Add(max(o.Recheck, min(20*w.took, o.Grace)))
	}
}

// page reads the next pins of w.
func (r *repair) page(ctx context.Context, w *walk) (page []api.Pin, err error) {
	limit := batchRequests
	if !w.counts {
		limit = min(max(r.p.o.Rate/10, 1), limit)
	}
	if w.peer == nobody {
		return r.pageOfFew(ctx, w, limit)
	}
	for pin, err := range r.p.pins.Allocated(ctx, w.peer, w.after) {
		if err != nil {
			return nil, err
		}
		page, w.after = append(page, pin), pin.Cid
		if len(page) == limit {
			break
		}
	}
	return page, nil
}

func (r *repair) pageOfFew(ctx context.Context, w *walk, limit int) (page []api.Pin, err error) {
	for len(page) < limit && len(w.list) > 0 {
		c := w.list[0]
		pin, err := r.p.pins.Get(ctx, c)
		if err != nil && !errors.Is(err, api.NotFound) {
			return nil, err
		}
		w.list = w.list[1:]
		if err == nil && placed(pin) && len(pin.Allocations) < pin.ReplicationFactorMin {
			page = append(page, pin)
			continue
		}
		r.mu.Lock()
		delete(r.few.cids, c)
		if r.few.more && len(r.few.cids) < maxMoving/2 {
			r.few.more, r.swept = false, false // to find the others
		}
		r.mu.Unlock()
	}
	return page, nil
}

// wants tells whether pin is to be placed anew: it names peers that are no members,
// or fewer holders than its minimum are left.
func (r *repair) wants(pin api.Pin, v *view) bool {
	return placed(pin) &&
		(len(v.only(pin.Allocations)) < len(pin.Allocations) || len(v.kept(pin.Allocations)) < pin.ReplicationFactorMin)
}

func (r *repair) change(c api.Cid) *change {
	return &change{cid: c, decide: func(_ context.Context, old api.Pin, v *view) (verdict, error) {
		if !old.Cid.Defined() || !r.wants(old, v) {
			return verdict{}, unchanged
		}
		return r.p.replacement(old, v)
	}}
}

// settle commits changes and returns how many pins were placed anew. Failures of
// single ones are told in the status; the error is that of a peer that leads no longer.
func (r *repair) settle(ctx context.Context, w *walk, changes []*change, v *view) (moved int, err error) {
	if len(changes) == 0 {
		return 0, ctx.Err()
	}
	r.p.settle(ctx, changes)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range changes {
		err := c.res.Fault.Err()
		switch {
		case err == nil:
			moved++
			r.state.Placed++
			if v.below(c.verdict.pin, w.peer) {
				w.left(c.verdict.pin, v, noPeers) // better than before, and not enough
			} else if w.below > 0 {
				w.below--
			}
		case errors.Is(err, unchanged):
			if c.verdict.old.Cid.Defined() && r.wants(c.verdict.old, v) {
				w.left(c.verdict.old, v, noPeers)
			}
		case errors.Is(err, retry), errors.Is(err, api.Unknown):
			return moved, err
		default:
			why := noPeers
			if errors.Is(err, api.Full) {
				why = noRoom
			}
			w.left(c.verdict.old, v, why)
			r.state.LastError = fmt.Sprintf("place %s anew: %v", c.cid, err)
		}
	}
	return moved, nil
}

// replacement places old anew. Where its minimum cannot be had, more copies than now
// are still better. Its time stays that of the user's wish.
func (p *Pinner) replacement(old api.Pin, v *view) (verdict, error) {
	pin := old
	pin.PinUpdate = api.CidUndef
	had := holders(old, v)
	req := p.request(pin, had, v)
	req.Prefer = v.kept(old.Allocations)
	chosen, err := allocator.Allocate(req)
	if errors.Is(err, api.Unavailable) || errors.Is(err, api.Full) || errors.Is(err, api.Invalid) {
		req.Min = 1
		if fewer, e := allocator.Allocate(req); e == nil && len(fewer) > len(req.Prefer) {
			chosen, err = fewer, nil
		}
	}
	if err != nil {
		return verdict{}, err
	}
	pin.Allocations, pin.Leaving = chosen, without(had, chosen)
	if slices.Equal(pin.Allocations, old.Allocations) && slices.Equal(pin.Leaving, old.Leaving) {
		return verdict{}, unchanged
	}
	v.promise(pin, had, p.meanSize())
	return verdict{pin: pin, had: had}, nil
}

// fewHolders are the pins that name fewer holders than their minimum.
type fewHolders struct {
	cids map[api.Cid]struct{}
	more bool // some did not fit
}

// add remembers c. It returns whether that is news.
func (f *fewHolders) add(c api.Cid) bool {
	if _, known := f.cids[c]; known {
		return false
	}
	if len(f.cids) >= maxMoving {
		f.more = true
		return false
	}
	if f.cids == nil {
		f.cids = map[api.Cid]struct{}{}
	}
	f.cids[c] = struct{}{}
	return true
}
