// Package pintracker makes the local IPFS node hold the pins that the cluster's
// state allots to this peer, and tells how far along each one is.
//
// The state is the truth. A Tracker remembers only what differs from it: one small
// operation for each CID whose pin or unpin is not done yet, which is looked up in the
// state again when its turn comes. Where these are too many, most are not remembered but
// found again (see backlog). The consensus state machine tells a Tracker of every
// change by Track, Untrack and Reload, which never block; whatever was missed while the
// peer was down comes up in the comparison of state and node.
//
// A pin goes through two stages. Finders, many at once, look for its first block; only
// what was found gets one of the few slots, which belong to pins whose bytes are
// arriving. A pin that finds nothing or stalls is parked and tried again later, so that
// no number of unreachable CIDs holds up the others. DESIGN.md has the reasons.
//
// Global asks the trackers of all peers and merges what they say.
package pintracker

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
)

// Node is what a Tracker asks of IPFS. Errors say why by api.CauseOf.
type Node interface {
	// Find returns once the root block of p is on the node or arriving.
	Find(ctx context.Context, p api.Pin) error
	// Pin returns once everything under p.Cid to its depth is on the node, durable, and
	// pinned in p.Mode, whatever mode it was pinned in before, with no mark left.
	// progress is told the bytes so far.
	Pin(ctx context.Context, p api.Pin, progress func(bytes uint64)) error
	// Unpin of a CID that is not pinned is not an error.
	Unpin(ctx context.Context, c api.Cid) error
	// Pinned lists direct and recursive pins past after, in order of CID bytes.
	Pinned(ctx context.Context, after api.Cid) iter.Seq2[api.PinnedCid, error]
	PinStatus(ctx context.Context, c api.Cid) (mode api.PinMode, pinned bool, err error)
	// Marks lists the pins of adds that neither Pin nor ClearMark has taken over. ClearMark of a
	// CID without one is not an error and it leaves the pin.
	Marks(ctx context.Context) iter.Seq2[api.Mark, error]
	ClearMark(ctx context.Context, c api.Cid) error
}

// Pinset is what a Tracker reads of the state.
type Pinset interface {
	// Get gives the record of c; the error is NotFound where there is none.
	Get(ctx context.Context, c api.Cid) (api.Pin, error)
	// Pins lists all records past after, in order of CID bytes.
	Pins(ctx context.Context, after api.Cid) iter.Seq2[api.Pin, error]
	// Allocated lists those of Pins that are HeldBy p.
	Allocated(ctx context.Context, p api.PeerID, after api.Cid) iter.Seq2[api.Pin, error]
	// Applied is the log index that the state has reached.
	Applied() uint64
}

// Self is how a Tracker's answers name its own peer.
type Self struct {
	ID   api.PeerID
	Name string
	// IPFS identifies the node, as far as known; it must not block. nil: unknown.
	IPFS func() api.IPFSID
}

// Options tune a Tracker; the zero value of a field means its default.
type Options struct {
	Workers     int           `json:"concurrent_pins"`   // pins fetching at once; 10
	Finders     int           `json:"concurrent_finds"`  // pins looking for their first block at once; 1000
	Patience    time.Duration `json:"find_patience"`     // how long the first try waits for a first block, doubled with each; 500ms
	MaxPatience time.Duration `json:"find_patience_max"` // how long a try waits for a first block at most; 1m
	Backoff     time.Duration `json:"retry_backoff"`     // wait before a failed pin is tried again, doubled with each try; 5s
	MaxBackoff  time.Duration `json:"retry_backoff_max"` // and the longest such wait; 1h
	Stall       time.Duration `json:"stall_timeout"`     // a fetch without new bytes for this long has failed, at the first try sooner; 2m
	MarkAge     time.Duration `json:"add_mark_age"`      // an add's pin that no pin has taken over goes after this; 1h

	// Sync is between comparisons of node and state; 12m. In a file it is
	// pin_recover_interval in the section cluster.
	Sync time.Duration `json:"-"`
	// Window is how many operations are in memory, some 250 bytes each; 10,000. The others
	// are found again by comparing node and state.
	Window int `json:"-"`
	// Rate is how many bytes a second all fetches together can get; 0 is no bound. See paced.
	Rate uint64 `json:"-"`
	// CameIn tells how many bytes have come in so far, where there is a Rate. It must not block.
	CameIn func() uint64 `json:"-"`
	// Exclusive tells that all pins of the node are the cluster's (the embedded node).
	// On a node shared with others, only what this peer was once allotted is unpinned.
	Exclusive bool `json:"-"`
}

// WithDefaults returns o with its defaults filled in.
func (o Options) WithDefaults() Options {
	set := func(d *time.Duration, to time.Duration) {
		if *d <= 0 {
			*d = to
		}
	}
	if o.Workers <= 0 {
		o.Workers = 10
	}
	if o.Finders <= 0 {
		o.Finders = 1000
	}
	if o.Window <= 0 {
		o.Window = 10_000
	}
	set(&o.Patience, 500*time.Millisecond)
	set(&o.MaxPatience, time.Minute)
	set(&o.Backoff, 5*time.Second)
	set(&o.MaxBackoff, time.Hour)
	set(&o.Stall, 2*time.Minute)
	set(&o.Sync, 12*time.Minute)
	set(&o.MarkAge, time.Hour)
	return o
}

