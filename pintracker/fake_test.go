package pintracker

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/pinfold-cluster/pinfold/api"
)

var me, other = peerNamed("me"), peerNamed("other")

// peerNamed makes a well-formed peer ID.
func peerNamed(name string) api.PeerID {
	mh, err := multihash.Sum([]byte(name), multihash.IDENTITY, -1)
	if err != nil {
		panic(err)
	}
	return api.PeerID(mh)
}

var quietLog = slog.New(slog.DiscardHandler)

// numbered gives the n-th CID; their order by bytes is random.
func numbered(n int) api.Cid {
	mh, err := multihash.Sum(fmt.Appendf(nil, "content %d", n), multihash.SHA2_256, -1)
	if err != nil {
		panic(err)
	}
	return api.Cid{Cid: cid.NewCidV1(cid.Raw, mh)}
}

func pinOf(c api.Cid, peers ...api.PeerID) api.Pin {
	p := api.NewPin(c, api.PinOptions{ReplicationFactorMin: len(peers), ReplicationFactorMax: len(peers)}, time.Unix(1700000000, 0))
	p.Allocations = peers
	return p
}

// fakeNode keeps pins in memory; content says how each CID behaves.
type fakeNode struct {
	mu      sync.Mutex
	pinned  map[api.Cid]api.PinMode
	marks   map[api.Cid]time.Time
	before  bool // what is marked was pinned before
	content map[api.Cid]content
	down    bool
	pins    map[api.Cid]int // calls of Pin
	finds   map[api.Cid]int
	unpins  []api.Cid
}

// content is what there is to be had of a CID. The zero value is whole and at once.
type content struct {
	missing bool          // nobody has the first block
	bytes   uint64        // that arrive, one a millisecond
	stalls  bool          // and then no more
	takes   time.Duration // before the end
	err     error         // of Pin
}

func newFakeNode() *fakeNode {
	return &fakeNode{pinned: map[api.Cid]api.PinMode{}, marks: map[api.Cid]time.Time{}, content: map[api.Cid]content{},
		pins: map[api.Cid]int{}, finds: map[api.Cid]int{}}
}

var errDown = api.CauseBackendDown.Wrap(api.Unavailable.Errorf("connection refused"))

func (n *fakeNode) set(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
}

// offer says how c behaves from now on.
func (n *fakeNode) offer(c api.Cid, is content) { n.set(func() { n.content[c] = is }) }

// mend makes all content whole and at once.
func (n *fakeNode) mend() { n.set(func() { clear(n.content) }) }

