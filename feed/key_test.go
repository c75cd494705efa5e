package feed

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/p2p"
)

// link is the cluster as a link tells of it now, but that nothing is beyond doubt.
func (w *world) link() *p2p.Cluster {
	return &p2p.Cluster{Key: w.cluster.Key, Incarnation: w.cluster.Incarnation, Renewals: w.cluster.Renewals}
}

// renew gives the cluster another key, which these members go by from now on. What it was
// before is returned: who has it can sign as before.
func (w *world) renew(members ...*fullPeer) (stolen *p2p.Cluster) {
	t := w.t
	t.Helper()
	stolen = w.cluster
	private, renewals, err := w.cluster.NewKey()
	check(t, err)
	for _, m := range members {
		next, err := stolen.WithKey(private, renewals, m.id.ID, m.data)
		check(t, err)
		w.cluster = next
		m.cert.Store(&next.Certificate)
		m.verifier.Renew(next.Key)
		m.host.Renew(next)
	}
	return stolen
}

// learn does what a follower's process does, without a disk.
func (f *follower) learn(shown [][]byte) {
	f.key.Lock()
	defer f.key.Unlock()
	next, err := f.cluster.Follow(shown)
	if next != f.cluster {
		f.cluster = next
		f.host.Renew(next)
		f.Renew(next.Key)
	}
	var c *p2p.Contradiction
	if errors.As(err, &c) {
		err = f.StopForKey(c)
	}
	if err != nil {
		f.w.t.Logf("renewals that are shown: %v", err)
	}
}

// said is a beacon that the member signs with the certificate it has.
func (m *fullPeer) said(t testing.TB, index uint64) []byte {
	t.Helper()
	body, err := beacon{index: index, digest: [32]byte{9}, time: time.Now()}.encode()
	check(t, err)
	raw, err := m.sign(kindBeacon, body)
	check(t, err)
	return raw
}

// The cluster's key is renewed: followers go on, one that was away too, and one that knows
// followers alone. What the member says that was left behind is worth nothing to them.
func TestFollower_GoesOnUnderTheNewKey(t *testing.T) {
	w := newWorld(t, 3)
	w.pin(0, 20)
	near := w.follow(FollowerOptions{})
	away := w.follow(FollowerOptions{})
	w.same(near, away)
	far := w.follow(FollowerOptions{Members: []peer.AddrInfo{info(near.host)}})
	w.same(far)
	away.stop()
	gone := w.members[2]
	if v := near.valid(gone.id.ID, gone.said(t, w.index+1)); v != p2p.Forward {
		t.Fatalf("what a member says is judged %d", v)
	}
	check(t, gone.host.Connect(t.Context(), info(near.host)))
	check(t, near.host.Check(t.Context(), gone.id.ID))
	opened, err := near.judge.read(gone.said(t, w.index+100)) // and taken late
	check(t, err)

	w.renew(w.members[:2]...)
	gone.off = true
	w.pin(20, 30)
	w.same(near, far)
	away.start()
	w.pin(30, 31)
	all := []*follower{near, far, away}
	w.same(all...)
	check(t, near.take(opened))
	for i, f := range all {
		if v := f.valid(gone.id.ID, gone.said(t, w.index+1)); v != p2p.Ignore {
			t.Errorf("follower %d judges what the removed member says %d", i, v)
		}
		if _, err := f.judge.read(gone.said(t, w.index+1)); !errors.Is(err, p2p.ErrKey) {
			t.Errorf("follower %d takes an answer that the removed member signed: %v", i, err)
		}
		eventually(t, "the removed member is denied", func() bool {
			check(t, gone.host.Connect(t.Context(), info(f.host))) // a visitor does not stay
			err := f.host.Check(t.Context(), gone.id.ID)
			if err == nil {
				t.Fatalf("follower %d takes the removed member for one", i)
			}
			return errors.Is(err, p2p.ErrDenied)
		})
		if s := f.Status(); s.Stopped != "" || s.Latest > w.index {
			t.Errorf("follower %d: %+v, the log ends at %d", i, s, w.index)
		}
	}
	late := w.follow(FollowerOptions{}) // with a link of now
	w.same(late)
}

