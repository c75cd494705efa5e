package pintracker

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	// retryShare is the part of the finders that pins past their first try may take, as
	// a divisor: the others are kept for new pins.
	retryShare = 4
	// idleShare is, likewise, how many fetches to which no bytes arrive may stay open.
	idleShare = 4
	// unpinners bounds the unpins at once.
	unpinners = 4
	// downLimit is how many steps in a row must say that the node is down.
	downLimit = 10
	// nodeTimeout bounds a question that the node answers from what it has.
	nodeTimeout = 30 * time.Second
)

// errReplaced ends an operation that the state no longer asks for.
var errReplaced = errors.New("no longer asked for")

// want makes k what is to be done about c, at once if it was parked. It returns nil where
// there is no room: the backlog has it then. Under mu.
func (t *Tracker) want(c api.Cid, k kind, size uint64) *op {
	now := time.Now()
	o := t.ops.get(c)
	isNew := o == nil
	if isNew && t.full() {
		t.leave(c, k, size)
		return nil
	}
	if isNew {
		o = t.ops.add(c, k)
		o.rowed = t.backlog.open // there may be a row from when it was left
	}
	changed := o.kind != k
	t.ops.setKind(o, k)
	if k == pinOp {
		t.ops.setSize(o, size)
	}
	o.surplus, o.asked = false, now.UnixNano()
	switch {
	case o.run != nil:
		o.again = true
		if changed {
			o.at = now.UnixNano()
			o.run.cancel(errReplaced)
		}
	case isNew || changed || o.phase == parked:
		o.rank = 0
		t.ops.enqueue(o, queued, now)
		signal(t.wake)
	}
	return o
}

// dispatch starts operations as their turn comes. They run in g.
func (t *Tracker) dispatch(ctx context.Context, g *errgroup.Group) error {
	hands := newCrew(g)
	for {
		var due <-chan time.Time
		if next := t.start(ctx, hands); !next.IsZero() {
			due = time.After(time.Until(next))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.wake:
		case <-due:
		}
	}
}

