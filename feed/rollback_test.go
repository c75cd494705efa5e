package feed

import "testing"

// A neighbour may show any root that a member ever signed: a follower does not go back to
// what the pinset was, unless it is in doubt about what it has.
func TestFollower_DoesNotGoBack(t *testing.T) {
	w := newWorld(t, 1)
	w.pin(0, 20)
	f := w.follow(FollowerOptions{})
	w.same(f)
	own := f.st.Applied()
	at := func(index uint64) offer { return offer{message: message{kind: kindRoot, root: Root{Index: index}}} }
	old, same, newer := at(own-1), at(own), at(own+1)
	on := func(offers ...offer) (n int, gone bool) {
		f.mu.Lock()
		f.gone = true
		f.mu.Unlock()
		n = len(f.leadOn(offers))
		f.mu.Lock()
		defer f.mu.Unlock()
		gone, f.gone = f.gone, false
		return n, gone
	}
	if n, gone := on(old, same, newer); n != 2 || !gone {
		t.Errorf("%d offers lead on, want 2", n)
	}
	if n, gone := on(old); n != 0 || gone {
		t.Errorf("%d offers lead on, want none, and to ask for batches", n)
	}
	f.mu.Lock()
	f.unsure = true
	f.mu.Unlock()
	if n, _ := on(old); n != 1 {
		t.Error("in doubt it takes no pinset anew")
	}
	f.mu.Lock()
	f.unsure = false
	f.mu.Unlock()

	// A copy that broke off leaves a state of no index.
	if !f.beginCopy(offer{message: message{key: f.judge.key.Load(), root: newer.root}}) {
		t.Fatal("no copy begins")
	}
	f.mu.Lock()
	f.copying = false
	check(t, f.st.NewBatch().CommitAt(0))
	f.mu.Unlock()
	if n, _ := on(old, newer); n != 1 {
		t.Errorf("%d offers lead on from a copy that broke off, want 1", n)
	}
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
