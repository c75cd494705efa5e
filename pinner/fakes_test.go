package pinner

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	mh "github.com/multiformats/go-multihash"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/state"
)

var quiet = slog.New(slog.DiscardHandler)

func testCid(n int) api.Cid {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(n)))
	m, err := mh.Encode(sum[:], mh.SHA2_256)
	if err != nil {
		panic(err)
	}
	return api.Cid{Cid: cid.NewCidV1(cid.Raw, m)}
}

func testPeer(n int) api.PeerID {
	sum := sha256.Sum256(fmt.Appendf(nil, "peer %d", n))
	p, err := peer.IDFromBytes(append([]byte{0x00, 0x24, 0x08, 0x01, 0x12, 0x20}, sum[:]...))
	if err != nil {
		panic(err)
	}
	return p
}

// pinset is the real state as a Pinner wants to see it; cmd has the same few lines.
type pinset struct{ *state.State }

func (s pinset) List(ctx context.Context, after api.Cid) iter.Seq2[api.Pin, error] {
	return s.State.List(ctx, state.Query{By: state.ByCid, After: after})
}

func (s pinset) Expiring(ctx context.Context) iter.Seq2[api.Pin, error] {
	return s.State.List(ctx, state.Query{By: state.ByExpiry})
}

func (s pinset) begin() batch { return s.NewBatch() }

func (s pinset) Totals() (pins, bytes uint64) {
	t := s.Stats()
	return t.Pins, t.Bytes
}

// cluster is a log that is applied to one state, which all its peers share. What the
// consensus of a peer does wrong is set by the test.
type cluster struct {
	t       testing.TB
	st      store
	pinners map[api.PeerID]*Pinner
	ids     []api.PeerID

	mu      sync.Mutex
	leader  api.PeerID
	term    uint64
	health  []api.PeerHealth
	has     map[api.PeerID]map[api.Cid]bool // nil: every peer has all
	copies  map[api.Cid]int                 // at followers; nil: they do not count
	commits int
	// before is called with each list of changes before it is applied; an error of kind
	// Unknown is given after it is, any other instead.
	before func([]api.Op) error
	// call is called for each forwarded batch, which never arrives where its error is of
	// kind Unavailable, and loses its answer where it is another.
	call func(to api.PeerID, b api.Batch) error
	lag  map[api.PeerID]bool // peers that never catch up
}

// newCluster makes a cluster of n peers with the real state.
func newCluster(t testing.TB, n int, o Options) *cluster {
	t.Helper()
	st, err := state.Open(t.TempDir(), state.Options{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return newClusterOn(pinset{st}, t, n, o)
}

// newBubble makes a cluster for a synctest bubble.
func newBubble(t testing.TB, n int, o Options) *cluster {
	t.Helper()
	return newClusterOn(newMemory(), t, n, o)
}

func newClusterOn(st store, t testing.TB, n int, o Options) *cluster {
	t.Helper()
	c := &cluster{t: t, st: st, pinners: map[api.PeerID]*Pinner{}, term: 1, lag: map[api.PeerID]bool{}}
	for i := range n {
		c.ids = append(c.ids, testPeer(i))
	}
	slices.Sort(c.ids)
	c.leader = c.ids[0]
	for _, id := range c.ids {
		c.apply([]api.Op{{Type: api.OpJoin, Member: &api.Member{ID: id}}})
		c.health = append(c.health, api.PeerHealth{ID: id, Alive: true, Measured: true, Free: 1 << 40, Since: time.Now(), Index: 1 << 40})
	}
	for _, id := range c.ids {
		p, err := New(id, node{c, id}, st, c, wire{c, id}, o, quiet)
		if err != nil {
			t.Fatal(err)
		}
		c.pinners[id] = p
	}
	return c
}

// run starts the pinners of all peers, or of those given.
func (c *cluster) run(ids ...api.PeerID) {
	ctx, cancel := context.WithCancel(c.t.Context())
	var wg sync.WaitGroup
	for id, p := range c.pinners {
		if len(ids) > 0 && !slices.Contains(ids, id) {
			continue
		}
		wg.Go(func() {
			if err := p.Run(ctx); err != nil {
				c.t.Errorf("run: %v", err)
			}
		})
	}
	c.t.Cleanup(func() { cancel(); wg.Wait() })
}

func (c *cluster) Health() []api.PeerHealth {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.health)
}

// set changes the health of peer i.
func (c *cluster) set(i int, change func(*api.PeerHealth)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.health[i])
}