// Before the key was renewed, the member that has it still led a follower astray. The
// follower finds back by itself; also one that was away, and has a new link.
func TestFollower_FindsBackUnderTheNewKey(t *testing.T) {
	for name, c := range map[string]struct {
		ahead uint64
		away  bool
	}{
		"at an index of the log": {2, false}, "past the log's end": {1000, false},
		"away, at an index of the log": {2, true}, "away, past the log's end": {1000, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 2)
			w.pin(0, 20)
			f := w.follow(FollowerOptions{})
			w.same(f)
			rogue := w.members[1]
			rogue.off = true
			did := apply(t, rogue.st, w.index+c.ahead, edit{put: []int{500}})
			enc, err := encodeBatch(did)
			check(t, err)
			raw, err := rogue.sign(kindBatches, batchesBody([][]byte{enc}))
			check(t, err)
			m, err := f.judge.read(raw)
			check(t, err)
			check(t, f.take(m))
			if got := f.st.Digest(); got.Pins != did.After {
				t.Fatalf("the follower believes no member: it is at %d", got.Index)
			}

			if c.away {
				f.stop()
			}
			w.renew(w.members[0])
			w.pin(20, 21)
			if c.away {
				f.cluster = w.link()
				f.start()
			}
			defer func() {
				if t.Failed() {
					t.Logf("%+v, digest %x, want %+v", f.Status(), f.st.Digest(), w.members[0].st.Digest())
				}
			}()
			eventually(t, "the follower has what the members have", func() bool {
				return f.st.Digest() == w.members[0].st.Digest()
			})
			w.pin(21, 30)
			w.same(f)
			if s := f.Status().Stopped; s != "" {
				t.Errorf("the follower has stopped: %s", s)
			}
		})
	}
}

// Who has the key before signs a renewal of its own. A follower that sees both stops, and
// says so; a link decides.
func TestFollower_StopsAtTwoKeys(t *testing.T) {
	for name, first := range map[string]bool{"the thief's first": true, "the members' first": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			w.pin(0, 20)
			f := w.follow(FollowerOptions{})
			w.same(f)
			stolen := w.cluster
			_, forged, err := stolen.NewKey()
			check(t, err)
			if first {
				f.learn(forged)
			}
			w.renew(w.members[0])
			w.pin(20, 21)
			if !first {
				w.same(f)
				f.learn(forged)
			}
			eventually(t, "the follower stops", func() bool { return f.Status().Stopped != "" })
			e, err := loadEvidence(filepath.Join(f.dir, evidenceFile))
			check(t, err)
			if e == nil || e.Key != 1 || len(e.First.Statement) == 0 || len(e.Second.Statement) == 0 {
				t.Fatalf("the evidence is %+v", e)
			}
			if err := f.Resume(); api.KindOf(err) != api.Conflict {
				t.Errorf("resume without a new link: %v", err)
			}
			f.stop()
			f.start()
			if s := f.Status(); s.Stopped == "" || !s.KeyInDoubt {
				t.Errorf("it has forgotten why it stopped: %q, for the key: %t", s.Stopped, s.KeyInDoubt)
			}

			f.stop()
			f.cluster, f.o.SureKey = w.link(), 1
			f.cluster.Sure = 1
			f.start()
			w.pin(21, 30)
			w.same(f)
			f.learn(forged)
			if s := f.Status().Stopped; s != "" {
				t.Errorf("stopped once more, though the link has decided: %s", s)
			}
			if _, err := os.Stat(filepath.Join(f.dir, evidenceFile+".old")); err != nil {
				t.Errorf("the evidence is not kept: %v", err)
			}
		})
	}
}
