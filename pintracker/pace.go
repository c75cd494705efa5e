package pintracker

import (
	"context"
	"time"
)

const (
	// firstBytes is what a first block takes of a bounded rate, and fetchBytes what the
	// blocks do that are under way for one fetch, for fetchTurn at most.
	firstBytes = 256 << 10
	fetchBytes = 8 << 20
	fetchTurn  = 32 * time.Second
	// turn is how long the first blocks of all searches may take one another.
	turn = 15 * time.Second
	// pacedPatience is the least for a block: so long it takes until the line is seen to be
	// busy.
	pacedPatience = 3 * time.Second
	// busyShare is what part of the rate comes in on a line that is busy, as a divisor.
	busyShare = 4
)

// paced returns o for its rate: with few bytes a second less is done at a time. What has
// been asked for and given up comes all the same, late, and is asked for again.
func (o Options) paced() Options {
	if o.Rate == 0 {
		return o
	}
	o.Workers = min(o.Workers, max(1, int(o.Rate>>20)))
	o.Finders = min(o.Finders, max(8, int(turn.Seconds()*float64(o.Rate)/firstBytes)))
	o.Patience = max(o.Patience, pacedPatience)
	o.MaxPatience = max(o.MaxPatience, o.Patience)
	return o
}

// FetchRate is the part of Rate that is there for each fetch; 0 is no bound.
func (o Options) FetchRate() uint64 {
	if o.Rate == 0 {
		return 0
	}
	return max(1, o.Rate/uint64(o.WithDefaults().paced().Workers))
}

// detour is how long what was asked for may take where all else that was comes first.
func (o Options) detour() time.Duration { return o.fetches() + o.lasts(o.Finders*firstBytes) }

// fetches is how long the blocks take that are under way for all fetches.
func (o Options) fetches() time.Duration { return min(fetchTurn, o.lasts(o.Workers*fetchBytes)) }

// quiet is how long a fetch keeps its slot without new bytes.
func (o Options) quiet() time.Duration {
	if o.Rate == 0 {
		return quiet
	}
	return pacedPatience
}

// stall is how long a fetch may stand still at its try of that rank. The node asks another
// peer only after what it asked of one for all fetches could have come.
func (o Options) stall(rank int16) time.Duration {
	return backoff(o.Stall/firstStall, o.Stall, rank) + o.fetches()
}

// lasts is how long that many bytes take; 0 without a bound.
func (o Options) lasts(bytes int) time.Duration {
	if o.Rate == 0 {
		return 0
	}
	return time.Duration(float64(bytes) / float64(o.Rate) * float64(time.Second))
}

// line is what a bounded rate allows, shared by all fetches.
type line struct {
	busy   time.Time // when it was last seen to be
	cameIn uint64    // by then
	looked time.Time
}

// look notes whether the line is busy. Under mu.
func (t *Tracker) look(now time.Time) {
	if t.o.Rate == 0 || t.o.CameIn == nil {
		return
	}
	l := &t.line
	n := t.o.CameIn()
	if come := n - min(l.cameIn, n); float64(come) >= float64(t.o.Rate)/busyShare*now.Sub(l.looked).Seconds() {
		l.busy = now
	}
	l.cameIn, l.looked = n, now
}

// waited tells for how long something that is still since then was waited for while the
// line was idle: what others have the line for is on its way. It is the whole time
// where that is longer than their blocks can take. Under mu.
func (t *Tracker) waited(since, now time.Time) time.Duration {
	still := now.Sub(since)
	return max(still-t.o.detour(), min(still, now.Sub(t.line.busy)))
}

// patient returns a context for a search that ends once it was waited for that long.
func (t *Tracker) patient(ctx context.Context, patience time.Duration) (context.Context, context.CancelFunc) {
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, patience+t.o.detour())
	if t.o.Rate == 0 {
		return ctx, cancel
	}
	ctx, giveUp := context.WithCancelCause(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	var timer *time.Timer
	timer = time.AfterFunc(patience, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if left := patience - t.waited(begun, time.Now()); left > 0 {
			timer.Reset(left)
		} else {
			giveUp(context.DeadlineExceeded)
		}
	})
	return ctx, func() { timer.Stop(); cancel() }
}
