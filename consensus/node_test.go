package consensus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/multiformats/go-multihash"

	"github.com/ipfs/go-cid"
	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/state"
)

const patience = time.Minute

// quick are timeouts for tests: long enough for a busy machine.
var quick = Options{
	HeartbeatTimeout: 600 * time.Millisecond, ElectionTimeout: 600 * time.Millisecond,
	LeaderLeaseTimeout: 500 * time.Millisecond, CommitTimeout: 20 * time.Millisecond,
	VoterInterval: 50 * time.Millisecond,
}

// A node is one peer of a test, which can be stopped and started again.
type node struct {
	t    testing.TB
	id   api.PeerID
	dir  string
	m    *mesh
	o    Options
	told *recorder

	st     *state.State
	c      *Consensus
	cancel context.CancelFunc
	done   chan error
}

// recorder is a Listener that keeps what it was told.
type recorder struct {
	mu      sync.Mutex
	events  []string
	reloads int
	changes []state.Changes
}

func (r *recorder) Track(p api.Pin)   { r.add(fmt.Sprintf("track %s %d", p.Name, p.Revision)) }
func (r *recorder) Untrack(p api.Pin) { r.add(fmt.Sprintf("untrack %s %d", p.Name, p.Revision)) }

func (r *recorder) Reload() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reloads++
}

func (r *recorder) Changed(c state.Changes) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changes = append(r.changes, c)
}

func (r *recorder) add(e string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

func (r *recorder) seen() ([]string, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events), r.reloads
}

