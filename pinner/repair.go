package pinner

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// repair is the one controller, on the leader, that places pins anew whose holders
// are gone and lets holders go whose copies are no longer wanted. It goes over the
// pins of each peer that is gone, in small steps and by turns, so that neither a
// large repair nor one without room holds up another.
type repair struct {
	p    *Pinner
	wake chan struct{}

	mu     sync.Mutex
	leads  bool         // this peer leads: track collects
	known  []api.PeerID // the members that walks know of, sorted; of those gone there are walks
	walks  map[api.PeerID]*walk
	moving *moving
	few    fewHolders
	swept  bool // the whole pinset was looked at in this term
	state  api.RepairStatus

	// of run only
	term uint64
	next time.Time // no pin is placed anew before
	told struct {
		below uint64
		cause string
	}
}

func newRepair(p *Pinner) *repair {
	return &repair{p: p, wake: make(chan struct{}, 1), moving: newMoving(), walks: map[api.PeerID]*walk{}}
}

func (r *repair) status() api.RepairStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.state
	s.Running, s.Moving = r.leads, uint64(r.moving.len())
	s.Below, s.Cause = r.below()
	for _, w := range r.walks {
		s.Covered += w.covered
	}
	return s
}

// below sums up the pins below their minimum, and tells why most of them are. r.mu is held.
func (r *repair) below() (n uint64, cause string) {
	by, most := map[string]uint64{}, uint64(0)
	for _, w := range r.walks {
		if n += w.below; w.below > 0 {
			by[w.cause] += w.below
		}
	}
	for why, pins := range by {
		if pins > most || pins == most && why < cause {
			most, cause = pins, why
		}
	}
	return n, cause
}

// track collects, on the leader, the pins that there is something to do about: ones
// that a holder is leaving, that name a peer that is gone, or too few.
func (r *repair) track(pin api.Pin) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.leads && r.note(pin) {
		r.signal()
	}
}

// note remembers what there is to do about pin, and tells whether that is news. r.mu
// is held.
func (r *repair) note(pin api.Pin) (news bool) {
	news = len(pin.Leaving) > 0 && r.moving.add(pin.Cid)
	if !placed(pin) {
		return news
	}
	for _, p := range pin.Allocations {
		if _, member := slices.BinarySearch(r.known, p); !member {
			news = r.walk(p).hasten() || news
		}
	}
	if len(pin.Allocations) < pin.ReplicationFactorMin && r.few.add(pin.Cid) {
		news = r.walk(nobody).hasten() || news
	}
	return news
}

// placed tells whether pin has holders chosen for it.
func placed(pin api.Pin) bool { return pin.Type != api.PinMeta && !pin.Everywhere() }

func (r *repair) reload() {
	r.mu.Lock()
	r.swept = false
	r.mu.Unlock()
	r.signal()
}

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
	for r.lead(ctx) {
		if err := r.sweep(ctx); err != nil {
			return err
		}
		if err := r.observe(); err != nil {
			return err
		}
		r.tell()
		w := r.due(time.Now())
		if w != nil {
			if err := r.step(ctx, w); err != nil {
				return err
			}
		}
		n, err := r.releaseSome(ctx)
		if err != nil {
			return err
		}
		if w == nil && n == 0 {
			return nil
		}
		if !sleep(ctx, time.Until(r.next)) {
			return nil
		}
	}
	return nil
}

// lead tells whether this peer leads, and begins afresh in each term.
func (r *repair) lead(ctx context.Context) bool {
	var term uint64
	leader, ok := r.p.cons.Leader()
	ok = ok && leader == r.p.self && ctx.Err() == nil
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
	r.moving, r.few, r.state = newMoving(), fewHolders{}, api.RepairStatus{}
	r.known, r.walks = nil, map[api.PeerID]*walk{}
	r.told.below, r.told.cause = 0, ""
	return ok
}

// sweep looks at the whole pinset once a term, for what an earlier leader left
// behind.
func (r *repair) sweep(ctx context.Context) error {
	r.mu.Lock()
	swept := r.swept
	r.swept = true // a reload meanwhile makes it false again
	r.mu.Unlock()
	if swept {
		return nil
	}
	// Whoever is removed from here on is noticed by observe, and whoever was before by note.
	err := r.observe()
	if err == nil {
		for pin, e := range r.p.pins.List(ctx, api.CidUndef) {
			if err = e; err != nil {
				break
			}
			r.mu.Lock()
			r.note(pin)
			r.mu.Unlock()
		}
	}
	if err != nil {
		r.mu.Lock()
		r.swept = false
		r.mu.Unlock()
	}
	return err
}

// observe finds out who is gone, keeps a walk for each, and says whether to act.
func (r *repair) observe() error {
	now := time.Now()
	v, err := r.p.look(now)
	if err != nil {
		return err
	}
	health := r.p.peers.Health()
	paused := massFailure(health, r.p.o.Grace)
	if r.p.o.NoRepair {
		paused = "disabled by configuration"
	}
	r.pause(paused)
	r.mu.Lock()
	defer r.mu.Unlock()
	member := func(p api.PeerID) bool { _, ok := slices.BinarySearch(v.members, p); return ok }
	for _, p := range r.known {
		if !member(p) {
			w := r.walk(p)
			w.set(true, "")
			w.hasten() // one in progress has passed over what could wait until now
		}
	}
	r.known = v.members
	for _, h := range health {
		switch {
		case !member(h.ID):
		case h.Alive:
			delete(r.walks, h.ID)
		case paused != "":
			r.walk(h.ID).set(false, paused)
		case now.Sub(h.Since) < r.p.o.Grace:
			r.walk(h.ID).set(false, inGrace)
		default:
			r.walk(h.ID).set(true, "")
		}
	}
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

// tell logs how many pins are below their minimum when that has changed much.
func (r *repair) tell() {
	r.mu.Lock()
	below, cause := r.below()
	r.mu.Unlock()
	switch was := r.told.below; {
	case below == was && cause == r.told.cause:
		return
	case below == 0:
		r.p.log.Info("all pins have their minimum of holders again")
	case below >= 2*was || cause != r.told.cause:
		r.p.log.Warn("pins below their minimum", "pins", below, "cause", cause)
	case below <= was/2:
		r.p.log.Info("fewer pins below their minimum", "pins", below, "cause", cause)
	default:
		return
	}
	r.told.below, r.told.cause = below, cause
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
