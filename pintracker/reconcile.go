package pintracker

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// reconcileLoop compares node and state at the start, after a Reload and every
// Options.Sync; after an error sooner.
func (t *Tracker) reconcileLoop(ctx context.Context) error {
	failures := int16(0)
	for {
		wait := t.o.Sync
		if err := t.reconcile(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			wait = backoff(t.o.Backoff, t.o.Sync, failures)
			failures = min(failures+1, maxRank)
			t.log.Warn("compare node and state", "err", err, "retry_in", wait)
		} else {
			failures = 0
		}
		for due, again := time.After(wait), false; !again; {
			select {
			case <-ctx.Done():
				return nil
			case <-t.room:
				if err := t.bringIn(ctx); err != nil && ctx.Err() == nil {
					t.log.Warn("bring in what waits", "err", err)
				}
			case <-t.sync:
				again = true
			case <-due:
				again = true
			}
		}
	}
}

// reconcile queues what the node lacks, and what it has too much. It is a merge of two
// sorted reads, so it takes little memory. Each operation looks again at its turn:
// what happens meanwhile does no harm.
func (t *Tracker) reconcile(ctx context.Context) error {
	if err := t.compare(ctx, api.CidUndef, false); err != nil {
		return err
	}
	return t.sweepMarks(ctx)
}

// compare does what reconcile does for CIDs past after. With upToRoom it ends where there
// is no room for more operations.
func (t *Tracker) compare(ctx context.Context, after api.Cid, upToRoom bool) error {
	m, err := t.newComparison(after)
	if err != nil {
		return err
	}
	defer m.close()
	onNode, stop := iter.Pull2(t.node.Pinned(ctx, after))
	defer stop()
	have, err, more := onNode()
	last := after
	for p, perr := range t.pins.Allocated(ctx, t.self.ID, after) {
		if perr != nil {
			return fmt.Errorf("read pinset: %w", perr)
		}
		for more && err == nil && compare(have.Cid, p.Cid) < 0 {
			t.excess(have.Cid)
			have, err, more = onNode()
		}
		if err != nil {
			return fmt.Errorf("list pins of the node: %w", err)
		}
		switch {
		case p.Type == api.PinMeta:
		case more && have.Cid == p.Cid:
			same := have.Mode == p.Mode
			have, err, more = onNode()
			if same {
				t.present(p)
				break
			}
			fallthrough
		default:
			room, err := m.absent(p)
			if err != nil {
				return err
			}
			if !room && upToRoom {
				m.end(last, true)
				return nil
			}
		}
		last = p.Cid
	}
	for ; more; have, err, more = onNode() {
		if err != nil {
			return fmt.Errorf("list pins of the node: %w", err)
		}
		t.excess(have.Cid)
	}
	m.end(last, false)
	return nil
}

// present is for a pin that the node has.
func (t *Tracker) present(p api.Pin) {
	t.mu.Lock()
	t.noteLeaving(p)
	t.mu.Unlock()
	if t.o.Exclusive {
		return
	}
	switch ours, err := t.journal.has(p.Cid); {
	case err != nil:
		t.log.Error("read the tracker journal", "err", err)
	case !ours:
		t.journal.put(p.Cid, &row{})
	}
}

// excess is for a CID that the node has pinned and this peer is not to hold.
func (t *Tracker) excess(c api.Cid) {
	if !t.o.Exclusive {
		ours, err := t.journal.has(c)
		if err != nil {
			t.log.Error("read the tracker journal", "err", err)
		}
		if !ours {
			return
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wantGone(c)
}

// wantGone queues an unpin that the state did not ask for, unless something is already
// to be done about c. Under mu.
func (t *Tracker) wantGone(c api.Cid) {
	if t.ops.get(c) != nil {
		return
	}
	if o := t.want(c, unpinOp, 0); o != nil {
		o.surplus = true
	}
}

// sweepMarks queues the unpins of what adds left behind: pins that the pinset has not
// taken over in Options.MarkAge. What somebody else had pinned on a shared node before
// the add stays.
func (t *Tracker) sweepMarks(ctx context.Context) error {
	var old []api.Mark
	for m, err := range t.node.Marks(ctx) {
		if err != nil {
			return fmt.Errorf("list the marks of adds: %w", err)
		}
		if time.Since(m.Since) >= t.o.MarkAge {
			old = append(old, m)
		}
	}
	for _, m := range old {
		_, stays, err := t.wanted(ctx, m.Cid)
		if err != nil {
			return fmt.Errorf("read pinset: %w", err)
		}
		if !stays && m.Before && !t.o.Exclusive {
			ours, err := t.journal.has(m.Cid)
			if err != nil {
				return fmt.Errorf("read the tracker journal: %w", err)
			}
			stays = !ours
		}
		if stays {
			if err := t.node.ClearMark(ctx, m.Cid); err != nil {
				return fmt.Errorf("clear the mark of an add: %w", err)
			}
			continue
		}
		t.mu.Lock()
		t.wantGone(m.Cid)
		t.mu.Unlock()
	}
	return nil
}

// isLeaving tells whether peer holds p only until others do.
func isLeaving(p api.Pin, peer api.PeerID) bool {
	return slices.Contains(p.Leaving, peer)
}

// Heard tells that peer can be reached again: what waits and is allotted to it too is
// looked for at once. It does not block.
func (t *Tracker) Heard(peer api.PeerID) {
	if peer == t.self.ID {
		return
	}
	t.mu.Lock()
	t.back[peer] = struct{}{}
	t.mu.Unlock()
	signal(t.heard)
}

// Retry looks at once for those of cids that wait for their next try: somebody has
// been heard to hold them. It does not block.
func (t *Tracker) Retry(cids ...api.Cid) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range cids {
		if o := t.ops.get(c); o != nil && o.kind == pinOp {
			t.hasten(o)
		}
	}
}

// hasten gives o, if it is parked or waits behind others after failures, the place and
// patience of a new one. Under mu.
func (t *Tracker) hasten(o *op) bool {
	if o.run != nil || o.phase != parked && o.rank == 0 {
		return false
	}
	o.rank = 0
	if o.phase == parked {
		t.ops.enqueue(o, queued, time.Now())
	} else {
		t.ops.enqueue(o, o.phase, time.Unix(0, o.at))
	}
	signal(t.wake)
	return true
}

// hear retries what waits for peers that are back.
func (t *Tracker) hear(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.heard:
		}
		t.mu.Lock()
		back := t.back
		t.back = map[api.PeerID]struct{}{}
		waiting := make([]api.Cid, 0, t.ops.parked.Len())
		for _, o := range t.ops.parked.items {
			if o.kind == pinOp {
				waiting = append(waiting, o.cid)
			}
		}
		t.hurry()
		t.mu.Unlock()
		for _, c := range waiting {
			if ctx.Err() != nil {
				return nil
			}
			p, held, err := t.wanted(ctx, c)
			if err == nil && held && heldByAny(p, back) {
				t.Retry(c)
			}
		}
	}
}

func heldByAny(p api.Pin, peers map[api.PeerID]struct{}) bool {
	for peer := range peers {
		if p.HeldBy(peer) {
			return true
		}
	}
	return false
}
