package pintracker

import (
	"container/heap"
	"context"
	"strings"
	"sync/atomic"
	"time"

	"github.com/RaduBerinde/btreemap"

	"github.com/pinfold-cluster/pinfold/api"
)

// kind is what an operation is to bring about.
type kind uint8

const (
	pinOp kind = iota + 1
	unpinOp
)

// phase is how far an operation has come.
type phase uint8

const (
	queued   phase = iota // waits for a finder, or to be unpinned
	parked                // failed; waits for its next try
	finding               // looks for its first block
	found                 // waits for a slot
	fetching              // has a slot
	unpinning
)

// op is what is to be done about one CID. There is one for each CID at most, and none
// where node and state agree. A million of them must fit in memory: what only a
// running or a failed one needs is behind a pointer. Fields are guarded by Tracker.mu.
type op struct {
	cid      api.Cid
	size     uint64 // of the DAG, 0 unknown
	at       int64  // when phase last changed, Unix ns
	asked    int64  // when the state, or a comparison with it, last asked for it, Unix ns
	next     int64  // when to leave parked, Unix ns
	in       *queue // the queue it waits in, nil while it runs
	run      *run   // while it runs
	fail     *failure
	pos      int32 // in that queue
	attempts int32 // failed ones
	rank     int16 // attempts since something new was heard: decides order, patience and backoff
	kind     kind
	phase    phase
	again    bool // while it runs: asked for anew, so look again once it ends
	rowed    bool // the journal has a row of it
	surplus  bool // an unpin: no pin of it was under way, so a mark is of a later add
}

// run is what is known of an operation in progress.
type run struct {
	cancel context.CancelCauseFunc
	bytes  atomic.Uint64 // arrived so far

	// The watcher's, guarded by Tracker.mu.
	seen  uint64    // bytes when it last looked
	moved time.Time // when bytes last grew
	rate  uint64    // bytes/s
	idle  bool      // gave its slot back: no bytes are arriving
}

// failure is what is remembered of the last failed attempt.
type failure struct {
	cause api.Cause
	text  string
	bytes uint64 // that had arrived
}

// status tells the phase in the words of the API.
func (o *op) status() api.TrackerStatus {
	if o.kind == unpinOp {
		switch o.phase {
		case parked:
			return api.StatusUnpinError
		case unpinning:
			return api.StatusUnpinning
		}
		return api.StatusUnpinQueued
	}
	switch o.phase {
	case parked:
		return api.StatusPinError
	case finding, fetching:
		return api.StatusPinning
	}
	return api.StatusPinQueued
}

// opStatuses are the statuses that an op can have: a filter within them is answered
// from memory.
const opStatuses = api.StatusPinQueued | api.StatusPinning | api.StatusPinError |
	api.StatusUnpinQueued | api.StatusUnpinning | api.StatusUnpinError

// ops are all operations, by CID and by what they wait for.
type ops struct {
	byCid *btreemap.BTreeMap[api.Cid, *op]

	ready  queue // pins that wait for a finder: fewest attempts first
	found  queue // pins that wait for a slot: fewest attempts first
	unpins queue // longest waiting first
	parked queue // soonest next try first

	pins  int    // operations that are pins
	bytes uint64 // sum of their sizes

	finding   int // pins in phase finding
	retrying  int // those of them that are not at their first try
	unpinning int
	fetching  map[*op]struct{} // pins in phase fetching
	busy      int              // those of them whose bytes are arriving: slots taken
}

func newOps() ops {
	byRank := func(a, b *op) bool {
		if a.rank != b.rank {
			return a.rank < b.rank
		}
		return a.at < b.at
	}
	return ops{
		byCid:    btreemap.New[api.Cid, *op](16, compare),
		ready:    queue{less: byRank},
		found:    queue{less: byRank},
		unpins:   queue{less: func(a, b *op) bool { return a.at < b.at }},
		parked:   queue{less: func(a, b *op) bool { return a.next < b.next }},
		fetching: map[*op]struct{}{},
	}
}

// compare orders CIDs by their bytes.
func compare(a, b api.Cid) int { return strings.Compare(a.KeyString(), b.KeyString()) }

func (s *ops) get(c api.Cid) *op {
	_, o, _ := s.byCid.Get(c)
	return o
}

// add makes an operation that waits for nothing yet.
func (s *ops) add(c api.Cid, k kind) *op {
	o := &op{cid: c, kind: k}
	s.byCid.ReplaceOrInsert(c, o)
	if k == pinOp {
		s.pins++
	}
	return o
}

// remove forgets o, which must not be running.
func (s *ops) remove(o *op) {
	s.dequeue(o)
	s.setSize(o, 0)
	if o.kind == pinOp {
		s.pins--
	}
	s.byCid.Delete(o.cid)
}

// setKind turns o into an operation of kind k with no history.
func (s *ops) setKind(o *op, k kind) {
	if o.kind == k {
		return
	}
	if k == pinOp {
		s.pins++
	} else {
		s.setSize(o, 0)
		s.pins--
	}
	o.kind, o.attempts, o.rank, o.fail, o.surplus = k, 0, 0, nil, false
}

func (s *ops) setSize(o *op, size uint64) {
	s.bytes += size - o.size
	o.size = size
}

// enqueue lets o wait for its turn in phase p.
func (s *ops) enqueue(o *op, p phase, now time.Time) {
	s.dequeue(o)
	o.phase, o.at = p, now.UnixNano()
	q := &s.ready
	switch {
	case p == parked:
		q = &s.parked
	case o.kind == unpinOp:
		q = &s.unpins
	case p == found:
		q = &s.found
	}
	o.in = q
	heap.Push(q, o)
}

func (s *ops) dequeue(o *op) {
	if o.in != nil {
		heap.Remove(o.in, int(o.pos))
		o.in = nil
	}
}

// missing is the sum of what the pins still need, in bytes.
func (s *ops) missing() uint64 {
	n := s.bytes
	for o := range s.fetching {
		n -= min(o.size, o.run.bytes.Load())
	}
	return n
}

// queue is a heap of waiting operations.
type queue struct {
	items []*op
	less  func(a, b *op) bool
}

func (q *queue) Len() int           { return len(q.items) }
func (q *queue) Less(i, j int) bool { return q.less(q.items[i], q.items[j]) }
func (q *queue) Swap(i, j int) {
	q.items[i], q.items[j] = q.items[j], q.items[i]
	q.items[i].pos, q.items[j].pos = int32(i), int32(j)
}

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	o := x.(*op)
	o.pos = int32(len(q.items))
	q.items = append(q.items, o)
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	last := len(q.items) - 1
	o := q.items[last]
	q.items[last] = nil
	q.items = q.items[:last]
	return o
}

// head is the one whose turn is next, nil where nobody waits.
func (q *queue) head() *op {
	if len(q.items) == 0 {
		return nil
	}
	return q.items[0]
}
