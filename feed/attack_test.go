package feed

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/p2p"
	"github.com/pinfold-cluster/pinfold/state"
)

// gossip publishes as the member, whatever its publisher thinks.
func (m *fullPeer) gossip(t testing.TB, kind string, body []byte) {
	t.Helper()
	raw, err := m.sign(kind, body)
	check(t, err)
	check(t, m.host.Feed().Publish(t.Context(), raw))
}

// lie is the nth of what a member could have told had the entry at index been another.
func lie(t testing.TB, index uint64, before [32]byte, n int) []byte {
	t.Helper()
	enc, err := encodeBatch(state.Changes{Index: index, Before: before, After: [32]byte{1, byte(n), byte(n >> 8)}, Rows: []state.Row{{Cid: pageCid(9999)}}})
	check(t, err)
	return batchesBody([][]byte{enc})
}

func TestFollower_StopsWhereMembersContradictEachOther(t *testing.T) {
	for name, contradict := range map[string]func(t *testing.T, w *world, rogue *fullPeer, n int){
		"two batches for one index": func(t *testing.T, w *world, rogue *fullPeer, n int) {
			rogue.gossip(t, kindBatches, lie(t, w.index, w.digests[w.index-2], n))
		},
		"another digest at an index": func(t *testing.T, w *world, rogue *fullPeer, _ int) {
			body, err := beacon{index: w.index, digest: [32]byte{7}, time: time.Now()}.encode()
			check(t, err)
			rogue.gossip(t, kindBeacon, body)
		},
		"a batch that does not give its digest": func(t *testing.T, w *world, rogue *fullPeer, n int) {
			rogue.gossip(t, kindBatches, lie(t, w.index+1, w.digests[w.index], n))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 2)
			w.pin(0, 20)
			f := w.follow(FollowerOptions{})
			w.same(f)
			w.pin(20, 21)
			w.pin(21, 22)
			w.same(f)
			rogue := w.members[1]
			eventually(t, "the follower is its neighbour", func() bool { return rogue.host.Feed().Readers() > 0 })
			n := 0
			eventually(t, "it stops", func() bool {
				if n++; n%20 == 1 { // gossip may lose one while its mesh forms
					contradict(t, w, rogue, n)
				}
				return f.Status().Stopped != ""
			})
			if f.Status().KeyInDoubt {
				t.Error("the follower says that it stopped for the cluster's key")
			}
			if s := f.Status().Stopped; !strings.Contains(s, rogue.id.ID.String()) {
				t.Errorf("it does not say that %s signed: %s", rogue.id.ID, s)
			}
			stood := f.st.Digest()
			if stood.Index != w.index || stood.Pins != w.digests[w.index] {
				t.Errorf("it stopped at index %d with %x, where the log was at %d with %x", stood.Index, stood.Pins[:8], w.index, w.digests[w.index])
			}
			w.pin(22, 30)

			f.stop()
			f.start()
			if f.Status().Stopped == "" {
				t.Error("it has forgotten why it stopped")
			}
			if d := f.st.Digest(); d != stood {
				t.Errorf("it went on to index %d", d.Index)
			}
			if _, ok := f.Follower.past.points[stood.Index]; ok {
				t.Error("it listens")
			}
			eventually(t, "it goes on once the lie has gone from gossip", func() bool {
				if f.Status().Stopped != "" {
					check(t, f.Resume())
				}
				s := f.Status()
				return s.Settled && s.Index >= w.index && s.Stopped == ""
			})
			w.same(f)
			if err := f.Resume(); api.KindOf(err) != api.Conflict {
				t.Errorf("resume of one that goes on: %v", err)
			}
		})
	}
}

