package pinner

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	maxSkew    = time.Minute // of the leader's clock off most others, for pins to expire
	expiryPoll = time.Minute // at most between looks, should the clock be set
	expiryWait = time.Second // before another try where pins are due and cannot go
)

// expiry unpins what is over, on the leader.
type expiry struct {
	p    *Pinner
	next atomic.Int64 // Unix nanoseconds of the first expiry known, MaxInt64 none
	wake chan struct{}
	off  bool // the clock was off when last looked at; of run only
}

func newExpiry(p *Pinner) *expiry {
	e := &expiry{p: p, wake: make(chan struct{}, 1)}
	e.next.Store(math.MaxInt64)
	return e
}

// track looks again where pin expires before all others.
func (e *expiry) track(pin api.Pin) {
	if pin.Expires() && pin.ExpireAt.UnixNano() < e.next.Load() {
		e.reload()
	}
}

func (e *expiry) reload() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

func (e *expiry) run(ctx context.Context) error {
	for {
		wait, err := e.pass(ctx)
		if err != nil && ctx.Err() == nil {
			e.p.log.Warn("pins cannot expire yet", "err", err)
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		case <-e.wake:
			t.Stop()
		}
	}
}

// pass unpins what is due and says how long to wait for the next.
func (e *expiry) pass(ctx context.Context) (time.Duration, error) {
	e.next.Store(math.MaxInt64)
	if leader, ok := e.p.cons.Leader(); !ok || leader != e.p.self {
		return expiryWait, nil
	}
	for {
		due, next, err := e.due(ctx, time.Now())
		if err != nil {
			return expiryWait, err
		}
		if len(due) == 0 {
			if next.IsZero() {
				return expiryPoll, nil
			}
			e.next.Store(next.UnixNano())
			return min(max(time.Until(next), time.Millisecond), expiryPoll), nil
		}
		if !e.clockRight() {
			return expiryWait, nil
		}
		e.p.settle(ctx, due)
		for _, c := range due {
			if err := c.res.Fault.Err(); err != nil && !errors.Is(err, unchanged) {
				return expiryWait, err
			}
		}
	}
}

// due returns a batch of unpins of what has expired at now or, without any, when the
// next pin does.
func (e *expiry) due(ctx context.Context, now time.Time) (due []*change, next time.Time, err error) {
	for pin, err := range e.p.pins.Expiring(ctx) {
		if err != nil {
			return nil, next, err
		}
		if !pin.ExpiredAt(now) {
			return due, pin.ExpireAt, nil
		}
		due = append(due, &change{cid: pin.Cid, decide: decideExpired})
		if len(due) == batchRequests {
			break
		}
	}
	return due, next, nil
}

// decideExpired unpins what is still due: a user may have prolonged it meanwhile.
func decideExpired(_ context.Context, old api.Pin, v *view) (verdict, error) {
	if !old.Cid.Defined() || !old.ExpiredAt(v.now) {
		return verdict{}, unchanged
	}
	return verdict{pin: old, delete: true}, nil
}

// clockRight tells whether this peer's clock is near those of most others, as far as
// they are known.
func (e *expiry) clockRight() bool {
	others, off := 0, 0
	for _, h := range e.p.peers.Health() {
		if h.ID == e.p.self || !h.Alive || !h.Measured {
			continue
		}
		others++
		if h.Skew.Abs() > maxSkew {
			off++
		}
	}
	wrong := off > others/2
	if wrong && !e.off {
		e.p.log.Error("this peer leads and its clock is off those of most others: no pin expires", "others", others, "off", off)
	}
	e.off = wrong
	return !wrong
}
