package pinner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pinfold-cluster/pinfold/allocator"
	"github.com/pinfold-cluster/pinfold/api"
)

// repair is the one controller, on the leader, that places pins anew whose holders
// are gone and lets holders go whose copies are no longer wanted.
type repair struct {
	p    *Pinner
	wake chan struct{}

	mu     sync.Mutex
	leads  bool // this peer leads: track collects
	moving *moving
	state  api.RepairStatus

	// of run only
	term    uint64
	swept   bool                 // the whole pinset was looked at in this term
	members []api.PeerID         // as last seen
	gone    map[api.PeerID]int   // removed peers, and how often yet to look for their pins
	stuck   map[api.PeerID]found // dead peers, and what the last pass over their pins left
}

// found is what a pass over the pins of a dead peer came to.
type found struct {
	below uint64
	again time.Time // not to be passed over before
	since time.Time // of the death that it is about
	grown bool      // the pass was after the grace
}

// gonePasses is how often the pins of a removed peer are looked for: a decision on
// its way may have named it a last time.
const gonePasses = 3

func newRepair(p *Pinner) *repair {
	return &repair{p: p, wake: make(chan struct{}, 1), moving: newMoving()}
}

func (r *repair) status() api.RepairStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.state
	s.Running, s.Moving = r.leads, uint64(r.moving.len())
	return s
}

// track collects, on the leader, the pins that a holder is leaving.
func (r *repair) track(pin api.Pin) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.leads && len(pin.Leaving) > 0 && r.moving.add(pin.Cid) {
		r.signal()
	}
}

func (r *repair) reload() { r.signal() }

func (r *repair) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *repair) run(ctx context.Context) error {
	for {
		if err := r.pass(ctx); err != nil && ctx.Err() == nil {
			r.failed(err)
		}
		t := time.NewTimer(r.p.o.Recheck)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		case <-r.wake:
			t.Stop()
		}
	}
}

// pass does all there is to do now.
func (r *repair) pass(ctx context.Context) error {
	if !r.lead(ctx) {
		return nil
	}
	if !r.swept {
		if err := r.sweep(ctx); err != nil {
			return err
		}
		r.swept = true
	}
	if err := r.replaceRemoved(ctx); err != nil {
		return err
	}
	if err := r.replaceDead(ctx); err != nil {
		return err
	}
	return r.release(ctx)
}

