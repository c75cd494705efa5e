package pintracker

import (
	"context"
	"errors"
	"iter"

	"github.com/RaduBerinde/btreemap"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	// defaultPage and maxPage bound the items of a page.
	defaultPage = 500
	maxPage     = 4096
	// scanFactor bounds what is looked at for a page, in multiples of its limit: a
	// filter that little passes gives short pages, not long waits.
	scanFactor = 16
)

// StatusPage lists the statuses on this peer of what is in the state or still to be
// unpinned, in order of CID bytes. An item passes the filter by the one status it has.
// A page may have fewer items than the limit, none even, and More all the same.
func (t *Tracker) StatusPage(ctx context.Context, q api.StatusQuery) (api.StatusPage, error) {
	if q.Limit <= 0 {
		q.Limit = defaultPage
	}
	b := &pageBuilder{t: t, q: q, who: t.who(), limit: min(q.Limit, maxPage)}
	if q.Brief {
		b.page.From = b.who
	}
	build := b.merge
	t.mu.Lock()
	remembered := !t.backlog.open
	t.mu.Unlock()
	if remembered && q.Filter != api.StatusUndefined && q.Filter&^opStatuses == 0 {
		build = b.fromOps
	}
	err := build(ctx)
	return b.page, err
}

// pageBuilder gathers one page.
type pageBuilder struct {
	t       *Tracker
	q       api.StatusQuery
	who     api.PinInfoShort
	limit   int
	scanned int
	page    api.StatusPage
}

// full tells that c, which comes next, must wait for the next page.
func (b *pageBuilder) full(c api.Cid) bool {
	if len(b.page.Items) >= b.limit || b.scanned >= b.limit*scanFactor {
		b.page.More = true
		return true
	}
	b.scanned++
	b.page.Last = c
	return false
}

// fromOps answers from memory a filter that only operations pass.
func (b *pageBuilder) fromOps(ctx context.Context) error {
	ops := opCursor{t: b.t, after: b.q.After}
	for o, ok := ops.head(); ok; o, ok = ops.head() {
		if b.full(o.cid) {
			return nil
		}
		if err := b.addOp(ctx, o); err != nil {
			return err
		}
		ops.skip()
	}
	return nil
}

// merge reads state, operations and node side by side.
func (b *pageBuilder) merge(ctx context.Context) error {
	t := b.t
	ops := opCursor{t: t, after: b.q.After}
	node := nodeCursor{open: func() iter.Seq2[api.PinnedCid, error] { return t.node.Pinned(ctx, b.q.After) }}
	defer node.close()
	records := t.pins.Pins(ctx, b.q.After)
	if b.q.Filter != api.StatusUndefined && b.q.Filter&(api.StatusRemote|api.StatusSharded) == 0 {
		records = t.pins.Allocated(ctx, t.self.ID, b.q.After)
	}
	for p, err := range records {
		if err != nil {
			return err
		}
		o, ok := ops.head()
		for ; ok && compare(o.cid, p.Cid) < 0; o, ok = ops.head() {
			if b.full(o.cid) {
				return nil
			}
			if err := b.addOp(ctx, o); err != nil {
				return err
			}
			ops.skip()
		}
		if b.full(p.Cid) {
			return nil
		}
		switch {
		case ok && o.cid == p.Cid:
			ops.skip()
			if o.status.Match(b.q.Filter) {
				b.add(t.opInfo(p, o))
			}
		case t.known(p) != api.StatusUndefined:
			b.addPlain(p, t.known(p))
		default:
			b.addHeld(ctx, p, &node)
		}
	}
	for o, ok := ops.head(); ok; o, ok = ops.head() {
		if b.full(o.cid) {
			return nil
		}
		if err := b.addOp(ctx, o); err != nil {
			return err
		}
		ops.skip()
	}
	return ctx.Err()
}

