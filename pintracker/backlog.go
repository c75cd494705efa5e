package pintracker

import (
	"context"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// A backlog is what there is to do beyond the operations in memory, which Options.Window
// bounds. A pin for which there is no room, or that fails while there are such, is left
// to the comparison of state and node, which finds it again; what is known of its
// failures is in the journal. Counts are as of the last whole comparison, and about
// right since. Fields are guarded by Tracker.mu.
type backlog struct {
	open  bool
	count tally
	left  tally     // all that was ever left
	after api.Cid   // how far bringing in has come
	rest  time.Time // nothing is brought in before: the last comparison was a moment ago
	due   time.Time // nor before: until then what failed is to wait
	haste time.Time // what failed before is tried again at once
}

// tally counts what is left: pins that were not tried, pins that failed, and unpins.
type tally struct {
	queued, failed, unpins int
	bytes                  uint64 // sum of the sizes of the pins
}

func (n *tally) add(failed bool, size uint64) {
	if failed {
		n.failed++
	} else {
		n.queued++
	}
	n.bytes += size
}

// since is n less what was counted in an earlier state of it.
func (n tally) since(before tally) tally {
	return tally{max(0, n.queued-before.queued), max(0, n.failed-before.failed), max(0, n.unpins-before.unpins), n.bytes - min(n.bytes, before.bytes)}
}

func (n tally) plus(m tally) tally {
	return tally{n.queued + m.queued, n.failed + m.failed, n.unpins + m.unpins, n.bytes + m.bytes}
}

// restFactor is how many times as long as a whole comparison took is waited for the next
// one that brings in, and minRest the least.
const (
	restFactor = 10
	minRest    = 5 * time.Second
)

// full tells whether there is no room for another operation. What has failed before
// makes way. Under mu.
func (t *Tracker) full() bool {
	s := &t.ops
	if s.byCid.Len() < t.o.Window {
		return false
	}
	for _, q := range []*queue{&s.parked, &s.ready} {
		if n := q.Len(); n > 0 {
			if o := q.items[n-1]; o.kind == pinOp && o.fail != nil {
				t.evict(o)
				return false
			}
		}
	}
	return true
}

// evict leaves o, a pin with a row in the journal, to the backlog. Under mu.
func (t *Tracker) evict(o *op) {
	t.noteLeft(true, o.size, time.Unix(0, o.next))
	t.ops.remove(o)
}

// leave leaves an operation that there is no room for to the backlog. Under mu.
func (t *Tracker) leave(c api.Cid, k kind, size uint64) {
	if k == pinOp {
		t.noteLeft(false, size, time.Time{})
		return
	}
	b := &t.backlog
	b.open, b.rest, b.due = true, time.Time{}, time.Time{}
	b.count.unpins++
	b.left.unpins++
	if t.o.Exclusive {
		t.journal.put(c, nil) // its pin has failed for the last time
	}
}

func (t *Tracker) noteLeft(failed bool, size uint64, due time.Time) {
	b := &t.backlog
	if !b.open || due.Before(b.due) {
		b.due = due
	}
	if !failed { // it was not looked for yet, and need not wait
		b.rest = time.Time{}
	}
	b.open = true
	b.count.add(failed, size)
	b.left.add(failed, size)
}

// hurry has all that has failed tried again as soon as there is room. Under mu.
func (t *Tracker) hurry() {
	if b := &t.backlog; b.open {
		b.haste = time.Now()
		b.after, b.rest, b.due = api.CidUndef, time.Time{}, time.Time{}
		signal(t.wake)
	}
}

// bringAt tells when there is something to bring in; zero where there is nothing, or no
// room. Under mu.
func (t *Tracker) bringAt() time.Time {
	b := &t.backlog
	if !b.open || t.ops.byCid.Len() > t.o.Window/2 {
		return time.Time{}
	}
	at := b.rest
	if b.due.After(at) {
		at = b.due
	}
	if at.IsZero() {
		at = time.Unix(0, 1) // long ago
	}
	return at
}

// bringIn makes operations of what the backlog has, until there is no room for more.
func (t *Tracker) bringIn(ctx context.Context) error {
	t.mu.Lock()
	after, at := t.backlog.after, t.bringAt()
	t.mu.Unlock()
	if at.IsZero() || time.Now().Before(at) {
		return nil
	}
	return t.compare(ctx, after, true)
}

// comparison is one reading of state and node side by side.
type comparison struct {
	t      *Tracker
	began  time.Time
	whole  bool // it began at the start
	before tally
	found  tally     // pins that stay in the backlog
	taken  tally     // pins that were in it
	due    time.Time // when the first of found may be tried again
	waits  bool      // one of found has only no room
	rows   *rowCursor
}

// newComparison begins one of CIDs past after. Close it.
func (t *Tracker) newComparison(after api.Cid) (*comparison, error) {
	rows, err := t.journal.readAlong()
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return &comparison{t: t, began: time.Now(), whole: !after.Defined(), before: t.backlog.left, rows: rows}, nil
}

func (m *comparison) close() { _ = m.rows.Close() } // what it read was right

// absent is for a pin that the node lacks, or has in another mode. It tells whether there
// is room for more of these.
func (m *comparison) absent(p api.Pin) (room bool, err error) {
	m.t.mu.Lock()
	o, open := m.t.ops.get(p.Cid), m.t.backlog.open
	m.t.mu.Unlock()
	var failed *row
	if o == nil && open {
		if failed, err = m.rows.get(p.Cid); failed == nil && err == nil {
			failed, err = m.t.journal.get(p.Cid) // it may have failed since
		}
		if err != nil {
			return false, err
		}
		if failed != nil && failed.Kind != pinOp {
			failed = nil
		}
	}
	return m.want(p, failed), nil
}

// want makes an operation of p, unless its time has not come.
func (m *comparison) want(p api.Pin, failed *row) (room bool) {
	t, b, now := m.t, &m.t.backlog, time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.noteLeaving(p)
	o := t.ops.get(p.Cid)
	if o != nil {
		if o.kind != pinOp {
			t.want(p.Cid, pinOp, p.Size)
		}
		return true
	}
	if failed != nil {
		next := time.Unix(0, failed.Next)
		early := next.After(now) && failed.At >= b.haste.UnixNano()
		// Half of the room is kept for what was not tried yet.
		if early || t.ops.byCid.Len() >= t.o.Window/2 {
			m.found.add(true, p.Size)
			m.waits = m.waits || !early
			if m.due.IsZero() || next.Before(m.due) {
				m.due = next
			}
			return true
		}
	} else if t.full() {
		m.found.add(false, p.Size)
		m.waits = true
		return false
	}
	m.taken.add(failed != nil, p.Size)
	o = t.want(p.Cid, pinOp, p.Size)
	if o != nil && failed != nil {
		o.recall(*failed)
	}
	return true
}

// end notes what is known of the backlog after the comparison came as far as last, or to
// the end.
func (m *comparison) end(last api.Cid, stopped bool) {
	t, b := m.t, &m.t.backlog
	t.mu.Lock()
	defer t.mu.Unlock()
	since := b.left.since(m.before)
	switch {
	case stopped:
		b.after, b.rest, b.due = last, time.Time{}, time.Time{}
		b.count = b.count.since(m.taken)
		return
	case !m.whole: // on from the start
		b.after, b.rest, b.due = api.CidUndef, time.Time{}, time.Time{}
		b.count = b.count.since(m.taken)
		return
	}
	b.count = m.found.plus(since)
	b.open = b.count != tally{}
	b.after, b.due = api.CidUndef, m.due
	if m.waits || since != (tally{}) {
		b.due = time.Time{}
	}
	if b.count.queued+b.count.unpins == 0 {
		b.rest = time.Now().Add(max(minRest, restFactor*time.Since(m.began)))
	}
	signal(t.wake)
}

// recall gives o the history that the journal has of it.
func (o *op) recall(r row) {
	o.attempts, o.rank, o.rowed = r.Attempts, r.Rank, true
	o.fail = &failure{cause: r.Cause, text: r.Error, bytes: r.Bytes}
}

// failed gives the row of a pin that has failed, nil for none. Where there is no backlog
// it is in memory, and not asked for.
func (t *Tracker) failed(c api.Cid) (*row, error) {
	t.mu.Lock()
	open := t.backlog.open
	t.mu.Unlock()
	if !open {
		return nil, nil
	}
	r, err := t.journal.get(c)
	if err != nil || r == nil || r.Kind != pinOp {
		return nil, err
	}
	return r, nil
}

// leftInfo tells of a pin that the node lacks and no operation is about; not ok where
// there is no backlog that it could be in.
func (t *Tracker) leftInfo(p api.Pin) (info api.PinInfo, ok bool) {
	t.mu.Lock()
	open := t.backlog.open
	t.mu.Unlock()
	if !open {
		return info, false
	}
	r, err := t.failed(p.Cid)
	switch {
	case err != nil:
		return t.trouble(p, err), true
	case r == nil:
		return t.info(p, api.StatusPinQueued), true
	}
	return t.opInfo(p, glimpsed{cid: p.Cid, status: api.StatusPinError, at: r.At, next: r.Next, attempts: int(r.Attempts),
		fail: &failure{cause: r.Cause, text: r.Error, bytes: r.Bytes}, bytes: r.Bytes}), true
}