func (c *cluster) die(i int) {
	c.set(i, func(h *api.PeerHealth) { h.Alive, h.Measured, h.Since = false, false, time.Now() })
}

func (c *cluster) comeBack(i int) {
	c.set(i, func(h *api.PeerHealth) { h.Alive, h.Measured, h.Died, h.Since = true, true, h.Since, time.Now() })
}

func (c *cluster) lead(i int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leader, c.term = c.ids[i], c.term+1
}

// wire is how one peer calls others.
type wire struct {
	*cluster
	self api.PeerID
}

func (w wire) Commit(ctx context.Context, to api.PeerID, b api.Batch) (api.Committed, error) {
	w.mu.Lock()
	call := w.call
	w.mu.Unlock()
	var err error
	if call != nil {
		if err = call(to, b); err != nil && api.KindOf(err) == api.Unavailable {
			return api.Committed{}, err
		}
	}
	if to != w.self {
		sent, encodeErr := api.Encode(b)
		b = api.Batch{}
		if err := errors.Join(encodeErr, api.Decode(sent, &b)); err != nil {
			return api.Committed{}, api.Unknown.Errorf("%w", err) // the answer of p2p where the other side cannot read it
		}
	}
	out, serveErr := w.pinners[to].Serve(ctx, w.self, b)
	if err != nil {
		return api.Committed{}, err
	}
	return out, serveErr
}

// Holds implements Forwarder.
func (c *cluster) Holds(_ context.Context, to api.PeerID, cids []api.Cid) ([]bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.health {
		if h.ID == to && !h.Alive {
			return nil, api.Unavailable.Errorf("down")
		}
	}
	out := make([]bool, len(cids))
	for i, id := range cids {
		out[i] = c.has == nil || c.has[to][id]
	}
	return out, nil
}

// Copies implements Forwarder.
func (c *cluster) Copies(_ context.Context, wanted []api.CopyQuery) []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.copies == nil {
		return nil
	}
	out := make([]int, len(wanted))
	for i, q := range wanted {
		out[i] = c.copies[q.Cid]
	}
	return out
}

// follow says how many followers prove copies.
func (c *cluster) follow(copies map[api.Cid]int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.copies = copies
}

func (c *cluster) hold(peer int, cids ...api.Cid) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.has == nil {
		c.has = map[api.PeerID]map[api.Cid]bool{}
	}
	if c.has[c.ids[peer]] == nil {
		c.has[c.ids[peer]] = map[api.Cid]bool{}
	}
	for _, id := range cids {
		c.has[c.ids[peer]][id] = true
	}
}