// A member that signs an index far in the future is believed for a while, and holds
// nobody up: neither those that it tells nor those that its word would have to pass.
func TestFollower_IsNotHeldUpByAFarIndex(t *testing.T) {
	const far = 1 << 60
	for name, digest := range map[string]func(state.Digest) [32]byte{
		"with the pinset's digest": func(d state.Digest) [32]byte { return d.Pins },
		"with another":             func(state.Digest) [32]byte { return [32]byte{7} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 2)
			w.pin(0, 20)
			f := w.follow(FollowerOptions{})
			w.same(f)
			rogue := w.members[1]
			eventually(t, "the follower is its neighbour", func() bool { return rogue.host.Feed().Readers() > 0 })
			tell := func(index uint64, digest [32]byte) {
				body, err := beacon{index: index, digest: digest, time: time.Now()}.encode()
				check(t, err)
				rogue.gossip(t, kindBeacon, body)
			}
			n := 0
			eventually(t, "it hears of the index", func() bool {
				if n++; n%20 == 1 { // gossip may lose one while its mesh forms
					tell(far, digest(w.members[0].st.Digest()))
				}
				return f.Status().Latest == far
			})
			w.pin(20, 30)
			eventually(t, "it goes on", func() bool { return f.st.Digest() == w.members[0].st.Digest() })
			eventually(t, "the member tells less", func() bool {
				tell(w.index, w.digests[w.index])
				s := f.Status()
				return s.Latest == w.index && s.Index == w.index && s.Current(time.Now(), time.Minute)
			})
			f.stop()
			f.start()
			w.pin(30, 40)
			eventually(t, "it goes on after a restart", func() bool { return f.st.Digest() == w.members[0].st.Digest() })
			if s := f.Status().Stopped; s != "" {
				t.Errorf("the follower has stopped: %s", s)
			}
		})
	}
}

// A record of a later version is no lie: the follower ends, and accuses nobody.
func TestFollower_EndsAtRecordsOfALaterVersion(t *testing.T) {
	w := newWorld(t, 1)
	w.pin(0, 5)
	f := w.follow(FollowerOptions{})
	w.same(f)
	stood := f.st.Digest()
	row, err := w.members[0].st.NewBatch().Row(pageCid(0))
	check(t, err)
	row.Value = append(bytes.Clone(row.Value), 0x17, 1) // field 23 is 1
	row.Value[1]++                                      // of a map with one field more

	f.Follower.mu.Lock()
	err = f.Follower.apply(heldBatch{batch: batch{index: w.index + 1, before: stood.Pins, rows: []state.Row{row}}})
	f.Follower.mu.Unlock()
	if api.KindOf(err) != api.Unsupported || !strings.Contains(err.Error(), "up to date") {
		t.Errorf("%v, want an Unsupported error that says what to do", err)
	}
	if s := f.Status().Stopped; s != "" || f.st.Digest() != stood {
		t.Errorf("at index %d, stopped: %q", f.st.Applied(), s)
	}
}

// An intruder knows what a link tells: the secret, the cluster's key and the addresses.
type intruder struct {
	Network
	host *p2p.Host
	id   p2p.Identity
}

func (w *world) intrude() *intruder {
	t := w.t
	t.Helper()
	id := identity(t)
	c := &p2p.Cluster{Key: w.cluster.Key, Incarnation: w.cluster.Incarnation}
	h, err := p2p.NewFollowerHost(id, c, p2p.Options{Secret: w.secret, Listen: []multiaddr.Multiaddr{loopback}, Guests: 64}, feedLog())
	check(t, err)
	t.Cleanup(func() { h.Close() })
	return &intruder{Over(h), h, id}
}

// greet makes it a guest of the peer.
func (i *intruder) greet(t testing.TB, to *p2p.Host) {
	t.Helper()
	check(t, i.Connect(t.Context(), info(to)))
	h, err := client{i}.hello(t.Context(), to.ID(), hello{Name: "friend"})
	check(t, err)
	if !h.Admitted {
		t.Fatal("not admitted")
	}
}

func TestPublisher_SendsFloodersAway(t *testing.T) {
	other := identity(t)
	foreign, err := p2p.NewCluster("other", other.ID, identity(t).ID)
	check(t, err)
	for name, forge := range map[string]func(t *testing.T, w *world, i *intruder, n int) []byte{
		"noise": func(t *testing.T, _ *world, _ *intruder, n int) []byte {
			b := make([]byte, 1000+n)
			rand.Read(b)
			return b
		},
		"statements of another cluster's member": func(t *testing.T, w *world, _ *intruder, n int) []byte {
			b, err := p2p.SignStatement(other, foreign.Certificate, kindBatches, lie(t, w.index+uint64(n), w.digests[w.index], n))
			check(t, err)
			return b
		},
		"a member's certificate, and its own signature": func(t *testing.T, w *world, i *intruder, n int) []byte {
			b, err := p2p.SignStatement(i.id, *w.members[0].cert.Load(), kindBatches, lie(t, w.index+uint64(n), w.digests[w.index], n))
			check(t, err)
			return b
		},
		"what members say elsewhere": func(t *testing.T, w *world, _ *intruder, n int) []byte {
			b, err := w.members[0].sign(kindRoot, append(make([]byte, n), 1))
			check(t, err)
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			w.pin(0, 20)
			f := w.follow(FollowerOptions{})
			w.same(f)
			i := w.intrude()
			i.greet(t, w.members[0].host)
			check(t, i.Join(func(api.PeerID, []byte) p2p.Verdict { return p2p.Forward }))
			eventually(t, "the member listens", func() bool { return i.Readers() > 0 })
			n := 0
			eventually(t, "it is sent away", func() bool {
				n++
				check(t, i.Publish(t.Context(), forge(t, w, i, n)))
				return len(i.Connected()) == 0
			})
			if err := i.Connect(t.Context(), info(w.members[0].host)); err == nil {
				_, err = client{i}.hello(t.Context(), w.members[0].host.ID(), hello{})
				if err == nil {
					t.Error("it is let in again")
				}
			}
			w.pin(20, 30)
			w.same(f)
			if s := f.Status().Stopped; s != "" {
				t.Errorf("the follower has stopped: %s", s)
			}
		})
	}
}