// lead tells whether this peer leads, and begins afresh in each term.
func (r *repair) lead(ctx context.Context) bool {
	var term uint64
	leader, ok := r.p.cons.Leader()
	ok = ok && leader == r.p.self
	if ok {
		var err error
		term, err = r.p.cons.Ready(ctx)
		ok = err == nil
	}
	if ok && term == r.term {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leads, r.term, r.swept = ok, term, false
	r.moving, r.state = newMoving(), api.RepairStatus{}
	r.members, r.gone, r.stuck = nil, map[api.PeerID]int{}, map[api.PeerID]found{}
	return ok
}

// sweep looks at the whole pinset once a term, for what an earlier leader left
// behind: holders that are leaving, and ones that are no members.
func (r *repair) sweep(ctx context.Context) error {
	after := api.CidUndef
	for {
		page, last, err := pageOf(r.p.pins.List(ctx, after))
		if err != nil || len(page) == 0 {
			return err
		}
		v, err := r.p.look(time.Now())
		if err != nil {
			return err
		}
		var lost []*change
		for _, pin := range page {
			if len(pin.Leaving) > 0 {
				r.mu.Lock()
				r.moving.add(pin.Cid)
				r.mu.Unlock()
			}
			if len(v.only(pin.Allocations)) < len(pin.Allocations) {
				lost = append(lost, r.change(pin.Cid))
			}
		}
		if err := r.settle(ctx, lost); err != nil {
			return err
		}
		after = last
	}
}

// replaceRemoved places anew, at once, what removed peers held.
func (r *repair) replaceRemoved(ctx context.Context) error {
	v, err := r.p.look(time.Now())
	if err != nil {
		return err
	}
	now := v.members
	for _, p := range r.members {
		if !slices.Contains(now, p) {
			r.gone[p] = gonePasses
		}
	}
	r.members = now
	for p, passes := range r.gone {
		if slices.Contains(now, p) {
			delete(r.gone, p)
			continue
		}
		if _, err := r.replace(ctx, p, true); err != nil {
			return err
		}
		if r.gone[p] = passes - 1; passes == 1 {
			delete(r.gone, p)
		}
	}
	return nil
}

// replaceDead places anew what peers held that are dead for longer than the grace,
// and counts what is below its minimum since a peer is dead.
func (r *repair) replaceDead(ctx context.Context) error {
	health := r.p.peers.Health()
	paused := massFailure(health, r.p.o.Grace)
	if r.p.o.NoRepair {
		paused = "disabled by configuration"
	}
	r.pause(paused)
	var below uint64
	for _, h := range health {
		if h.Alive {
			delete(r.stuck, h.ID)
			continue
		}
		now := time.Now()
		act := paused == "" && now.Sub(h.Since) >= r.p.o.Grace
		f := r.stuck[h.ID]
		if f.since != h.Since || f.grown != act || now.After(f.again) {
			n, err := r.replace(ctx, h.ID, act)
			if err != nil {
				return err
			}
			f = found{below: n, since: h.Since, grown: act, again: now.Add(max(r.p.o.Grace, r.p.o.Recheck))}
			if n > 0 && act {
				f.again = now.Add(r.p.o.Recheck)
			}
			r.stuck[h.ID] = f
		}
		below += f.below
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if below != r.state.Below {
		r.p.log.Info("pins below their minimum", "pins", below)
	}
	r.state.Below = below
	return nil
}

// massFailure says why dead peers are not replaced: more than a third of all died
// within one grace period, so it is the network, or the power.
func massFailure(health []api.PeerHealth, grace time.Duration) string {
	var deaths []time.Time
	for _, h := range health {
		if !h.Alive {
			deaths = append(deaths, h.Since)
		}
	}
	slices.SortFunc(deaths, time.Time.Compare)
	for i := range deaths {
		n := 0
		for _, d := range deaths[i:] {
			if d.Sub(deaths[i]) <= grace {
				n++
			}
		}
		if 3*n > len(health) {
			return fmt.Sprintf("%d of %d peers died within %v of each other", n, len(health), grace)
		}
	}
	return ""
}

func (r *repair) pause(why string) {
	r.mu.Lock()
	was := r.state.Paused
	r.state.Paused = why
	r.mu.Unlock()
	switch {
	case why != "" && was == "" && !r.p.o.NoRepair:
		r.p.log.Error("repair stopped: no pin is placed anew", "reason", why)
	case why == "" && was != "":
		r.p.log.Info("repair goes on")
	}
}

func (r *repair) failed(err error) {
	r.mu.Lock()
	seen := r.state.LastError == err.Error()
	r.state.LastError = err.Error()
	r.mu.Unlock()
	if !seen {
		r.p.log.Warn("repair", "err", err)
	}
}

// replace goes over the pins of peer and, where act is set, places those anew that
// have too few holders. It returns how many are still below their minimum.
func (r *repair) replace(ctx context.Context, peer api.PeerID, act bool) (below uint64, err error) {
	after := api.CidUndef
	for {
		page, last, err := pageOf(r.p.pins.Allocated(ctx, peer, after))
		if err != nil || len(page) == 0 {
			return below, err
		}
		v, err := r.p.look(time.Now())
		if err != nil {
			return below, err
		}
		var changes []*change
		for _, pin := range page {
			switch {
			case pin.Everywhere() || pin.Type == api.PinMeta || !slices.Contains(pin.Allocations, peer):
			case act && r.wants(pin, v):
				changes = append(changes, r.change(pin.Cid))
			case v.below(pin, peer):
				below++
			}
		}
		if err := r.settle(ctx, changes); err != nil {
			return below, err
		}
		for _, c := range changes {
			now := c.verdict.pin
			if c.res.Fault != nil {
				now = c.verdict.old
			}
			if v.below(now, peer) {
				below++
			}
		}
		if _, err := r.releaseSome(ctx); err != nil {
			return below, err
		}
		after = last
	}
}

// wants tells whether pin is to be placed anew: it names peers that are no members,
// or fewer holders than its minimum are left.
func (r *repair) wants(pin api.Pin, v *view) bool {
	if pin.Type == api.PinMeta || pin.Everywhere() {
		return false
	}
	return len(v.only(pin.Allocations)) < len(pin.Allocations) || len(v.kept(pin.Allocations)) < pin.ReplicationFactorMin
}

func (r *repair) change(c api.Cid) *change {
	return &change{cid: c, decide: func(_ context.Context, old api.Pin, v *view) (verdict, error) {
		if !old.Cid.Defined() || !r.wants(old, v) {
			return verdict{}, unchanged
		}
		return r.p.replacement(old, v)
	}}
}

// settle commits changes, no faster than the rate allows. Failures of single ones
// are told in the status; the error is that of a peer that leads no longer.
func (r *repair) settle(ctx context.Context, changes []*change) error {
	if len(changes) == 0 {
		return ctx.Err()
	}
	r.p.settle(ctx, changes)
	for _, c := range changes {
		switch err := c.res.Fault.Err(); {
		case err == nil, errors.Is(err, unchanged):
		case errors.Is(err, retry), errors.Is(err, api.Unknown):
			return err
		default:
			r.mu.Lock()
			r.state.LastError = fmt.Sprintf("place %s anew: %v", c.cid, err)
			r.mu.Unlock()
		}
	}
	if !sleep(ctx, time.Second*time.Duration(len(changes))/time.Duration(r.p.o.Rate)) {
		return ctx.Err()
	}
	return nil
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

// pageOf reads up to a batch of pins and the CID of the last.
func pageOf(seq func(func(api.Pin, error) bool)) (page []api.Pin, last api.Cid, err error) {
	for pin, err := range seq {
		if err != nil {
			return nil, last, err
		}
		page, last = append(page, pin), pin.Cid
		if len(page) == batchRequests {
			break
		}
	}
	return page, last, nil
}
