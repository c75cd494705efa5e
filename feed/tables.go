package feed

import (
	"context"
	"math"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	// tableLife is how old a table of coverage may be, by the members' clocks. Followers
	// pass them on, so that most are an hour or two old in a large cluster where nothing
	// happens; see DESIGN.md.
	tableLife = 6 * time.Hour
	// tableYoung is the age of one with which nobody else is asked, nor any neighbour anew.
	tableYoung = 10 * time.Minute
	// wordWait bounds the wait for the first beacon, which is asked for at once.
	wordWait, wordTick = 5 * time.Second, 100 * time.Millisecond
)

// A table is one of coverage as a member signed it.
type table struct {
	Coverage
	raw []byte
}

// age is how far the table is from what the members' clocks show, in the future too.
func (t *table) age(at time.Time) time.Duration { return at.Sub(time.Unix(t.Time, 0)).Abs() }

// Coverage asks neighbours for the table of coverage. It is the newest that was ever seen:
// what a member signed may be shown again by anybody at any time. The error is NotFound
// where that is none, or too old.
func (f *Follower) Coverage(ctx context.Context) (Coverage, error) {
	f.awaitClock(ctx)
	if f.tableAge() >= tableYoung {
		f.askTables(ctx)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if t := f.currentTable(); t != nil {
		return t.Coverage, nil
	}
	return Coverage{}, api.NotFound.Errorf("no neighbour has a new table of coverage")
}

// askTables asks neighbours for their tables, until one has a young one.
func (f *Follower) askTables(ctx context.Context) {
	inTurn(ctx, f.some(askedAtOnce), func(ctx context.Context, p Peer) (enough bool) {
		t, err := f.askTable(ctx, p)
		if err != nil {
			if api.KindOf(err) != api.NotFound {
				f.blame(ctx, p, err)
			}
			return false
		}
		f.keepTable(t)
		return f.tableAge() < tableYoung
	})
}

func (f *Follower) askTable(ctx context.Context, p Peer) (*table, error) {
	raw, err := f.client.one(ctx, p.ID, request{Op: opCoverage}, pageTime)
	if err != nil {
		return nil, err
	}
	m, err := f.judge.read(raw)
	if err != nil {
		return nil, err
	}
	if m.kind != kindCoverage {
		return nil, api.Invalid.Errorf("no table of coverage")
	}
	c, err := ParseCoverage(m.body)
	return &table{c, raw}, err
}

// keepTable keeps t if it is the newest. To have an old one is no lie: it is passed on until
// there is a newer.
func (f *Follower) keepTable(t *table) {
	f.mu.Lock()
	defer f.mu.Unlock()
	own := f.currentTable()
	if t.age(f.clock()) <= tableLife && (own == nil || t.Time >= own.Time) {
		f.table = t
	}
}

// tableAge is that of the table kept; more than tableLife where there is none.
func (f *Follower) tableAge() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t := f.currentTable(); t != nil {
		return t.age(f.clock())
	}
	return math.MaxInt64
}

// currentTable is the one kept, nil where that is none or too old. The caller holds mu.
func (f *Follower) currentTable() *table {
	if f.table != nil && f.table.age(f.clock()) > tableLife {
		f.table = nil
	}
	return f.table
}

// clock is what the members' clocks show, or this machine's where none has said so yet. The
// caller holds mu.
func (f *Follower) clock() time.Time {
	now := time.Now()
	if f.shown.IsZero() {
		return now
	}
	return f.shown.Add(now.Sub(f.seen))
}

// awaitClock waits a little for a member's word of the time, as a follower that has just
// come: its own clock may be wrong.
func (f *Follower) awaitClock(ctx context.Context) {
	known := func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return !f.shown.IsZero()
	}
	for waited := time.Duration(0); !known() && waited < wordWait; waited += wordTick {
		if sleep(ctx, wordTick) != nil {
			return
		}
	}
}

// coverage implements source: what a member signed.
func (f *Follower) coverage(context.Context) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.currentTable()
	if t == nil {
		return nil, api.NotFound.Errorf("there is no table of coverage here")
	}
	return t.raw, nil
}