// start starts what may be started now, and tells when to come again at the latest;
// zero: when woken.
func (t *Tracker) start(ctx context.Context, hands *crew) (next time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, now := &t.ops, time.Now()
	if ctx.Err() != nil {
		return next
	}
	soonest := func(at time.Time) {
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	for o := s.parked.head(); o != nil && o.next <= now.UnixNano(); o = s.parked.head() {
		s.enqueue(o, queued, now)
	}
	if o := s.parked.head(); o != nil {
		soonest(time.Unix(0, o.next))
	}
	if at := t.bringAt(); at.After(now) {
		soonest(at)
	} else if !at.IsZero() {
		signal(t.room)
	}
	if now.Before(t.hold) {
		soonest(t.hold)
		return next
	}
	for o := s.found.head(); o != nil && s.busy < t.atOnce(t.o.Workers) && len(s.fetching)-s.busy < t.maxIdle(); o = s.found.head() {
		t.launch(ctx, hands, o, fetching, t.fetch)
	}
	for o := s.ready.head(); o != nil && s.finding < t.atOnce(t.o.Finders); o = s.ready.head() {
		if o.rank > 0 && s.retrying >= max(1, t.o.Finders/retryShare) {
			break // nor any behind it: they have more attempts
		}
		t.launch(ctx, hands, o, finding, t.find)
	}
	if now.Before(t.unhold) {
		if s.unpins.Len() > 0 {
			soonest(t.unhold)
		}
		return next
	}
	for o := s.unpins.head(); o != nil && s.unpinning < t.atOnce(unpinners); o = s.unpins.head() {
		t.launch(ctx, hands, o, unpinning, t.unpin)
	}
	return next
}

// maxIdle bounds the fetches without a slot: each keeps wants open.
func (t *Tracker) maxIdle() int { return max(t.o.Workers, t.o.Finders/idleShare) }

// launch has hands run step on o. Under mu.
func (t *Tracker) launch(parent context.Context, hands *crew, o *op, p phase, step func(context.Context, *op) verdict) {
	s, now := &t.ops, time.Now()
	s.dequeue(o)
	o.phase, o.at, o.again = p, now.UnixNano(), false
	retry := o.rank > 0
	ctx, cancel := context.WithCancelCause(parent)
	o.run = &run{cancel: cancel, moved: now}
	if p == fetching {
		t.tellOf(o)
	}
	switch p {
	case finding:
		s.finding++
		if retry {
			s.retrying++
		}
	case fetching:
		s.fetching[o] = struct{}{}
		s.busy++
	case unpinning:
		s.unpinning++
	}
	hands.do(parent, func() {
		defer cancel(nil)
		v := step(ctx, o)
		t.mu.Lock()
		defer t.mu.Unlock()
		switch p {
		case finding:
			s.finding--
			if retry {
				s.retrying--
			}
		case fetching:
			delete(s.fetching, o)
			if !o.run.idle {
				s.busy--
			}
		case unpinning:
			s.unpinning--
		}
		t.settle(o, p, v, parent.Err() != nil)
		signal(t.wake)
	})
}

// verdict is what came of a step.
type verdict struct {
	next verdictKind
	err  error // of a failure
}

type verdictKind uint8

const (
	done   verdictKind = iota // node and state agree
	gone                      // the state does not ask for it
	onward                    // the first block was found
	later                     // not now, and nobody's fault: back to the queue
	failed
)

// failing is the verdict of a step that failed with err.
func failing(err error) verdict { return verdict{next: failed, err: err} }

// settle moves o to where it belongs after a step in phase p ended with v. ending tells
// that the Tracker stops: failures then mean nothing. Under mu.
func (t *Tracker) settle(o *op, p phase, v verdict, ending bool) {
	s, now := &t.ops, time.Now()
	arrived := o.run.bytes.Load()
	o.run = nil
	if v.next != later && !ending {
		t.noteNode(v.err, now)
	}
	replaced := (o.kind == unpinOp) != (p == unpinning)
	switch {
	case replaced, v.next == later, v.next == failed && ending:
		s.enqueue(o, queued, now)
	case v.next == failed:
		t.park(o, v.err, arrived, now)
	case v.next == onward:
		s.enqueue(o, found, now)
	case o.again:
		o.rank = 0
		s.enqueue(o, queued, now)
	case v.next == gone && o.kind == pinOp && o.rowed:
		// It may be on the node from before, and nobody told us that it went.
		s.setKind(o, unpinOp)
		o.surplus = true
		s.enqueue(o, queued, now)
	default:
		if o.rowed || !t.o.Exclusive {
			keep := (o.kind == pinOp) == (v.next == done)
			t.journal.put(o.cid, t.ownRow(keep))
		}
		s.remove(o)
		if (o.kind == pinOp) == (v.next == done) {
			t.tellEnd(o.cid, api.StatusPinned)
		} else {
			t.tellEnd(o.cid, api.StatusUnpinned)
		}
	}
}

// ownRow is what the journal keeps of a CID with nothing to do: where the node is
// shared and the pin stays, that it is ours; else nothing.
func (t *Tracker) ownRow(stays bool) *row {
	if t.o.Exclusive || !stays {
		return nil
	}
	return &row{}
}

// noteNode draws from a step's error whether the node answers at all. Where many in a
// row say that it does not, one operation at a time tries it. Under mu.
func (t *Tracker) noteNode(err error, now time.Time) {
	if api.CauseOf(err) != api.CauseBackendDown {
		if t.downs >= downLimit {
			t.log.Info("the IPFS node answers again")
		}
		t.downs = 0
		return
	}
	t.downs++
	if t.downs == downLimit {
		t.log.Warn("the IPFS node does not answer", "err", err)
	}
	if t.downs >= downLimit {
		t.hold = now.Add(t.o.Backoff)
	}
}

// atOnce is limit, or 1 while the node seems down. Under mu.
func (t *Tracker) atOnce(limit int) int {
	if t.downs >= downLimit {
		return 1
	}
	return limit
}

// park records a failure of o and sets when to try again. Under mu.
func (t *Tracker) park(o *op, err error, arrived uint64, now time.Time) {
	cause := api.CauseOf(err)
	o.attempts++
	o.fail = &failure{cause: cause, text: clip(err.Error()), bytes: arrived}
	wait := backoff(t.o.Backoff, t.o.MaxBackoff, o.rank)
	if cause == api.CauseBackendDown {
		wait = t.o.Backoff // no fault of the pin's
	} else if o.rank < maxRank {
		o.rank++
	}
	wait += time.Duration(rand.Int64N(int64(wait)/4 + 1)) // so that what failed together is not tried together
	o.next = now.Add(wait).UnixNano()
	t.ops.enqueue(o, parked, now)
	o.rowed = true
	t.journal.put(o.cid, o.row())
	t.tellOf(o)
	t.log.Debug("pin operation failed", "cid", o.cid, "status", o.status().String(), "cause", string(cause),
		"attempts", o.attempts, "err", err)
	if t.backlog.open && o.kind == pinOp {
		t.evict(o)
	}
}

// maxRank bounds rank: by then patience and backoff have long reached their limits.
const maxRank = 30

// backoff is base doubled n times, limit at most.
func backoff(base, limit time.Duration, n int16) time.Duration {
	for ; n > 0 && base < limit; n-- {
		base *= 2
	}
	return min(base, limit)
}

// find looks for the first block of o.
func (t *Tracker) find(ctx context.Context, o *op) verdict {
	var p api.Pin
	var held, pinned bool
	var err error
	beside(func() {
		if p, held, err = t.wanted(ctx, o.cid); err == nil && held {
			pinned, err = t.pinnedAs(ctx, p)
		}
	})
	switch {
	case err != nil:
		return failing(err)
	case !held:
		return verdict{next: gone}
	case pinned:
		return t.takeOver(ctx, o.cid)
	}
	t.mu.Lock()
	patience := backoff(t.o.Patience, t.o.MaxPatience, o.rank)
	t.mu.Unlock()
	search, cancel := t.patient(ctx, patience)
	defer cancel()
	if err := t.node.Find(search, p); err != nil {
		if search.Err() != nil && ctx.Err() == nil && api.CauseOf(err) == api.CauseOther {
			err = api.CauseNoProvider.Wrap(api.Unavailable.Errorf("no peer offered the first block in %s", patience))
		}
		return failing(err)
	}
	return verdict{next: onward}
}

// beside runs f on a stack of its own. One that has grown to read a database would stay
// so while its goroutine waits, and a thousand wait at once.
func beside(f func()) {
	var other sync.WaitGroup
	other.Go(f)
	other.Wait()
}

// fetch gets all of o and pins it. The watcher cancels it where it stalls.
func (t *Tracker) fetch(ctx context.Context, o *op) verdict {
	p, held, err := t.wanted(ctx, o.cid)
	if err != nil {
		return failing(err)
	}
	if !held {
		return verdict{next: gone}
	}
	t.mu.Lock()
	r := o.run
	t.mu.Unlock()
	err = t.node.Pin(ctx, p, func(n uint64) { r.bytes.Store(n) })
	if err != nil {
		if cause := context.Cause(ctx); api.CauseOf(cause) == api.CauseStalled {
			err = cause
		}
		return failing(err)
	}
	return verdict{next: done}
}

// takeOver ends what an add may have kept of c: it is a pin of the pinset now.
func (t *Tracker) takeOver(ctx context.Context, c api.Cid) verdict {
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	if err := t.node.ClearMark(ctx, c); err != nil {
		return failing(err)
	}
	return verdict{next: done}
}

// wanted gives the record of c and whether this peer is to hold it.
func (t *Tracker) wanted(ctx context.Context, c api.Cid) (p api.Pin, held bool, err error) {
	p, err = t.pins.Get(ctx, c)
	if errors.Is(err, api.NotFound) {
		return p, false, nil
	}
	return p, err == nil && p.HeldBy(t.self.ID), err
}

// pinnedAs tells whether the node has p pinned, in p's mode.
func (t *Tracker) pinnedAs(ctx context.Context, p api.Pin) (bool, error) {
	mode, pinned, err := t.askNode(ctx, p.Cid)
	return pinned && mode == p.Mode, err
}

// askNode is PinStatus within nodeTimeout.
func (t *Tracker) askNode(ctx context.Context, c api.Cid) (api.PinMode, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	mode, pinned, err := t.node.PinStatus(ctx, c)
	if err != nil && ctx.Err() == context.DeadlineExceeded {
		err = api.CauseBackendDown.Wrap(api.Unavailable.Errorf("the IPFS node did not answer in %s", nodeTimeout))
	}
	return mode, pinned, err
}
