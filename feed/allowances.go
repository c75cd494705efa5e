package feed

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/pinfold-cluster/pinfold/api"
)

// What those of one address that are no members may ask, together: peer IDs cost nothing.
const (
	askRate  = 20  // questions a second, pages apart,
	askBurst = 200 // and at once
	// Pages are many, and bounded by their bytes beside: at 32 KiB on average these are
	// 16 MiB a second, and 100,000 pins at once.
	pageRate  = 512
	pageBurst = 1024
	// askWait is how long a question waits for its turn. One whose turn is later waits as
	// long to be refused: who asks too much has only so many streams, and learns slowly.
	askWait = time.Second

	maxAllowances   = 1024 // addresses remembered
	allowanceMemory = time.Minute
)

// errBusy is in the chain of errors about what the other side may answer another time. It
// is Unavailable.
var errBusy = fmt.Errorf("busy: %w", api.Unavailable)

// allowances say how much is answered to those of each address.
type allowances struct {
	mu   sync.Mutex
	by   map[string]*allowance
	rest *allowance // of all for whom there is no room
}

type allowance struct {
	asks, pages *rate.Limiter
	last        time.Time
}

func newAllowances() *allowances {
	return &allowances{by: map[string]*allowance{}, rest: newAllowance()}
}

func newAllowance() *allowance {
	return &allowance{asks: rate.NewLimiter(askRate, askBurst), pages: rate.NewLimiter(pageRate, pageBurst)}
}

// of gives the allowance of an address.
func (a *allowances) of(address string, now time.Time) *allowance {
	a.mu.Lock()
	defer a.mu.Unlock()
	one := a.by[address]
	if one == nil {
		if len(a.by) >= maxAllowances {
			a.forget(now)
		}
		if len(a.by) >= maxAllowances {
			return a.rest
		}
		one = newAllowance()
		a.by[address] = one
	}
	one.last = now
	return one
}

// forget drops those that have their whole allowance again. The caller holds mu.
func (a *allowances) forget(now time.Time) {
	for address, one := range a.by {
		if now.Sub(one.last) >= allowanceMemory {
			delete(a.by, address)
		}
	}
}

// take takes one question of that kind from the allowance. It tells for how long the
// asker has to wait, and whether it is answered then.
func (a *allowance) take(o op, now time.Time) (wait time.Duration, ok bool) {
	limit := a.asks
	if o == opPage {
		limit = a.pages
	}
	turn := limit.ReserveN(now, 1)
	if wait = turn.DelayFrom(now); wait <= askWait {
		return wait, true
	}
	turn.CancelAt(now)
	return askWait, false
}

// allow returns once a question of the peer may be answered. The error wraps errBusy.
func (s *streams) allow(ctx context.Context, from api.PeerID, o op) error {
	now := time.Now()
	wait, ok := s.allowances.of(s.net.Address(from), now).take(o, now)
	if wait == 0 || !s.isGuest(from) && s.isMember(ctx, from) {
		return nil
	}
	if err := sleep(ctx, wait); err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("too many questions come from this address, ask again later: %w", errBusy)
	}
	return nil
}
