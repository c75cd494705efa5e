package feed

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	mh "github.com/multiformats/go-multihash"
	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/state"
)

// pageCid is the nth of an endless row of CIDs, in no order of their bytes.
func pageCid(n int) api.Cid {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(n)))
	m, err := mh.Encode(sum[:], mh.SHA2_256)
	if err != nil {
		panic(err)
	}
	if n%5 == 0 {
		return api.Cid{Cid: cid.NewCidV0(m)}
	}
	return api.Cid{Cid: cid.NewCidV1(cid.Raw, m)}
}

func pagePin(n int, name string) api.Pin {
	p := api.NewPin(pageCid(n), api.PinOptions{
		ReplicationFactorMin: -1, ReplicationFactorMax: -1,
		Name: name, Metadata: map[string]string{"batch": fmt.Sprint(n / 100)},
	}, time.Unix(1_800_000_000+int64(n), 0))
	p.Size = uint64(n)
	return p
}

func pageState(t testing.TB) *state.State {
	t.Helper()
	s, err := state.Open(t.TempDir(), state.Options{}, slog.New(slog.DiscardHandler))
	check(t, err)
	t.Cleanup(func() { check(t, s.Close()) })
	return s
}

// change commits one entry of pins and unpins.
func change(t testing.TB, s *state.State, pins []api.Pin, unpins ...api.Cid) {
	t.Helper()
	b := s.NewBatch()
	index := s.Applied() + 1
	for _, p := range pins {
		p.Revision = index
		check(t, b.Put(p))
	}
	for _, c := range unpins {
		check(t, b.Delete(c))
	}
	check(t, b.Commit(index))
}

// fillPages pins the CIDs from, inclusive, to, exclusive.
func fillPages(t testing.TB, s *state.State, from, to int) {
	t.Helper()
	for from < to {
		var pins []api.Pin
		for ; from < to && len(pins) < 1000; from++ {
			pins = append(pins, pagePin(from, fmt.Sprint("pin ", from)))
		}
		change(t, s, pins)
	}
}

