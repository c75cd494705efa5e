package consensus

import (
	"context"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	entriesInFlight = 16
	// eagerEntries is how many entries may be in flight for another to go that is not
	// full. With more, each would hold a change or two, and cost the disks as much as a
	// full one; what comes meanwhile shares the next.
	eagerEntries = 1
	queuedParts  = 4 * entriesInFlight
	// maxOpSize bounds an encoded change: a record, and what ties it to its request.
	maxOpSize = api.MaxRecordSize + 4<<10
)

// A queue holds changes on their way into entries, in order.
type queue struct {
	parts chan *part
	turn  chan struct{} // holds one item: the right to make the next entry

	held *part // did not fit into the last entry; owned by who has the turn

	mu     *sync.Mutex
	flying int           // entries in flight
	landed chan struct{} // closed when one of them ends
}

func newQueue() queue {
	q := queue{parts: make(chan *part, queuedParts), turn: make(chan struct{}, 1), mu: &sync.Mutex{}, landed: make(chan struct{})}
	q.turn <- struct{}{}
	return q
}

func (q *queue) start() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.flying++
}

func (q *queue) land() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.flying--
	close(q.landed)
	q.landed = make(chan struct{})
}

// flight tells how many entries are in flight, and gives what is closed when one ends.
func (q *queue) flight() (int, <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.flying, q.landed
}

// A part is a caller's changes as far as they fit into one entry.
type part struct {
	ops  [][]byte // encoded
	size int      // bytes

	mu       sync.Mutex
	state    partState
	outcomes []api.Outcome
	err      error
	done     chan struct{} // closed once outcomes or err is set
}

type partState int

const (
	partWaits partState = iota
	partTaken           // into an entry: its caller can no longer withdraw it
	partLeft            // its caller has gone
)

// take tells whether the part is still wanted, and makes it so for good.
func (p *part) take() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == partWaits {
		p.state = partTaken
	}
	return p.state == partTaken
}

// withdraw tells whether the part was still waiting; then it never goes into an entry.
func (p *part) withdraw() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == partWaits {
		p.state = partLeft
	}
	return p.state == partLeft
}

func (p *part) answer(o []api.Outcome, err error) {
	p.outcomes, p.err = o, err
	close(p.done)
}