func testLog(t testing.TB) *slog.Logger {
	if os.Getenv("CONSENSUS_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// newNode makes a peer that is not started yet.
func newNode(t testing.TB, m *mesh, o Options) *node {
	return &node{t: t, id: newPeerID(t), dir: t.TempDir(), m: m, o: o, told: &recorder{}}
}

func (n *node) raftDir() string { return filepath.Join(n.dir, "raft") }

func (n *node) open() error {
	log := testLog(n.t).With("node", n.id.ShortString())
	st, err := state.Open(filepath.Join(n.dir, "state"), state.Options{}, log)
	if err != nil {
		return err
	}
	c, err := New(n.id, n.raftDir(), st, port{n.m, n.id}, n.told, n.o, log)
	if err != nil {
		return errors.Join(err, st.Close())
	}
	n.st, n.c = st, c
	return nil
}

func (n *node) start() *node {
	n.t.Helper()
	if err := n.open(); err != nil {
		n.t.Fatal(err)
	}
	n.run()
	n.t.Cleanup(n.stop)
	return n
}

func (n *node) run() {
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel, n.done = cancel, make(chan error, 1)
	c, done := n.c, n.done
	go func() { done <- c.Run(ctx) }()
}

// stop ends the peer in order; a stopped one stays so.
func (n *node) stop() {
	if n.cancel == nil {
		return
	}
	n.cancel()
	err := <-n.done
	n.close()
	if err != nil {
		n.t.Errorf("Run of %s: %v", n.id, err)
	}
}

func (n *node) close() {
	n.cancel = nil
	if err := errors.Join(n.c.Close(), n.st.Close()); err != nil {
		n.t.Errorf("close %s: %v", n.id, err)
	}
}

// ends waits for the peer to end by itself, and returns why it did.
func (n *node) ends() error {
	n.t.Helper()
	select {
	case err := <-n.done:
		return err
	case <-time.After(patience):
		n.t.Fatalf("%s goes on", n.id)
		return nil
	}
}

func (n *node) restart() {
	n.t.Helper()
	n.stop()
	n.start()
}

// kill ends the peer as far as others see at once: no handing over.
func (n *node) kill() {
	n.m.split(n.id, n.others()...)
	n.stop()
}

func (n *node) others() []api.PeerID {
	n.m.mu.Lock()
	defer n.m.mu.Unlock()
	var out []api.PeerID
	for p := range n.m.addrs {
		if p != n.id {
			out = append(out, p)
		}
	}
	return out
}

// A group is the peers of a test cluster.
type group struct {
	t     testing.TB
	m     *mesh
	nodes []*node
}

// newGroup starts a cluster of n peers and waits until its voters are settled.
func newGroup(t testing.TB, n int, o Options) *group {
	t.Helper()
	g := &group{t: t, m: newMesh()}
	first := newNode(t, g.m, o)
	if err := Bootstrap(first.raftDir(), first.id); err != nil {
		t.Fatal(err)
	}
	g.nodes = []*node{first.start()}
	leader := g.leader()
	g.must(leader, join(first.id, ""))
	for range n - 1 {
		g.join(newNode(t, g.m, o))
	}
	g.settle(odd(min(n, g.nodes[0].c.o.Voters)))
	return g
}

func join(p api.PeerID, credential string) api.Op {
	op := api.Op{Type: api.OpJoin, Member: &api.Member{ID: p}, Expires: 1000, Time: 1}
	if credential != "" {
		op.Credential = []byte(credential)
	}
	return op
}

func (g *group) join(n *node) {
	g.t.Helper()
	g.nodes = append(g.nodes, n.start())
	g.must(g.leader(), join(n.id, ""))
	until(g.t, "a peer to be added", func() bool {
		err := g.leader().c.AddMember(g.ctx(), api.Member{ID: n.id})
		if k := api.KindOf(err); k != "" && k != api.Unavailable && k != api.Unknown {
			g.t.Fatal(err)
		}
		return err == nil
	})
}

// settle waits until every peer that is up knows of so many voters, and that is agreed.
func (g *group) settle(voters int) {
	g.t.Helper()
	until(g.t, fmt.Sprintf("%d voters", voters), func() bool {
		for _, n := range g.up() {
			seen := 0
			for _, s := range n.c.Servers() {
				seen += count(s.Voter)
			}
			if seen != voters {
				return false
			}
		}
		return true
	})
	g.same()
}

func (g *group) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	g.t.Cleanup(cancel)
	return ctx
}

func (g *group) up() []*node {
	var up []*node
	for _, n := range g.nodes {
		if n.cancel != nil {
			up = append(up, n)
		}
	}
	return up
}

// leader waits for a peer that leads and is ready.
func (g *group) leader() *node {
	g.t.Helper()
	return g.leaderOf(g.up())
}

func (g *group) leaderOf(nodes []*node) *node {
	g.t.Helper()
	var leader *node
	until(g.t, "a leader", func() bool {
		for _, n := range nodes {
			if r, _, err := n.c.running(); err == nil && r.State() == raft.Leader {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				_, err := n.c.Ready(ctx)
				cancel()
				if err == nil {
					leader = n
					return true
				}
			}
		}
		return false
	})
	return leader
}

func (g *group) followers(leader *node) []*node {
	return slices.DeleteFunc(g.up(), func(n *node) bool { return n == leader })
}

// must commits on n, or on the next leader where n loses its place on a busy machine,
// and wants every change applied.
func (g *group) must(n *node, ops ...api.Op) []api.Outcome {
	g.t.Helper()
	out, by, retried := g.commit(n, ops...)
	for i, o := range out {
		if retried && (o.Status == api.OpStale || o.Status == api.OpRepeated) { // the first try came through
			out[i] = api.Outcome{Status: api.OpApplied}
			if pin := ops[i].Pin; pin != nil {
				is, _ := by.st.Get(g.ctx(), pin.Cid)
				out[i].Index = is.Revision
			}
		} else if o.Status != api.OpApplied {
			g.t.Fatalf("change %d: status %d, want applied", i, o.Status)
		}
	}
	return out
}

// commit commits on n, or on the next leader, and tells on which, and whether it had to try again.
func (g *group) commit(n *node, ops ...api.Op) (out []api.Outcome, by *node, retried bool) {
	g.t.Helper()
	for ; ; retried = true {
		out, err := n.c.Commit(g.ctx(), ops)
		if k := api.KindOf(err); k != "" && k != api.Unavailable && k != api.Unknown {
			g.t.Fatal(err)
		}
		if err == nil {
			return out, n, retried
		}
		n = g.leader()
	}
}

// lead has the leader do f, and the next one where it loses its place meanwhile.
func (g *group) lead(f func(leader *node) error) (leader *node) {
	g.t.Helper()
	until(g.t, "a leader to stay for a while", func() bool {
		leader = g.leader()
		err := f(leader)
		if k := api.KindOf(err); k == api.Unavailable || k == api.Unknown {
			return false
		}
		check(g.t, err)
		return true
	})
	return leader
}

// remove has the leader remove a member. Where it must be asked twice, once may have been enough.
func (g *group) remove(p api.PeerID) (leader *node) {
	g.t.Helper()
	tried := false
	return g.lead(func(leader *node) error {
		err := leader.c.RemoveMember(g.ctx(), p, false)
		if tried && api.KindOf(err) == api.NotFound {
			return nil
		}
		tried = true
		return err
	})
}

// same waits until all peers that are up have the leader's pinset.
func (g *group) same() {
	g.t.Helper()
	var leader *node
	var index uint64
	until(g.t, "a leader that is verified", func() (ok bool) {
		var err error
		leader = g.leader()
		index, err = leader.c.ReadIndex(g.ctx())
		return err == nil
	})
	for _, n := range g.up() {
		if err := n.c.WaitApplied(g.ctx(), index); err != nil {
			g.t.Fatalf("%s: %v", n.id, err)
		}
	}
	want := leader.st.Digest()
	for _, n := range g.up() {
		if got := n.st.Digest(); got.Index == want.Index && got != want {
			g.t.Errorf("digest of %s is %v, the leader's %v", n.id, got, want)
		}
	}
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", patience, what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

func testCid(name string) api.Cid {
	h, err := multihash.Sum([]byte(name), multihash.SHA2_256, -1)
	if err != nil {
		panic(err)
	}
	return api.Cid{Cid: cid.NewCidV1(cid.Raw, h)}
}

func pinOp(name string) api.Op {
	p := api.NewPin(testCid(name), api.PinOptions{Name: name, ReplicationFactorMin: -1, ReplicationFactorMax: -1}, time.Unix(1000, 0))
	return api.Op{Type: api.OpPin, Pin: &p}
}

func unpinOp(name string, revision uint64) api.Op {
	return api.Op{Type: api.OpUnpin, Cid: testCid(name), Revision: revision}
}

func (n *node) has(name string) bool {
	ok, err := n.st.Has(context.Background(), testCid(name))
	if err != nil {
		n.t.Fatal(err)
	}
	return ok
}