// What can be replayed is not passed on.
func TestJudge_OldMessagesGoNoFurther(t *testing.T) {
	j := newJudge(nil)
	now := time.Now()
	batch := func(index uint64) message {
		return message{kind: kindBatches, batches: []batch{{index: index}}}
	}
	sign := func(signer string, index uint64, at time.Time) message {
		return message{kind: kindBeacon, signer: api.PeerID(signer), beacon: beacon{index: index, time: at}}
	}
	steps := []struct {
		what  string
		m     message
		own   uint64
		after time.Duration
		old   bool
	}{
		{"the first", batch(10), 10, 0, false},
		{"the next", batch(12), 12, time.Second, false},
		{"one that was overtaken just now", batch(11), 12, time.Second, false},
		{"a beacon", sign("a", 12, now), 12, time.Second, false},
		{"the same again, which gossip knows", sign("a", 12, now), 12, time.Second, false},
		{"the same once gossip may have forgotten it", sign("a", 12, now), 12, timely, true},
		{"another member's, whose clock is behind", sign("b", 12, now.Add(-time.Hour)), 12, time.Second, false},
		{"later", batch(20), 20, staleAfter, false},
		{"much later", batch(30), 30, staleAfter, false},
		{"one from long ago", batch(11), 30, time.Second, true},
		{"one that this peer still lacks", batch(11), 10, time.Second, false},
		{"one from far in the future", sign("c", 1<<60, now), 30, time.Second, false},
		{"another of them", sign("c", 1<<60, now.Add(time.Hour)), 30, 2 * staleAfter, false},
		{"a beacon of where this peer is", sign("a", 30, now.Add(time.Hour)), 30, 2 * staleAfter, false},
	}
	for _, s := range steps {
		now = now.Add(s.after)
		if got := j.old(s.m, s.own, now); got != s.old {
			t.Errorf("%s: old %v, want %v", s.what, got, s.old)
		}
	}
}

// poisoner gives the right root and wrong pages.
type poisoner struct {
	source
	net       Network
	statement []byte
	asked     atomic.Bool
}

func (p *poisoner) hello(_ context.Context, from api.PeerID, _ hello) (hello, error) {
	return hello{Admitted: p.net.Welcome(from)}, nil
}
func (p *poisoner) root(context.Context) ([]byte, error) { return p.statement, nil }
func (p *poisoner) page(context.Context, []byte) ([]byte, error) {
	p.asked.Store(true)
	return bytes.Repeat([]byte{0x80}, 1000), nil
}
func (p *poisoner) since(context.Context, uint64, [32]byte, func([]byte) error) error {
	return api.NotFound.Errorf("nothing here")
}

func TestFollower_TakesNoPoisonedPages(t *testing.T) {
	w := newWorld(t, 1)
	w.pin(0, 4000)
	m := w.members[0]
	root, err := m.pub.root(t.Context())
	check(t, err)
	i := w.intrude()
	p := &poisoner{net: i, statement: root}
	run(t, newStreams(i, p, 0, feedLog()).run)
	f := w.follow(FollowerOptions{Members: []peer.AddrInfo{info(i.host)}})
	eventually(t, "the liar is left", func() bool { return p.asked.Load() && len(f.Status().Neighbours) == 0 })
	if f.Status().Settled {
		t.Fatal("it believes the liar")
	}
	f.stop()
	f.o.Members = []peer.AddrInfo{info(m.host), info(i.host)}
	f.start()
	w.same(f)
}