// addHeld adds the status of a pin that this peer holds and no operation is about.
func (b *pageBuilder) addHeld(ctx context.Context, p api.Pin, node *nodeCursor) {
	mode, pinned, err := node.at(p.Cid)
	if err == nil && pinned && mode == p.Mode {
		b.addPlain(p, api.StatusPinned)
		return
	}
	var info api.PinInfo
	if err != nil {
		info = b.t.trouble(p, err)
	} else { // the list may be from before an operation that has ended since: ask
		info = b.t.heldStatus(ctx, p)
	}
	if info.Status.Match(b.q.Filter) {
		b.add(info)
	}
}

// addOp adds the status of an operation whose record was not read along.
func (b *pageBuilder) addOp(ctx context.Context, o glimpsed) error {
	if !o.status.Match(b.q.Filter) {
		return nil
	}
	p, err := b.t.pins.Get(ctx, o.cid)
	if errors.Is(err, api.NotFound) {
		p = api.Pin{Cid: o.cid}
	} else if err != nil {
		return err
	}
	b.add(b.t.opInfo(p, o))
	return nil
}

// addPlain adds a status about which there is no more to tell.
func (b *pageBuilder) addPlain(p api.Pin, s api.TrackerStatus) {
	switch {
	case !s.Match(b.q.Filter):
	case b.q.Brief:
		b.page.Items = append(b.page.Items, api.PinInfo{Cid: p.Cid, PinInfoShort: api.PinInfoShort{Status: s}})
	default:
		b.add(b.t.info(p, s))
	}
}

func (b *pageBuilder) add(info api.PinInfo) {
	if b.q.Brief {
		info = brief(info)
	} else {
		info.PinInfoShort = of(b.who, info.PinInfoShort)
	}
	b.page.Items = append(b.page.Items, info)
}

// brief is info without what StatusQuery.Brief leaves out.
func brief(info api.PinInfo) api.PinInfo {
	return api.PinInfo{Cid: info.Cid, PinInfoShort: of(api.PinInfoShort{}, info.PinInfoShort)}
}

// opCursor reads the operations in order of CID bytes, a chunk at a time.
type opCursor struct {
	t     *Tracker
	after api.Cid
	chunk []glimpsed
	ended bool
}

// opChunk bounds how many operations are copied under the Tracker's lock.
const opChunk = 256

// head is the next operation; false at the end.
func (c *opCursor) head() (glimpsed, bool) {
	if len(c.chunk) == 0 && !c.ended {
		c.t.mu.Lock()
		for _, o := range c.t.ops.byCid.Ascend(btreemap.GT(c.after), btreemap.Max[api.Cid]()) {
			c.chunk = append(c.chunk, o.glimpse())
			if len(c.chunk) == opChunk {
				break
			}
		}
		c.t.mu.Unlock()
		c.ended = len(c.chunk) < opChunk
	}
	if len(c.chunk) == 0 {
		return glimpsed{}, false
	}
	return c.chunk[0], true
}

// skip goes past the head.
func (c *opCursor) skip() {
	c.after = c.chunk[0].cid
	c.chunk = c.chunk[1:]
}

// nodeCursor reads the node's pins in step with the state. It opens on first use.
type nodeCursor struct {
	open func() iter.Seq2[api.PinnedCid, error]
	next func() (api.PinnedCid, error, bool)
	stop func()
	head api.PinnedCid
	more bool
	err  error
}

// at tells whether and how c is pinned. Calls must come in order.
func (n *nodeCursor) at(c api.Cid) (mode api.PinMode, pinned bool, err error) {
	if n.next == nil {
		n.next, n.stop = iter.Pull2(n.open())
		n.advance()
	}
	for n.more && n.err == nil && compare(n.head.Cid, c) < 0 {
		n.advance()
	}
	if n.err != nil {
		return 0, false, n.err
	}
	return n.head.Mode, n.more && n.head.Cid == c, nil
}

func (n *nodeCursor) advance() { n.head, n.err, n.more = n.next() }

func (n *nodeCursor) close() {
	if n.stop != nil {
		n.stop()
	}
}