// apply does what consensus' state machine does.
func (c *cluster) apply(ops []api.Op) []api.Outcome {
	index := c.st.Applied() + 1
	b := c.st.begin()
	out := make([]api.Outcome, len(ops))
	var tell []func()
	for i, op := range ops {
		out[i] = api.Outcome{Status: api.OpApplied, Index: index}
		id, acked, open := b.Session(op.Peer)
		if op.Type == api.OpSession {
			switch {
			case open && id == op.Session:
			case open && id > op.Session:
				out[i].Status = api.OpNoSession
			default:
				b.OpenSession(op.Peer, op.Session)
			}
			continue
		}
		if op.Session != 0 {
			at, done, err := b.Outcome(op.Peer, op.Seq)
			c.check(err)
			switch {
			case !open || id != op.Session:
				out[i].Status = api.OpNoSession
				continue
			case op.Seq < acked:
				out[i].Status = api.OpAnswered
				continue
			case done:
				out[i] = api.Outcome{Status: api.OpRepeated, Index: at}
				continue
			}
		}
		key := op.Cid
		if op.Pin != nil {
			key = op.Pin.Cid
		}
		switch op.Type {
		case api.OpPin, api.OpUnpin:
			old, _, err := b.Get(key)
			c.check(err)
			if old.Revision != op.Revision {
				out[i].Status = api.OpStale
				continue
			}
			if op.Type == api.OpUnpin {
				c.check(b.Delete(key))
				tell = append(tell, func() { c.each(func(p *Pinner) { p.Untrack(old) }) })
				break
			}
			pin := *op.Pin
			pin.Revision = index
			c.check(b.Put(pin))
			tell = append(tell, func() { c.each(func(p *Pinner) { p.Track(pin) }) })
		case api.OpJoin:
			c.check(b.PutMember(*op.Member))
		case api.OpRemove:
			c.check(b.RemoveMember(op.Peer))
		}
		if op.Session != 0 {
			c.check(b.SetOutcome(op.Peer, op.Seq, index, op.Acked))
		}
	}
	c.check(b.Commit(index))
	for _, f := range tell {
		f()
	}
	return out
}

func (c *cluster) each(f func(*Pinner)) {
	for _, p := range c.pinners {
		f(p)
	}
}

func (c *cluster) check(err error) {
	if err != nil {
		c.t.Error(err)
	}
}

func (c *cluster) get(id api.Cid) api.Pin {
	c.t.Helper()
	pin, err := c.st.Get(context.Background(), id)
	if err != nil {
		c.t.Fatalf("get %s: %v", id, err)
	}
	return pin
}

// peers turns numbers into IDs.
func (c *cluster) peers(n ...int) []api.PeerID {
	out := make([]api.PeerID, len(n))
	for i, k := range n {
		out[i] = c.ids[k]
	}
	return out
}

// node is the consensus of one peer.
type node struct {
	c    *cluster
	self api.PeerID
}

func (n node) Commit(ctx context.Context, ops []api.Op) ([]api.Outcome, error) {
	n.c.mu.Lock()
	before := n.c.before
	n.c.mu.Unlock()
	var err error
	if before != nil {
		if err = before(ops); err != nil && api.KindOf(err) != api.Unknown {
			return nil, err
		}
	}
	for _, op := range ops { // what crosses the log is encoded
		b, err := api.Encode(op)
		if err == nil {
			err = api.Decode(b, new(api.Op))
		}
		n.c.check(err)
	}
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	if n.c.leader != n.self {
		return nil, api.Unavailable.Errorf("this peer does not lead")
	}
	n.c.commits++
	out := n.c.apply(ops)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (n node) Ready(context.Context) (uint64, error) {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	if n.c.leader != n.self {
		return 0, api.Unavailable.Errorf("this peer does not lead")
	}
	return n.c.term, nil
}

func (n node) ReadIndex(ctx context.Context) (uint64, error) {
	_, err := n.Ready(ctx)
	return n.c.st.Applied(), err
}

func (n node) Leader() (api.PeerID, bool) {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	return n.c.leader, n.c.leader != ""
}

func (n node) WaitLeader(ctx context.Context) (api.PeerID, error) {
	for {
		if l, ok := n.Leader(); ok {
			return l, nil
		}
		if !sleep(ctx, 10*time.Millisecond) {
			return "", api.Unavailable.Errorf("timed out waiting for leader: %w", ctx.Err())
		}
	}
}

func (n node) WaitApplied(ctx context.Context, index uint64) error {
	n.c.mu.Lock()
	lag := n.c.lag[n.self]
	n.c.mu.Unlock()
	if lag {
		<-ctx.Done()
		return ctx.Err()
	}
	if got := n.c.st.Applied(); got < index {
		n.c.t.Errorf("index %d told, but only %d is applied", index, got)
	}
	return nil
}