// silent says hello, and then nothing to anybody until the test ends.
type silent struct {
	source
	net Network
}

func (s silent) hello(_ context.Context, from api.PeerID, _ hello) (hello, error) {
	return hello{Admitted: s.net.Welcome(from)}, nil
}
func (silent) root(ctx context.Context) ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() }
func (silent) since(ctx context.Context, _ uint64, _ [32]byte, _ func([]byte) error) error {
	<-ctx.Done()
	return ctx.Err()
}

// A follower all of whose neighbours keep what members say to themselves finds a member,
// though that had no place for it a moment ago.
func TestFollower_LeavesSilentNeighbours(t *testing.T) {
	w := newWorld(t, 1)
	w.pin(0, 20)
	f := &follower{w: w, id: identity(t), dir: t.TempDir(), o: FollowerOptions{Neighbours: 2, Patience: 200 * time.Millisecond}}
	b, err := openBook(filepath.Join(f.dir, bookFile), nil, feedLog())
	check(t, err)
	for range f.o.Neighbours {
		i := w.intrude()
		run(t, newStreams(i, silent{net: i}, 0, feedLog()).run)
		b.learn(info(i.host))
	}
	b.refused = time.Now()
	b.save()
	f.start()
	w.same(f)
	w.pin(20, 30)
	w.same(f)
	if !hasMember(f.Status().Neighbours) {
		t.Errorf("no member is among %v", f.Status().Neighbours)
	}
}

// Whoever has the follower's part of the addresses only still has all of the pinset.
func TestFollower_FollowsFollowers(t *testing.T) {
	w := emptyWorld(t)
	w.rooms = 1 // which is the first's
	w.addMember()
	w.pin(0, 2000)
	first := w.follow(FollowerOptions{})
	w.same(first)
	second := w.follow(FollowerOptions{Members: []peer.AddrInfo{info(first.host)}, Neighbours: 1, Patience: time.Second})
	w.same(second)
	w.pin(2000, 2100)
	w.same(first, second)
	second.loss.Store(100)
	w.pin(2100, 2200)
	w.same(first, second)
	for _, p := range second.Status().Neighbours {
		if p.Member {
			t.Errorf("it asked a member: %s", p.ID)
		}
	}
}

// Whatever is done on streams, a peer's part in it stays bounded, and others are served:
// those that were there, and those that come.
func TestStreams_AreBounded(t *testing.T) {
	w := newWorld(t, 1)
	m := w.members[0]
	for n := range 40 { // some 3 MB that a slow reader may leave lying
		var c edit
		for p := range 200 {
			c.put = append(c.put, 200*n+p)
		}
		c.name = strings.Repeat("x", 250)
		w.commit(c)
	}
	first := state.Digest{Index: 12}
	first.Pins = w.digests[12]
	f := w.follow(FollowerOptions{})
	most := func() (n int) {
		s := m.pub.server
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, of := range s.by {
			n = max(n, of)
		}
		return n
	}
	for n := range streamsEasy/streamsEach + 2 {
		i := w.intrude()
		i.greet(t, m.host)
		for range streamsEach + 4 {
			c, err := i.Dial(t.Context(), m.host.ID())
			if err != nil {
				break // it has what it gets
			}
			t.Cleanup(func() { c.Close() })
			switch {
			case n%2 == 0: // ask for much, and read nothing
				writeRequest(c, request{Op: opSince, Index: first.Index, Digest: first.Pins[:]})
			default: // say nothing
				c.Write([]byte{0xff})
			}
		}
		if n := most(); n > streamsEach {
			t.Fatalf("%d streams of one peer are open", n)
		}
	}
	late := w.intrude()
	late.greet(t, m.host)
	if _, err := (client{late}).one(t.Context(), m.host.ID(), request{Op: opRoot}, rootTime); err != nil {
		t.Errorf("one that came late: %v", err)
	}
	w.same(f)
	w.pin(9000, 9100)
	w.same(f)
}

// Guests that take all they get leave some to each of the others.
func TestStreams_LeaveRoom(t *testing.T) {
	s := newStreams(nil, nil, 0, feedLog())
	open := map[api.PeerID]int{}
	for n := range 200 {
		id := api.PeerID(fmt.Sprint("guest ", n))
		for s.enter(id) {
			open[id]++
		}
		if open[id] < streamsFew || open[id] > streamsEach {
			t.Fatalf("%s gets %d streams, after %d of others", id, open[id], s.open-open[id])
		}
	}
	for id, n := range open {
		for range n {
			s.leave(id)
		}
	}
	if s.open != 0 || len(s.by) != 0 {
		t.Errorf("%d streams are open once all have ended, of %d peers", s.open, len(s.by))
	}
}