// A Tracker moves the node's pins to what the state says. Its methods are safe for
// concurrent use.
type Tracker struct {
	self    Self
	node    Node
	pins    Pinset
	current func(context.Context) error
	o       Options
	log     *slog.Logger
	journal *journal
	marks   markCache
	news    *news

	wake  chan struct{} // an operation may be ready to start
	sync  chan struct{} // compare node and state now
	room  chan struct{} // there is room for what the backlog has
	heard chan struct{} // peers were added to back
	// seen is the log index up to which changes have been told to Track and Untrack.
	seen atomic.Uint64

	mu      sync.Mutex
	ops     ops
	backlog backlog
	leaving map[api.Cid]struct{} // pins of which self is a leaving holder
	back    map[api.PeerID]struct{}
	downs   int       // steps in a row that found the node down
	hold    time.Time // start nothing before: it is down
	unhold  time.Time // start no unpin before: this peer was not current
	line    line
}

// New returns a Tracker that keeps what must survive a restart in dir, which is made
// if need be. It does nothing until Run. current must fail unless this peer's state
// holds the commit index that a leader, just verified, told: nothing is unpinned
// while it fails.
func New(self Self, node Node, pins Pinset, current func(context.Context) error, dir string, o Options, log *slog.Logger) (*Tracker, error) {
	j, err := openJournal(dir, log)
	if err != nil {
		return nil, err
	}
	t := &Tracker{
		self: self, node: node, pins: pins, current: current, o: o.WithDefaults().paced(), log: log, journal: j, news: newNews(),
		wake: make(chan struct{}, 1), sync: make(chan struct{}, 1), room: make(chan struct{}, 1), heard: make(chan struct{}, 1),
		ops: newOps(), leaving: map[api.Cid]struct{}{}, back: map[api.PeerID]struct{}{},
	}
	t.seen.Store(pins.Applied())
	if err := j.load(t.restore); err != nil {
		return nil, errors.Join(err, j.close())
	}
	return t, nil
}

// Run pins and unpins until ctx ends and what is in progress has stopped. The error is
// Full where the journal's disk is.
func (t *Tracker) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return t.dispatch(ctx, g) })
	g.Go(func() error { return t.watch(ctx) })
	g.Go(func() error { return t.reconcileLoop(ctx) })
	g.Go(func() error { return t.hear(ctx) })
	g.Go(func() error { return t.journal.run(ctx) })
	g.Go(func() error { return t.journal.fault.Run(ctx) })
	return g.Wait()
}

// Close writes what is unwritten and releases the files. Run must have returned.
func (t *Tracker) Close() error { return t.journal.close() }

// Track tells that p is now in the state. It does not block.
func (t *Tracker) Track(p api.Pin) {
	t.saw(p)
	if p.Type == api.PinMeta {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.HeldBy(t.self.ID) {
		t.noteLeaving(p)
		t.want(p.Cid, pinOp, p.Size)
		return
	}
	// Not ours to hold. Only where we did, or are about to, is there anything to do: a
	// holder is dropped from a pin only after it was leaving.
	_, left := t.leaving[p.Cid]
	if left || t.ops.get(p.Cid) != nil {
		delete(t.leaving, p.Cid)
		t.drop(p.Cid)
	}
}

// Untrack tells that p, the record as it was, is no longer in the state. It does not
// block.
func (t *Tracker) Untrack(p api.Pin) {
	t.saw(p)
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.leaving, p.Cid)
	if p.HeldBy(t.self.ID) || t.ops.get(p.Cid) != nil {
		t.drop(p.Cid)
	}
}

// drop queues the unpin of what the state no longer asks for. A pin that is done has
// taken over the mark of the add that it came from: where there is one all the same,
// c was added again, and that add's pin is on its way into the state. Under mu.
func (t *Tracker) drop(c api.Cid) {
	settled := t.ops.get(c) == nil
	if o := t.want(c, unpinOp, 0); o != nil {
		o.surplus = settled
	}
}

// Reload tells that the state was replaced as a whole. It does not block.
func (t *Tracker) Reload() {
	t.seen.Store(t.pins.Applied())
	signal(t.sync)
}

// saw notes that changes up to p's revision have been told.
func (t *Tracker) saw(p api.Pin) {
	for {
		old := t.seen.Load()
		if p.Revision <= old || t.seen.CompareAndSwap(old, p.Revision) {
			return
		}
	}
}

// noteLeaving remembers, under mu, whether self is a leaving holder of p.
func (t *Tracker) noteLeaving(p api.Pin) {
	if isLeaving(p, t.self.ID) {
		t.leaving[p.Cid] = struct{}{}
	} else {
		delete(t.leaving, p.Cid)
	}
}

// Pending counts the pins that are not there yet, whatever the reason, and the bytes
// they still need, of those whose size is known.
func (t *Tracker) Pending() (pins int, bytes uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	left := t.backlog.count
	return t.ops.pins + left.queued + left.failed, t.ops.missing() + left.bytes
}

// signal makes the reader of c run once more.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