func buildTree(t testing.TB, s *state.State) *Tree {
	t.Helper()
	f, err := s.Freeze()
	check(t, err)
	tree, err := BuildTree(t.Context(), f)
	check(t, err)
	t.Cleanup(func() { check(t, tree.Close()) })
	return tree
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestTree_GivesEveryRowOnce(t *testing.T) {
	s := pageState(t)
	fillPages(t, s, 0, 8000)
	tree := buildTree(t, s)
	if r := tree.Root(); r.Index != s.Applied() || r.Pins != 8000 || r.Digest != s.Digest().Pins {
		t.Fatalf("the root is %+v of a state at %d", r, s.Applied())
	}
	sizes, rows := 0, 0
	last := ""
	for level := len(tree.levels) - 1; level >= 0; level-- {
		for _, n := range tree.levels[level] {
			b, err := tree.Page(t.Context(), n.hash)
			check(t, err)
			if Hash(sha256.Sum256(b)) != n.hash || len(b) != n.size || len(b) > MaxPage {
				t.Fatalf("page %s has %d bytes, want %d, and its hash", n.hash, len(b), n.size)
			}
			p, err := parsePage(b)
			check(t, err)
			if p.level != level {
				t.Fatalf("a page of level %d, want %d", p.level, level)
			}
			for _, r := range p.rows {
				if r.Cid.KeyString() <= last {
					t.Fatalf("%s is out of order", r.Cid)
				}
				last = r.Cid.KeyString()
				rows++
			}
			if level == 0 {
				sizes += len(b)
			}
		}
	}
	if rows != 8000 {
		t.Errorf("%d rows, want 8000", rows)
	}
	if mean := sizes / len(tree.levels[0]); mean < pageSize/2 || mean > pageSize*2 {
		t.Errorf("pages have %d bytes on average, want about %d", mean, pageSize)
	}
	if _, err := tree.Page(t.Context(), Hash{}); api.KindOf(err) != api.NotFound {
		t.Errorf("no such page: %v, want NotFound", err)
	}
}

// What it took to come to a pinset leaves no trace in its pages.
func TestTree_FollowsFromRows(t *testing.T) {
	a, b := pageState(t), pageState(t)
	fillPages(t, a, 0, 3000)
	for _, part := range [][2]int{{2000, 3100}, {0, 2000}} { // another order, and some that go
		for n := part[0]; n < part[1]; n += 1000 {
			var pins []api.Pin
			for i := n; i < min(n+1000, part[1]); i++ {
				pins = append(pins, pagePin(i, fmt.Sprint("pin ", i)))
			}
			batch := b.NewBatch()
			for _, p := range pins {
				p.Revision = uint64(1 + indexOf(p)/1000)
				check(t, batch.Put(p))
			}
			check(t, batch.Commit(b.Applied()+1))
		}
	}
	var gone []api.Cid
	for n := 3000; n < 3100; n++ {
		gone = append(gone, pageCid(n))
	}
	change(t, b, nil, gone...)
	if x, y := buildTree(t, a).Root(), buildTree(t, b).Root(); x.Hash != y.Hash || x.Digest != y.Digest {
		t.Errorf("two ways to the same rows: roots %+v and %+v", x, y)
	}
}

func indexOf(p api.Pin) int { return int(p.Size) }

func TestTree_KeepsPagesThatDoNotChange(t *testing.T) {
	s := pageState(t)
	fillPages(t, s, 0, 8000)
	before := buildTree(t, s)
	change(t, s, []api.Pin{pagePin(77, "renamed"), pagePin(30_000, "new")}, pageCid(5))
	now := buildTree(t, s)
	fresh := 0
	for h := range now.where {
		if _, ok := before.where[h]; !ok {
			fresh++
		}
	}
	// Three leaves, one of them perhaps cut in two, and what is above them.
	if fresh > 2*3+2*len(now.levels) {
		t.Errorf("three changes made %d of %d pages new", fresh, len(now.where))
	}
}

// Whoever may pin can choose CIDs and sizes: the pages stay within their bounds.
func TestTree_BoundsPagesWhateverTheRows(t *testing.T) {
	s := pageState(t)
	r := rand.New(rand.NewPCG(1, 2))
	var pins []api.Pin
	for n := range 400 { // none of them ends a page by itself
		if k := pageCid(n); !endsPage(0, k.KeyString(), 1000) {
			pins = append(pins, pagePin(n, strings.Repeat("x", 1000-200+r.IntN(50))))
		}
	}
	for n := 400; n < 420; n++ { // nearly the largest
		pins = append(pins, pagePin(n, strings.Repeat("y", api.MaxRecordSize-200)))
	}
	change(t, s, pins)
	tree := buildTree(t, s)
	for _, n := range tree.levels[0] {
		if n.size > MaxPage {
			t.Errorf("a page of %d bytes, want at most %d", n.size, MaxPage)
		}
	}
	if len(tree.levels[0]) < 3 {
		t.Errorf("%d pages of rows, want several", len(tree.levels[0]))
	}
}

func TestTree_OfNothingHasAPage(t *testing.T) {
	tree := buildTree(t, pageState(t))
	b, err := tree.Page(t.Context(), tree.Root().Hash)
	check(t, err)
	if p, err := parsePage(b); err != nil || p.level != 0 || len(p.rows) != 0 || len(b) != 1 {
		t.Errorf("the page of nothing is %x: %v", b, err)
	}
}

func TestTree_ClosesAfterPages(t *testing.T) {
	s := pageState(t)
	fillPages(t, s, 0, 10)
	tree := buildTree(t, s)
	check(t, tree.Close())
	if _, err := tree.Page(t.Context(), tree.Root().Hash); api.KindOf(err) != api.Unavailable {
		t.Errorf("a page after Close: %v, want Unavailable", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f, err := s.Freeze()
	check(t, err)
	if _, err := BuildTree(ctx, f); err == nil {
		t.Error("a tree was built after its context's end")
	}
}