func (n *fakeNode) Find(ctx context.Context, p api.Pin) error {
	n.mu.Lock()
	n.finds[p.Cid]++
	c, down := n.content[p.Cid], n.down
	n.mu.Unlock()
	if down {
		return errDown
	}
	if c.missing {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (n *fakeNode) Pin(ctx context.Context, p api.Pin, progress func(uint64)) error {
	n.mu.Lock()
	n.pins[p.Cid]++
	c, down := n.content[p.Cid], n.down
	n.mu.Unlock()
	if down {
		return errDown
	}
	if c.err != nil {
		return c.err
	}
	for got := range c.bytes {
		if err := wait(ctx, time.Millisecond); err != nil {
			return err
		}
		progress(got + 1)
	}
	if c.stalls {
		<-ctx.Done()
		return ctx.Err()
	}
	if err := wait(ctx, c.takes); err != nil {
		return err
	}
	n.set(func() { n.pinned[p.Cid] = p.Mode })
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func (n *fakeNode) Unpin(_ context.Context, c api.Cid) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.down {
		return errDown
	}
	if err := n.content[c].err; err != nil {
		return err
	}
	delete(n.pinned, c)
	n.unpins = append(n.unpins, c)
	return nil
}

func (n *fakeNode) Pinned(_ context.Context, after api.Cid) iter.Seq2[api.PinnedCid, error] {
	return func(yield func(api.PinnedCid, error) bool) {
		n.mu.Lock()
		down, keys := n.down, slices.SortedFunc(maps.Keys(n.pinned), compare)
		pinned := maps.Clone(n.pinned)
		n.mu.Unlock()
		if down {
			yield(api.PinnedCid{}, errDown)
			return
		}
		for _, c := range keys {
			if compare(c, after) > 0 && !yield(api.PinnedCid{Cid: c, Mode: pinned[c]}, nil) {
				return
			}
		}
	}
}

func (n *fakeNode) PinStatus(_ context.Context, c api.Cid) (api.PinMode, bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.down {
		return 0, false, errDown
	}
	mode, ok := n.pinned[c]
	return mode, ok, nil
}

func (n *fakeNode) Marks(context.Context) iter.Seq2[api.Mark, error] {
	return func(yield func(api.Mark, error) bool) {
		n.mu.Lock()
		marks := maps.Clone(n.marks)
		n.mu.Unlock()
		for c, since := range marks {
			if !yield(api.Mark{Cid: c, Since: since, Before: n.before}, nil) {
				return
			}
		}
	}
}

func (n *fakeNode) ClearMark(_ context.Context, c api.Cid) error {
	n.set(func() { delete(n.marks, c) })
	return nil
}

// fakePins is a pinset in memory.
type fakePins struct {
	mu    sync.Mutex
	pins  map[api.Cid]api.Pin
	keys  []api.Cid // sorted; nil: to be made
	index uint64
}

func newFakePins(pins ...api.Pin) *fakePins {
	s := &fakePins{pins: map[api.Cid]api.Pin{}}
	for _, p := range pins {
		s.put(p)
	}
	return s
}

func (s *fakePins) put(p api.Pin) api.Pin {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index++
	p.Revision = s.index
	s.pins[p.Cid], s.keys = p, nil
	return p
}

func (s *fakePins) remove(c api.Cid) api.Pin {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index++
	p := s.pins[c]
	p.Revision = s.index
	delete(s.pins, c)
	s.keys = nil
	return p
}

func (s *fakePins) Get(_ context.Context, c api.Cid) (api.Pin, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.pins[c]
	if !ok {
		return p, api.NotFound.Errorf("pin is not part of the pinset")
	}
	return p, nil
}

func (s *fakePins) Pins(_ context.Context, after api.Cid) iter.Seq2[api.Pin, error] {
	return s.list(after, func(api.Pin) bool { return true })
}

func (s *fakePins) Allocated(_ context.Context, peer api.PeerID, after api.Cid) iter.Seq2[api.Pin, error] {
	return s.list(after, func(p api.Pin) bool { return p.HeldBy(peer) })
}

func (s *fakePins) list(after api.Cid, want func(api.Pin) bool) iter.Seq2[api.Pin, error] {
	return func(yield func(api.Pin, error) bool) {
		s.mu.Lock()
		if s.keys == nil {
			s.keys = slices.SortedFunc(maps.Keys(s.pins), compare)
		}
		keys := s.keys
		s.mu.Unlock()
		from, found := slices.BinarySearchFunc(keys, after, compare)
		if found {
			from++
		}
		for _, c := range keys[from:] {
			s.mu.Lock()
			p, ok := s.pins[c]
			s.mu.Unlock()
			if ok && want(p) && !yield(p, nil) {
				return
			}
		}
	}
}

func (s *fakePins) Applied() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.index
}

// rig is a Tracker between a fake node and a fake pinset.
type rig struct {
	*Tracker
	t     *testing.T
	node  *fakeNode
	state *fakePins
	stale atomic.Pointer[error] // what current answers
	dir   string
	o     Options
	stop  func()
}

func newRig(t *testing.T, o Options, pins ...api.Pin) *rig {
	t.Helper()
	r := &rig{t: t, node: newFakeNode(), state: newFakePins(pins...), dir: t.TempDir(), o: o}
	r.answer(nil)
	r.open()
	return r
}

func (r *rig) open() {
	r.t.Helper()
	self := Self{ID: me, Name: "mine", IPFS: func() api.IPFSID { return api.IPFSID{ID: peerNamed("ipfs")} }}
	isCurrent := func(context.Context) error { return *r.stale.Load() }
	tr, err := New(self, r.node, r.state, isCurrent, r.dir, r.o, quietLog)
	if err != nil {
		r.t.Fatal(err)
	}
	tr.journal.sync = pebble.NoSync // no test takes the power away
	r.Tracker = tr
	r.stop = sync.OnceFunc(func() { r.check(tr.Close()) })
	r.t.Cleanup(func() { r.stop() })
}

// start runs the Tracker until stop.
func (r *rig) start() {
	ctx, cancel := context.WithCancel(r.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	closeIt := r.stop
	r.stop = func() {
		cancel()
		r.check(<-ended)
		closeIt()
		r.stop = func() {}
	}
}

func (r *rig) check(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// answer sets what the Tracker hears when it asks whether this peer's state is.
func (r *rig) answer(err error) { r.stale.Store(&err) }

// pin and unpin change the state as the state machine does.
func (r *rig) pin(p api.Pin)   { r.Track(r.state.put(p)) }
func (r *rig) unpin(c api.Cid) { r.Untrack(r.state.remove(c)) }

func (r *rig) status(c api.Cid) api.TrackerStatus { return r.Status(r.t.Context(), c).Status }

func (r *rig) want(c api.Cid, want api.TrackerStatus) api.PinInfo {
	r.t.Helper()
	info := r.Status(r.t.Context(), c)
	if info.Status != want {
		r.t.Fatalf("status %v (%s), want %v", info.Status, info.Error, want)
	}
	return info
}
