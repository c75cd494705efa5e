package feed

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/consensus"
	"github.com/pinfold-cluster/pinfold/p2p"
	"github.com/pinfold-cluster/pinfold/state"
)

// raftWorld is a world whose log is raft's: each member has its log and state on disk, and
// can be stopped, killed and started again at its address.
type raftWorld struct {
	*world
	peers []*raftPeer

	mu      sync.Mutex
	digests map[uint64][32]byte // by index, as members told
}

// raftPeer is a member. What it runs is nil while it does not.
type raftPeer struct {
	w    *raftWorld
	id   p2p.Identity
	cert []byte
	dir  string
	addr multiaddr.Multiaddr

	host    *p2p.Host
	st      *state.State
	cons    *consensus.Consensus
	pub     *Publisher
	stops   []func()
	reloads atomic.Int32
}

// Track, Untrack, Reload and Changed implement consensus.Listener.
func (p *raftPeer) Track(api.Pin)   {}
func (p *raftPeer) Untrack(api.Pin) {}
func (p *raftPeer) Reload()         { p.reloads.Add(1) }

func (p *raftPeer) Changed(c state.Changes) {
	p.w.mu.Lock()
	known, ok := p.w.digests[c.Index]
	p.w.digests[c.Index] = c.After
	p.w.mu.Unlock()
	if ok && known != c.After {
		p.w.t.Errorf("members have two digests at index %d: the test is wrong, or raft is", c.Index)
	}
	p.pub.Changed(c)
}