func TestStreams_RefuseWhatIsNoQuestion(t *testing.T) {
	w := newWorld(t, 1)
	m := w.members[0]
	f := w.follow(FollowerOptions{})
	w.pin(0, 10)
	w.same(f)
	i := w.intrude()
	ask := func(to api.PeerID, req request) error {
		_, err := client{i}.one(t.Context(), to, req, helloTime)
		return err
	}
	zero := make([]byte, 32)
	visitor := map[string]request{
		"batches": {Op: opSince, Digest: zero}, "root": {Op: opRoot}, "page": {Op: opPage, Hash: zero},
		"coverage": {Op: opCoverage}, "status": {Op: opStatus},
	}
	for name, req := range visitor {
		for _, to := range []*p2p.Host{m.host, f.host} {
			check(t, i.Connect(t.Context(), info(to))) // a visitor does not stay
			if err := ask(to.ID(), req); api.KindOf(err) != api.Denied {
				t.Errorf("a visitor asks for %s: %v, want denied", name, err)
			}
		}
	}
	i.greet(t, m.host)
	i.greet(t, f.host)
	for _, c := range []struct {
		name string
		to   api.PeerID
		req  request
		want api.Kind
	}{
		{"no kind", m.host.ID(), request{}, api.Unsupported},
		{"a short digest", m.host.ID(), request{Op: opSince, Index: 1, Digest: zero[:31]}, api.Invalid},
		{"a short hash", m.host.ID(), request{Op: opPage, Hash: zero[:31]}, api.Invalid},
		{"a short hash of a follower", f.host.ID(), request{Op: opPage, Hash: zero[:31]}, api.Invalid},
		{"no such page", m.host.ID(), request{Op: opPage, Hash: zero}, api.NotFound},
		{"a long name", m.host.ID(), request{Op: opHello, Hello: &hello{Name: strings.Repeat("x", maxName+1)}}, api.Invalid},
		{"no hello", m.host.ID(), request{Op: opHello}, api.Invalid},
		{"a follower's status", f.host.ID(), request{Op: opStatus}, api.Denied},
		{"a follower's pins", f.host.ID(), request{Op: opPinStatuses}, api.Denied},
		{"a follower's challenge", f.host.ID(), request{Op: opChallenge}, api.Denied},
		{"a kind to come", m.host.ID(), request{Op: 100}, api.Denied},
	} {
		if err := ask(c.to, c.req); api.KindOf(err) != c.want {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	for name, raw := range map[string][]byte{
		"a huge request": binary.AppendUvarint(nil, 1<<62),
		"noise":          {3, 0xff, 0xff, 0xff},
		"endless length": bytes.Repeat([]byte{0xff}, 100),
	} {
		c, err := i.Dial(t.Context(), m.host.ID())
		check(t, err)
		_, err = c.Write(raw)
		check(t, err)
		check(t, c.SetReadDeadline(time.Now().Add(requestTime)))
		if b, err := io.ReadAll(io.LimitReader(c, 2*maxFrame)); err == nil && len(b) > 0 && b[0] == frameData {
			t.Errorf("%s is answered: %x", name, b)
		}
		c.Close()
	}
}

// What followers are no party to stays closed to them.
func TestIntruder_OpensNothingElse(t *testing.T) {
	w := newWorld(t, 1)
	m := w.members[0]
	i := w.intrude()
	i.greet(t, m.host)
	l, err := m.host.Listen("/pinfold/raft/1")
	check(t, err)
	defer l.Close()
	c, err := i.host.Dial(t.Context(), m.host.ID(), "/pinfold/raft/1")
	if err == nil {
		c.SetDeadline(time.Now().Add(5 * time.Second))
		c.Write([]byte("x"))
		_, err = c.Read(make([]byte, 1))
		c.Close()
	}
	if err == nil {
		t.Error("a guest opens a members' stream")
	}
	if _, err := i.host.Topic("pinfold/metrics/1", func(api.PeerID, []byte) bool { return true }); err == nil {
		t.Error("a follower joins the members' topics")
	}
	if n := len(m.host.Certified()); n != 0 {
		t.Errorf("%d are taken for members", n)
	}
}
