package feed

import (
	"context"
	"net"
	"testing"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/p2p"
)

// offers are roots that the member signs, as a neighbour shows them.
func (w *world) offers(f *Follower, roots ...Root) (list []offer) {
	w.t.Helper()
	for _, r := range roots {
		body, err := api.Encode(r)
		check(w.t, err)
		raw, err := w.members[0].sign(kindRoot, body)
		check(w.t, err)
		m, err := f.judge.read(raw)
		check(w.t, err)
		list = append(list, offer{m, []Peer{{}}})
	}
	return list
}

// again is the follower as it is after a restart.
func (w *world) again(f *Follower) *Follower {
	w.t.Helper()
	f, err := NewFollower(nil, p2p.NewVerifier(w.cluster.Key, w.cluster.Incarnation), f.st, f.dir, &record{}, f.o, feedLog())
	check(w.t, err)
	return f
}

// A neighbour may show any root that a member ever signed: a follower does not go back to
// what the pinset was, nor is it had to copy what it has, unless it is in doubt about that.
func TestFollower_DoesNotGoBack(t *testing.T) {
	w := newWorld(t, 1)
	for name, c := range map[string]struct {
		unsure bool
		offers func(own Root) []Root
		lead   int  // of them on
		stops  bool // it has seen a contradiction
	}{
		"what the pinset was, is and will be": {false, func(own Root) []Root {
			return []Root{{Index: own.Index - 1}, own, {Index: own.Index + 1, Digest: own.Digest}, {Index: own.Index + 2}}
		}, 2, false},
		"what it was":                {false, func(own Root) []Root { return []Root{{Index: own.Index - 1}} }, 0, false},
		"what it is":                 {false, func(own Root) []Root { return []Root{own} }, 0, false},
		"another where it is":        {false, func(own Root) []Root { return []Root{{Index: own.Index}} }, 0, true},
		"two of one index":           {false, func(own Root) []Root { return []Root{{Index: 20}, {Index: 20, Digest: [32]byte{1}}} }, 0, true},
		"in doubt, what it was":      {true, func(own Root) []Root { return []Root{{Index: own.Index - 1}} }, 1, false},
		"in doubt, another":          {true, func(own Root) []Root { return []Root{{Index: own.Index}} }, 1, false},
		"in doubt, and then no more": {true, func(own Root) []Root { return []Root{{Index: own.Index - 1}, own} }, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			f, st := w.still(edit{put: []int{1}})
			f.gone, f.unsure = true, c.unsure
			was := st.Digest()
			on, err := f.leadOn(w.offers(f, c.offers(Root{Index: was.Index, Digest: was.Pins})...))
			check(t, err)
			if len(on) != c.lead || f.gone != (c.lead > 0) && !c.stops {
				t.Errorf("%d lead on, want %d; batches do not: %t", len(on), c.lead, f.gone)
			}
			if stopped := f.evidence != nil; stopped != c.stops || st.Digest() != was {
				t.Errorf("stopped: %t, want %t, at index %d", stopped, c.stops, st.Applied())
			}
		})
	}
}

// A copy that broke off leaves a state of no index: what it was before is known after a
// restart, too, until it is for others to say.
func TestFollower_DoesNotGoBackAfterACopyBrokeOff(t *testing.T) {
	broken := func(t *testing.T, w *world) (*Follower, Root) {
		w.t = t
		f, st := w.still(edit{put: []int{1}})
		own := Root{Index: st.Applied(), Digest: st.Digest().Pins}
		copied, err := f.beginCopy(w.offers(f, Root{Index: 20, Digest: [32]byte{1}, Pins: 9})[0])
		check(t, err)
		if !copied {
			t.Fatal("no copy begins")
		}
		err = Sync(t.Context(), st, Root{Index: 20, Digest: [32]byte{1}, Pins: 9}, newServers(nil, nil).page)
		if api.KindOf(err) != api.Unavailable || st.Applied() != 0 {
			t.Fatalf("%v, at index %d", err, st.Applied())
		}
		f.copying = false
		return f, own
	}
	old := Root{Index: 3}
	lead := func(t *testing.T, w *world, f *Follower, want int, roots ...Root) {
		t.Helper()
		on, err := f.leadOn(w.offers(f, roots...))
		check(t, err)
		if len(on) != want {
			t.Errorf("%d lead on, want %d", len(on), want)
		}
	}
	// stops has it see that a member says of an index what it was not.
	stops := func(t *testing.T, w *world, f *Follower, index uint64) {
		t.Helper()
		_, err := f.leadOn(w.offers(f, Root{Index: index}))
		check(t, err)
		if f.evidence == nil {
			t.Error("it does not stop where a member says that it was elsewhere")
		}
	}
	w := newWorld(t, 1)
	t.Run("in the same run", func(t *testing.T) {
		f, own := broken(t, w)
		lead(t, w, f, 2, old, own, Root{Index: 20})
	})
	t.Run("after a restart", func(t *testing.T) {
		f, own := broken(t, w)
		f = w.again(f)
		lead(t, w, f, 2, old, own, Root{Index: 20})
		f = w.again(f)
		stops(t, w, f, own.Index)
	})
	t.Run("when its owner has it go on", func(t *testing.T) {
		f, own := broken(t, w)
		stops(t, w, f, own.Index)
		check(t, f.Resume())
		lead(t, w, f, 1, old)
		lead(t, w, w.again(f), 1, old)
	})
	t.Run("under a new key", func(t *testing.T) {
		f, _ := broken(t, w)
		w.renew(w.members[0])
		lead(t, w, w.again(f), 1, old)
		f.Renew(w.cluster.Key)
		lead(t, w, f, 1, old)
	})
}