// Commit puts changes into the log, in order, and returns what became of each once
// this peer's state has them. What waits from several callers shares an entry; a long
// list is split. It works on the leader. The error is Unavailable where nothing
// happened, and Unknown where any of the changes may have happened or may yet;
// Invalid and TooLarge are the caller's fault.
func (c *Consensus) Commit(ctx context.Context, ops []api.Op) ([]api.Outcome, error) {
	parts, err := split(ops)
	if err != nil {
		return nil, err
	}
	r, _, err := c.running()
	if err != nil {
		return nil, err
	}
	if r.State() != raft.Leader {
		return nil, errNotLeader()
	}
	sent := 0
	for _, p := range parts {
		if err = c.enqueue(ctx, p); err != nil {
			break
		}
		sent++
	}
	out := make([]api.Outcome, 0, len(ops))
	for _, p := range parts[:sent] {
		if e := c.wait(ctx, p); e != nil {
			err = worse(err, e)
			continue
		}
		out = append(out, p.outcomes...)
	}
	if err != nil && len(out) > 0 {
		err = worse(err, api.Unknown.Errorf("%d of %d changes are made: %w", len(out), len(ops), err))
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

func errNotLeader() error { return api.Unavailable.Errorf("this peer does not lead") }

// worse gives the error that promises less.
func worse(a, b error) error {
	if a == nil || api.KindOf(b) == api.Unknown {
		return b
	}
	return a
}

// split encodes ops into parts that fit into entries.
func split(ops []api.Op) ([]*part, error) {
	var parts []*part
	var last *part
	for _, op := range ops {
		b, err := encodeOp(op)
		if err != nil {
			return nil, err
		}
		if last == nil || len(last.ops) == maxEntryOps || last.size+len(b) > maxEntryBytes {
			last = &part{done: make(chan struct{})}
			parts = append(parts, last)
		}
		last.ops = append(last.ops, b)
		last.size += len(b)
	}
	return parts, nil
}

func encodeOp(op api.Op) ([]byte, error) {
	if err := checkOp(op); err != nil {
		return nil, err
	}
	b, err := api.Encode(op)
	if err != nil {
		return nil, api.Invalid.Errorf("encode a change: %w", err)
	}
	if len(b) <= api.MaxRecordSize {
		return b, nil
	}
	if op.Pin != nil {
		record, err := api.Encode(*op.Pin)
		if err != nil {
			return nil, api.Invalid.Errorf("encode a pin: %w", err)
		}
		if len(record) > api.MaxRecordSize {
			return nil, api.TooLarge.Errorf("the record of %s has %d bytes, over %d", op.Pin.Cid, len(record), api.MaxRecordSize)
		}
	}
	if len(b) > maxOpSize {
		return nil, api.TooLarge.Errorf("a change has %d bytes, over %d", len(b), maxOpSize)
	}
	return b, nil
}

func (c *Consensus) enqueue(ctx context.Context, p *part) error {
	select {
	case c.queue.parts <- p:
		return nil
	case <-ctx.Done():
		return api.Unavailable.Errorf("waiting to write: %w", ctx.Err())
	case <-c.ended:
		return api.Unavailable.Errorf("this peer's consensus has stopped")
	}
}

// wait gives how p ended. Where its caller or raft ends first, that depends on whether
// it had gone into an entry.
func (c *Consensus) wait(ctx context.Context, p *part) error {
	var cause error
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		cause = ctx.Err()
	case <-c.ended:
		cause = raft.ErrRaftShutdown
	}
	if p.withdraw() {
		return api.Unavailable.Errorf("not written: %w", cause)
	}
	select {
	case <-p.done:
		return p.err
	default:
		return api.Unknown.Errorf("written perhaps: %w", cause)
	}
}

// commit makes entries of what waits and hands their outcomes back, one entry at a
// time, until ctx ends. Several run side by side; taking turns keeps the order.
func (c *Consensus) commit(ctx context.Context, r *raft.Raft) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.queue.turn:
		}
		parts := c.queue.next(ctx)
		var f raft.ApplyFuture
		if len(parts) > 0 {
			var ops [][]byte
			for _, p := range parts {
				ops = append(ops, p.ops...)
			}
			f = r.Apply(joinOps(ops), c.o.NetworkTimeout)
			c.queue.start()
		}
		c.queue.turn <- struct{}{}
		if f != nil {
			c.finish(f, parts)
			c.queue.land()
		}
	}
}

// next waits for a part and takes those behind it that fit into the same entry. It
// gives none when ctx ends.
func (q *queue) next(ctx context.Context) []*part {
	var parts []*part
	ops, size := 0, 0
	fits := func(p *part) bool {
		return len(parts) == 0 || ops+len(p.ops) <= maxEntryOps && size+p.size <= maxEntryBytes
	}
	for {
		p := q.held
		q.held = nil
		if p == nil {
			p = q.wait(ctx, len(parts) == 0)
		}
		if p == nil {
			return parts
		}
		if !fits(p) {
			q.held = p
			return parts
		}
		if p.take() {
			parts = append(parts, p)
			ops += len(p.ops)
			size += p.size
		}
	}
}

// wait gives the next part; nil where ctx ends, or where there is none now and an entry
// with those before it, if there are any, may go.
func (q *queue) wait(ctx context.Context, first bool) *part {
	for {
		n, landed := q.flight()
		if !first && n < eagerEntries {
			select {
			case p := <-q.parts:
				return p
			default:
				return nil
			}
		}
		select {
		case p := <-q.parts:
			return p
		case <-landed:
		case <-ctx.Done():
			return nil
		}
	}
}

// finish waits for the entry and answers the parts in it.
func (c *Consensus) finish(f raft.ApplyFuture, parts []*part) {
	err := c.await(context.Background(), func() raft.Future { return f })
	var outcomes []api.Outcome
	if err == nil {
		outcomes, _ = f.Response().([]api.Outcome)
	}
	for _, p := range parts {
		switch {
		case err != nil:
			p.answer(nil, entryError(err))
		case len(outcomes) < len(p.ops):
			p.answer(nil, api.Unknown.Errorf("the entry came back without outcomes"))
		default:
			p.answer(outcomes[:len(p.ops)], nil)
			outcomes = outcomes[len(p.ops):]
		}
	}
}

// entryError tells what raft's error means for the entry.
func entryError(err error) error {
	if isAny(err, raft.ErrNotLeader, raft.ErrEnqueueTimeout, raft.ErrLeadershipTransferInProgress) {
		return api.Unavailable.Errorf("not written: %w", err)
	}
	return api.Unknown.Errorf("written perhaps: %w", err)
}
