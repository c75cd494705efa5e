package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/p2p"
	"github.com/pinfold-cluster/pinfold/state"
)

var loopback = multiaddr.StringCast("/ip4/127.0.0.1/tcp/0")

func feedLog() *slog.Logger {
	if os.Getenv("FEED_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.DiscardHandler)
}

// eventually polls until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	end := time.After(2 * time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-end:
			t.Fatalf("in vain: %s", what)
		case <-tick.C:
		}
	}
}

// world is a cluster whose log is a slice: every member applies each entry as it comes.
type world struct {
	t       testing.TB
	cluster *p2p.Cluster
	secret  p2p.Secret
	rooms   int
	beacon  time.Duration
	ring    int
	wrap    func(Network) Network // around a member's

	members []*fullPeer
	index   uint64
	digests map[uint64][32]byte // by index
	leader  atomic.Int32
}

// fullPeer is a member: its host, state and publisher.
type fullPeer struct {
	id       p2p.Identity
	data     api.PeerID
	cert     atomic.Pointer[[]byte]
	verifier *p2p.Verifier
	host     *p2p.Host
	st       *state.State
	pub      *Publisher
	off      bool        // it does not apply the log
	lost     atomic.Bool // it hears of no leader

	signed atomic.Int64 // statements
}

func identity(t testing.TB) p2p.Identity {
	t.Helper()
	id, err := p2p.NewIdentity()
	check(t, err)
	return id
}

func newWorld(t testing.TB, members int) *world {
	w := emptyWorld(t)
	for range members {
		w.addMember()
	}
	return w
}

// emptyWorld is a cluster without members.
func emptyWorld(t testing.TB) *world {
	first := identity(t)
	c, err := p2p.NewCluster("test", first.ID, identity(t).ID)
	check(t, err)
	w := &world{t: t, cluster: c, secret: p2p.NewSecret(), rooms: 64, beacon: 200 * time.Millisecond, index: 10, digests: map[uint64][32]byte{}, wrap: func(n Network) Network { return n }}
	return w
}

func openState(t testing.TB, dir string) *state.State {
	t.Helper()
	st, err := state.Open(dir, state.Options{CacheBytes: 1 << 20, MemTableBytes: 1 << 20}, feedLog())
	check(t, err)
	return st
}