// served is a network on which each peer answers from a source.
type served struct {
	Network
	by map[api.PeerID]source
}

func (f *Follower) servedBy(by map[api.PeerID]source) {
	f.net = served{by: by}
	f.client = client{f.net}
}

func (served) Guests() []api.PeerID { return nil }
func (served) Dismiss(api.PeerID)   {}

func (s served) Dial(ctx context.Context, id api.PeerID) (net.Conn, error) {
	near, far := net.Pipe()
	go func() {
		defer far.Close()
		var b []byte
		req, err := readRequest(far)
		switch {
		case err != nil:
		case req.Op == opRoot:
			b, err = s.by[id].root(ctx)
		case req.Op == opPage:
			b, err = s.by[id].page(ctx, req.Hash)
		}
		answer := appendFrame(appendFrame(nil, frameData, b), frameEnd, nil)
		if err != nil {
			answer = appendFrame(nil, frameFault, encodeFault(err))
		}
		far.Write(answer)
	}()
	return near, nil
}

// withheld is a root without its pages.
type withheld struct {
	source
	signed []byte
}

func (w withheld) root(context.Context) ([]byte, error) { return w.signed, nil }
func (withheld) page(context.Context, []byte) ([]byte, error) {
	return nil, api.NotFound.Errorf("it is withheld")
}

// A neighbour that shows the newest root and keeps its pages to itself holds up no copy of
// another's.
func TestFollower_CopiesWhatIsGiven(t *testing.T) {
	w := newWorld(t, 1)
	w.pin(0, 20)
	m := w.members[0]
	_, err := m.pub.root(t.Context()) // which is that of its tree from here on
	check(t, err)
	w.pin(20, 30)
	f, st := w.still(edit{})
	check(t, st.NewBatch().CommitAt(0))
	newest := w.offers(f, Root{Index: w.index, Digest: w.digests[w.index], Pins: 30})[0]
	f.servedBy(map[api.PeerID]source{"member": m.pub, "guest": withheld{signed: newest.raw}})
	f.neighbours = map[api.PeerID]Peer{"member": {ID: "member", Member: true}, "guest": {ID: "guest"}}
	for range 100 {
		if ok, err := f.copyPages(t.Context()); ok || err != nil {
			check(t, err)
			return
		}
	}
	t.Error("nothing is copied")
}

// Where the pinset is again what it was, a root says so of now, though the tree is that of
// then: what stood in between would not go back to it.
func TestTrees_TellWhenItWasLast(t *testing.T) {
	w := newWorld(t, 1)
	w.pin(0, 20)
	m, f := w.members[0], w.follow(FollowerOptions{})
	w.same(f)
	root := func() Root {
		raw, err := m.pub.root(t.Context())
		check(t, err)
		signed, err := f.judge.read(raw)
		check(t, err)
		return signed.root
	}
	first := root()
	var between []int
	for i := range 40 {
		between = append(between, 20+i)
	}
	w.commit(edit{put: between})
	w.commit(edit{remove: between})
	last := root()
	if last.Digest != first.Digest || last.Hash != first.Hash {
		t.Fatal("the pinset is not what it was")
	}
	if last.Index != w.index {
		t.Errorf("the root is of index %d, want %d", last.Index, w.index)
	}
	if _, err := m.pub.page(t.Context(), last.Hash[:]); err != nil {
		t.Errorf("its pages are not there: %v", err)
	}
}