// newRaftWorld starts members that agree by raft.
func newRaftWorld(t testing.TB, members int) *raftWorld {
	t.Helper()
	w := &raftWorld{world: emptyWorld(t), digests: map[uint64][32]byte{}}
	for range members {
		id := identity(t)
		cert, err := w.cluster.Certify(id.ID, identity(t).ID)
		check(t, err)
		addr := multiaddr.StringCast(fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", freePort(t)))
		w.peers = append(w.peers, &raftPeer{w: w, id: id, cert: cert, dir: t.TempDir(), addr: addr})
	}
	first := w.peers[0]
	check(t, consensus.Bootstrap(first.raft(), first.id.ID))
	for i, p := range w.peers {
		p.start()
		m := api.Member{ID: p.id.ID}
		w.insist("a member is added", func(ctx context.Context, leader *raftPeer) error {
			_, err := leader.cons.Commit(ctx, []api.Op{{Type: api.OpJoin, Member: &m, Expires: 1000, Time: 1}})
			return errors.Join(err, leader.cons.AddMember(ctx, m))
		})
		if voters := i + (i+1)%2; i == members-1 { // an even number rounds down
			eventually(t, "all vote", func() bool {
				n := 0
				for _, s := range p.cons.Servers() {
					if s.Voter {
						n++
					}
				}
				return n == voters
			})
		}
	}
	return w
}

var lastPort atomic.Int32

// freePort finds one below those from which systems take the near end of a connection:
// who starts again finds its own free.
func freePort(t testing.TB) int {
	t.Helper()
	lastPort.CompareAndSwap(0, 10000+int32(os.Getpid()*64%20000))
	for range 2000 {
		port := int(lastPort.Add(1))
		if l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port)); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

func (p *raftPeer) raft() string { return filepath.Join(p.dir, "raft") }

// snapshot is the index of the newest one: what came before it is not in the log any more.
func (p *raftPeer) snapshot() (newest uint64) {
	entries, err := os.ReadDir(filepath.Join(p.raft(), "snapshots"))
	check(p.w.t, err)
	for _, e := range entries {
		var index uint64
		if n, _ := fmt.Sscanf(e.Name(), "%020d-", &index); n == 1 {
			newest = max(newest, index)
		}
	}
	return newest
}

func (p *raftPeer) info() peer.AddrInfo {
	return peer.AddrInfo{ID: p.id.ID, Addrs: []multiaddr.Multiaddr{p.addr}}
}

func (p *raftPeer) sign(kind string, body []byte) ([]byte, error) {
	return p2p.SignStatement(p.id, p.cert, kind, body)
}

// start starts the member, or starts it again.
func (p *raftPeer) start() {
	t, w := p.w.t, p.w
	t.Helper()
	in := &p2p.Cluster{Key: w.cluster.Key, Incarnation: w.cluster.Incarnation, Certificate: p.cert}
	o := p2p.Options{Secret: w.secret, Listen: []multiaddr.Multiaddr{p.addr}, Guests: w.rooms}
	var err error
	p.host, err = p2p.NewHost(p.id, in, p2p.Roster{}, o, feedLog())
	check(t, err)
	for _, other := range w.peers {
		if other != p {
			p.host.AddKnown(other.info())
		}
	}
	p.st = openState(t, filepath.Join(p.dir, "state"))
	// The timeouts are long enough for a busy machine; a snapshot is due after few entries.
	p.cons, err = consensus.New(p.id.ID, p.raft(), p.st, p.host, p, consensus.Options{
		HeartbeatTimeout: 600 * time.Millisecond, ElectionTimeout: 600 * time.Millisecond, CommitTimeout: 20 * time.Millisecond,
		VoterInterval: 50 * time.Millisecond, SnapshotThreshold: 30, TrailingLogs: 2,
	}, feedLog())
	check(t, err)
	cons := p.cons
	leads := func() bool {
		leader, ok := cons.Leader()
		return ok && leader == p.id.ID
	}
	v := p2p.NewVerifier(w.cluster.Key, w.cluster.Incarnation)
	p.pub = NewPublisher(Over(p.host), v, p.sign, p.st, PublisherOptions{Leads: leads, Beacon: w.beacon, RingBytes: 32 << 10}, feedLog())
	host, st := p.host, p.st
	release := sync.OnceFunc(func() {
		if err := errors.Join(cons.Close(), host.Close(), st.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(release)
	p.stops = []func(){run(t, host.Run), run(t, p.pub.Run), run(t, cons.Run), release}
}

// stop ends the member in order: it hands over what it leads.
func (p *raftPeer) stop() {
	p.stops[2]()
	for _, stop := range p.stops {
		stop()
	}
	p.stops = nil
}

// kill ends it as others see a crash: it is not heard any more, in the middle of what it said.
func (p *raftPeer) kill() {
	p.host.Close()
	p.stop()
}

// leader waits for one that is ready.
func (w *raftWorld) leader() (leader *raftPeer) {
	w.t.Helper()
	eventually(w.t, "there is a leader", func() bool {
		for _, p := range w.peers {
			if p.stops == nil {
				continue
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			_, err := p.cons.Ready(ctx)
			cancel()
			if err == nil {
				leader = p
				return true
			}
		}
		return false
	})
	return leader
}

// insist does something through the leader until it succeeds.
func (w *raftWorld) insist(what string, do func(context.Context, *raftPeer) error) {
	w.t.Helper()
	eventually(w.t, what, func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		return do(ctx, w.leader()) == nil
	})
}

// A writer pins, renames and unpins through whoever leads, one entry after the other.
type writer struct {
	acked atomic.Int64 // entries
	hands chan []*raftPeer
	stop  func()
}

// write begins to write to the members that run, which running tells.
func (w *raftWorld) write() *writer {
	wr := &writer{hands: make(chan []*raftPeer, 1)}
	wr.hands <- w.peers
	wr.stop = run(w.t, func(ctx context.Context) error {
		pace := time.NewTicker(4 * time.Millisecond)
		defer pace.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return nil
			case <-pace.C:
			}
			peers := <-wr.hands
			if err := commitSome(ctx, peers, n); err == nil {
				wr.acked.Add(1)
			}
			wr.hands <- peers
		}
	})
	return wr
}

// commitSome commits an entry: new pins, some renamed, some gone.
func commitSome(ctx context.Context, peers []*raftPeer, n int) error {
	for _, p := range peers {
		if p.stops == nil || !p.pub.o.Leads() {
			continue
		}
		var ops []api.Op
		for i := range 1 + rand.IntN(4) {
			pin := pagePin(4*n+i, "new")
			ops = append(ops, api.Op{Type: api.OpPin, Pin: &pin})
		}
		for range rand.IntN(3) {
			i := rand.IntN(4*n + 1)
			old, err := p.st.Get(ctx, pageCid(i))
			if err != nil {
				continue
			}
			if pin := pagePin(i, fmt.Sprint(n)); rand.IntN(2) == 0 {
				ops = append(ops, api.Op{Type: api.OpPin, Pin: &pin, Revision: old.Revision})
			} else {
				ops = append(ops, api.Op{Type: api.OpUnpin, Cid: pin.Cid, Revision: old.Revision})
			}
		}
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_, err := p.cons.Commit(ctx, ops)
		return err
	}
	return errors.New("nobody leads")
}

// more waits until so many entries more were acknowledged.
func (wr *writer) more(t testing.TB, n int64) {
	t.Helper()
	until := wr.acked.Load() + n
	eventually(t, "writes are acknowledged", func() bool { return wr.acked.Load() >= until })
}

// change has the writer wait while a member stops or starts.
func (wr *writer) change(f func()) {
	peers := <-wr.hands
	f()
	wr.hands <- peers
}

// sameIndex checks that a follower has, where it stands, what the members had there.
func (w *raftWorld) sameIndex(f *follower) {
	w.t.Helper()
	d := f.st.Digest()
	w.mu.Lock()
	want, ok := w.digests[d.Index]
	w.mu.Unlock()
	if ok && want != d.Pins {
		w.t.Errorf("at index %d a follower has digest %x, the members had %x", d.Index, d.Pins[:8], want[:8])
	}
	if s := f.Status().Stopped; s != "" {
		w.t.Fatalf("a follower has stopped, and nobody has lied: %s", s)
	}
}

// While pins are committed leaders are killed and hand over, a member gets a snapshot,
// followers are cut off and started again: in the end all have what the members have.
func TestFollowers_OfMembersThatAgreeByRaft(t *testing.T) {
	w := newRaftWorld(t, 3)
	var members []peer.AddrInfo
	for _, p := range w.peers {
		members = append(members, p.info())
	}
	var followers []*follower
	for range 4 {
		followers = append(followers, w.follow(FollowerOptions{Members: members, Patience: time.Second}))
	}
	wr := w.write()
	wr.more(t, 20)
	for round, end := range []func(*raftPeer){(*raftPeer).kill, (*raftPeer).stop, (*raftPeer).kill} {
		away, cut, deaf := followers[round], followers[(round+1)%4], followers[(round+2)%4]
		leader := w.leader()
		before, stood := leader.reloads.Load(), leader.st.Applied()
		deaf.loss.Store(50)
		away.stop()
		wr.change(func() { end(leader) })
		wr.more(t, 20)
		cut.cut()
		eventually(t, "the log has gone on without it", func() bool {
			return !slices.ContainsFunc(w.peers, func(p *raftPeer) bool { return p != leader && p.snapshot() < stood+20 })
		})
		for _, f := range followers {
			if f != away {
				w.sameIndex(f)
			}
		}
		away.start()
		wr.change(leader.start)
		eventually(t, "the member gets a snapshot", func() bool { return leader.reloads.Load() > before })
		wr.more(t, 20)
		deaf.loss.Store(0)
	}
	wr.stop()

	// Nothing is written any more but one entry, after what was under way: what the leader
	// has then is the end.
	var want state.Digest
	w.insist("the leader knows its last entry", func(ctx context.Context, leader *raftPeer) error {
		pin := pagePin(1<<30, "last")
		_, err := leader.cons.Commit(ctx, []api.Op{{Type: api.OpPin, Pin: &pin}})
		want = leader.st.Digest()
		return err
	})
	for i, p := range w.peers {
		eventually(t, "a member has what the leader has", func() bool { return p.st.Digest().Index >= want.Index })
		if got := p.st.Digest(); got.Pins != want.Pins {
			t.Fatalf("member %d has another pinset: the test is wrong, or raft is", i)
		}
	}
	for i, f := range followers {
		eventually(t, "a follower gets to the members' index", func() bool {
			w.sameIndex(f)
			s := f.Status()
			return s.Settled && s.Index >= want.Index
		})
		if got := f.st.Digest(); got.Pins != want.Pins {
			t.Errorf("follower %d has digest %x at index %d, want %x at %d", i, got.Pins[:8], got.Index, want.Pins[:8], want.Index)
		}
		check(t, f.st.Verify(t.Context()))
	}
	t.Logf("%d entries were acknowledged, up to index %d", wr.acked.Load(), want.Index)
}