// run runs until the test ends, or until the returned function is called.
func run(t testing.TB, f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func (w *world) addMember() *fullPeer {
	t, id := w.t, identity(w.t)
	data := identity(t).ID
	cert, err := w.cluster.Certify(id.ID, data)
	check(t, err)
	in := &p2p.Cluster{Key: w.cluster.Key, Incarnation: w.cluster.Incarnation, Certificate: cert}
	o := p2p.Options{Secret: w.secret, Listen: []multiaddr.Multiaddr{loopback}, Guests: w.rooms}
	h, err := p2p.NewHost(id, in, p2p.Roster{}, o, feedLog())
	check(t, err)
	t.Cleanup(func() { h.Close() })
	m := &fullPeer{id: id, data: data, verifier: p2p.NewVerifier(w.cluster.Key, w.cluster.Incarnation), host: h, st: openState(t, t.TempDir())}
	m.cert.Store(&cert)
	t.Cleanup(func() { m.st.Close() })
	n := int32(len(w.members))
	po := PublisherOptions{Name: fmt.Sprint("member ", n), Leads: func() bool { return w.leader.Load() == n && !m.lost.Load() }, InTouch: func() bool { return !m.lost.Load() }, Beacon: w.beacon, RingBytes: w.ring}
	m.pub = NewPublisher(w.wrap(Over(h)), m.verifier, m.sign, m.st, po, feedLog())
	for _, other := range w.members {
		h.AddKnown(info(other.host))
	}
	w.members = append(w.members, m)
	run(t, h.Run)
	run(t, m.pub.Run)
	return m
}

func (m *fullPeer) sign(kind string, body []byte) ([]byte, error) {
	m.signed.Add(1)
	return p2p.SignStatement(m.id, *m.cert.Load(), kind, body)
}

func info(h *p2p.Host) peer.AddrInfo {
	infos, err := peer.AddrInfosFromP2pAddrs(h.Addrs()...)
	if err != nil || len(infos) != 1 {
		panic(fmt.Sprint(infos, err))
	}
	return infos[0]
}

func nthPin(i int, name string, index uint64) api.Pin {
	p := pagePin(i, name)
	p.Revision = index
	return p
}

// edit is an entry's: pins to put under a name, and to remove.
type edit struct {
	put    []int
	name   string
	remove []int
}

// apply makes one entry of c part of a state, and gives what it did.
func apply(t testing.TB, st *state.State, index uint64, c edit) state.Changes {
	t.Helper()
	b := st.NewBatch()
	out := state.Changes{Index: index, Before: b.Digest().Pins}
	var cids []api.Cid
	for _, i := range c.put {
		check(t, b.Put(nthPin(i, c.name, index)))
		cids = append(cids, pageCid(i))
	}
	for _, i := range c.remove {
		check(t, b.Delete(pageCid(i)))
		cids = append(cids, pageCid(i))
	}
	out.After = b.Digest().Pins
	for _, id := range cids {
		r, err := b.Row(id)
		check(t, err)
		out.Rows = append(out.Rows, r)
	}
	check(t, b.Commit(index))
	return out
}

// commit is one entry of the log. Entries that change no pin come between.
func (w *world) commit(c edit) {
	w.t.Helper()
	w.index += 2
	for _, m := range w.members {
		if !m.off {
			did := apply(w.t, m.st, w.index, c)
			m.pub.Changed(did)
			w.digests[w.index] = did.After
		}
	}
}

func (w *world) pin(from, to int) {
	var c edit
	for i := from; i < to; i++ {
		c.put = append(c.put, i)
	}
	w.commit(c)
}

// A lossy network loses messages of gossip, as many of a hundred as it says.
type lossy struct {
	Network
	loss *atomic.Int32
}

func (l lossy) Next(ctx context.Context) ([]byte, error) {
	for {
		b, err := l.Network.Next(ctx)
		if err != nil || rand.Int32N(100) >= l.loss.Load() {
			return b, err
		}
	}
}

// follower is one with its host and state.
type follower struct {
	*Follower
	o     FollowerOptions
	loss  atomic.Int32
	w     *world
	id    p2p.Identity
	dir   string
	host  *p2p.Host
	st    *state.State
	told  *record
	stops []func()

	key      sync.Mutex
	cluster  *p2p.Cluster // as it knows it; it does over a restart
	verifier *p2p.Verifier
}

type record struct {
	mu               sync.Mutex
	tracked, dropped int
	reloads          int
}

func (r *record) Track(api.Pin)   { r.mu.Lock(); defer r.mu.Unlock(); r.tracked++ }
func (r *record) Untrack(api.Pin) { r.mu.Lock(); defer r.mu.Unlock(); r.dropped++ }
func (r *record) Reload()         { r.mu.Lock(); defer r.mu.Unlock(); r.reloads++ }

func (w *world) follow(o FollowerOptions) *follower {
	f := &follower{w: w, id: identity(w.t), dir: w.t.TempDir(), o: o}
	f.start()
	return f
}

// start starts the follower, or starts it again.
func (f *follower) start() {
	t, w, o := f.w.t, f.w, f.o
	t.Helper()
	f.key.Lock()
	defer f.key.Unlock()
	if f.cluster == nil {
		f.cluster = w.link()
	}
	f.verifier = p2p.NewVerifier(f.cluster.Key, w.cluster.Incarnation)
	var err error
	f.host, err = p2p.NewFollowerHost(f.id, f.cluster, p2p.Options{Secret: w.secret, Listen: []multiaddr.Multiaddr{loopback}, Guests: 8, Learn: f.learn}, feedLog())
	check(t, err)
	f.st = openState(t, filepath.Join(f.dir, "state"))
	f.told = &record{}
	if o.Members == nil {
		for _, m := range w.members {
			o.Members = append(o.Members, info(m.host))
		}
	}
	f.Follower, err = NewFollower(lossy{Over(f.host), &f.loss}, f.verifier, f.st, f.dir, f.told, o, feedLog())
	check(t, err)
	host, st := f.host, f.st
	closeAll := sync.OnceFunc(func() { host.Close(); st.Close() })
	t.Cleanup(closeAll)
	f.stops = []func(){run(t, f.Follower.Run), run(t, f.host.Run), closeAll}
}

func (f *follower) stop() {
	for _, stop := range f.stops {
		stop()
	}
}

// same waits until the followers have what the members have.
func (w *world) same(list ...*follower) {
	w.t.Helper()
	want := w.members[w.leader.Load()].st.Digest()
	for i, f := range list {
		var s FollowerStatus
		defer func() {
			if w.t.Failed() {
				w.t.Logf("follower %d: %+v, want %d %x", i, s, want.Index, want.Pins[:8])
			}
		}()
		eventually(w.t, "a follower has what the members have", func() bool {
			s = f.Status()
			return s.Settled && s.Index >= want.Index
		})
		// Entries that in sum changed no pin may not have come to it, but a beacon past them.
		if got := f.st.Digest(); got.Index > want.Index || got.Pins != want.Pins {
			w.t.Fatalf("follower %d has digest %x at index %d, want %x at %d", i, got.Pins[:8], got.Index, want.Pins[:8], want.Index)
		}
	}
}

// cut ends all connections of the follower.
func (f *follower) cut() {
	for _, id := range f.host.Connected() {
		f.host.Dismiss(id)
	}
}

// sameIndex checks that the follower has, where it stands, what the members had there.
func (w *world) sameIndex(f *follower) {
	w.t.Helper()
	d := f.st.Digest()
	if want, ok := w.digests[d.Index]; ok && want != d.Pins {
		w.t.Fatalf("at index %d a follower has digest %x, the members had %x", d.Index, d.Pins[:8], want[:8])
	}
}
