package feed

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/state"
)

// counted is get, counting what it gives.
func counted(n *atomic.Int64, get GetPage) GetPage {
	return func(ctx context.Context, h Hash) ([]byte, error) {
		n.Add(1)
		return get(ctx, h)
	}
}

// sameRows fails unless both pinsets are the same, and b is whole.
func sameRows(t testing.TB, a, b *state.State) {
	t.Helper()
	x, y := a.Digest(), b.Digest()
	if x.Pins != y.Pins || x.Index != y.Index || a.Stats() != b.Stats() {
		t.Fatalf("the copy is at %v with %+v, want %v with %+v", y, b.Stats(), x, a.Stats())
	}
	check(t, b.Verify(t.Context()))
}

func TestSync_AnyTwoPinsets(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for round := range 6 {
		a, b := pageState(t), pageState(t)
		for _, s := range []*state.State{a, b} {
			for range r.IntN(6) {
				var pins []api.Pin
				from := r.IntN(4000)
				for n := from; n < from+r.IntN(1000); n++ {
					pins = append(pins, pagePin(n, fmt.Sprint(r.IntN(2))))
				}
				var gone []api.Cid
				if r.IntN(2) == 0 {
					for n := range r.IntN(500) {
						gone = append(gone, pageCid(from+5000-n*3))
					}
				}
				change(t, s, pins, gone...)
			}
		}
		change(t, a, nil) // it has an index
		tree := buildTree(t, a)
		if err := Sync(t.Context(), b, tree.Root(), tree.Page); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		sameRows(t, a, b)
	}
}

func TestSync_FetchesOnlyWhatIsMissing(t *testing.T) {
	a, b := pageState(t), pageState(t)
	fillPages(t, a, 0, 8000)
	var first, second atomic.Int64
	tree := buildTree(t, a)
	check(t, Sync(t.Context(), b, tree.Root(), counted(&first, tree.Page)))
	sameRows(t, a, b)
	if int(first.Load()) != len(tree.where) {
		t.Errorf("the first copy took %d pages of %d", first.Load(), len(tree.where))
	}
	change(t, a, []api.Pin{pagePin(77, "renamed")}, pageCid(5))
	tree = buildTree(t, a)
	check(t, Sync(t.Context(), b, tree.Root(), counted(&second, tree.Page)))
	sameRows(t, a, b)
	if second.Load() > 2*2+2 {
		t.Errorf("two changes took %d pages of %d", second.Load(), len(tree.where))
	}
	none := func(context.Context, Hash) ([]byte, error) { panic("nothing is missing") }
	check(t, Sync(t.Context(), b, tree.Root(), none))
	sameRows(t, a, b)
}

// A copy breaks off when half of it is there, the process ends, the pinset goes on.
func TestSync_GoesOnFromWhatIsThere(t *testing.T) {
	a := pageState(t)
	fillPages(t, a, 0, 8000)
	tree := buildTree(t, a)
	all := int64(len(tree.where))
	dir, o, quiet := t.TempDir(), state.Options{}, slog.New(slog.DiscardHandler)
	b, err := state.Open(dir, o, quiet)
	check(t, err)
	var n atomic.Int64
	half := func(ctx context.Context, h Hash) ([]byte, error) {
		if n.Add(1) > all/2 {
			return nil, errors.New("cut off")
		}
		return tree.Page(ctx, h)
	}
	if err := Sync(t.Context(), b, tree.Root(), newServers([]GetPage{half}, nil).page); api.KindOf(err) != api.Unavailable {
		t.Fatalf("cut off: %v, want Unavailable", err)
	}
	if b.Applied() != 0 {
		t.Fatalf("half copied, the state is at %d", b.Applied())
	}
	check(t, b.Close())

	b, err = state.Open(dir, o, quiet)
	check(t, err)
	defer b.Close()
	change(t, a, []api.Pin{pagePin(40_000, "new")})
	tree = buildTree(t, a)
	var again atomic.Int64
	check(t, Sync(t.Context(), b, tree.Root(), counted(&again, tree.Page)))
	sameRows(t, a, b)
	// What was in flight comes again, and the pages above those of rows.
	if most := all - all/2 + syncWorkers + 4; again.Load() > most {
		t.Errorf("after %d of %d pages, %d were fetched, want at most %d", all/2, all, again.Load(), most)
	}
	t.Logf("%d pages; cut off after %d; then %d fetched", all, all/2, again.Load())
}

func TestSync_PassesOverBadServers(t *testing.T) {
	a, b := pageState(t), pageState(t)
	fillPages(t, a, 0, 5000)
	tree := buildTree(t, a)
	other := func(ctx context.Context, h Hash) ([]byte, error) {
		p, err := tree.Page(ctx, h)
		return append(p, 0), err
	}
	large := func(context.Context, Hash) ([]byte, error) { return make([]byte, MaxPage+1), nil }
	empty := func(context.Context, Hash) ([]byte, error) { return nil, nil }
	gone := func(context.Context, Hash) ([]byte, error) { return nil, api.NotFound.Errorf("no such page") }
	if err := Sync(t.Context(), b, tree.Root(), newServers([]GetPage{other, large, empty, gone}, nil).page); api.KindOf(err) != api.Unavailable || errors.Is(err, api.Invalid) {
		t.Fatalf("bad servers alone: %v, want Unavailable only", err)
	}
	if b.Applied() != 0 || b.Stats().Pins != 0 {
		t.Fatalf("bad servers left %d pins at %d", b.Stats().Pins, b.Applied())
	}
	if err := Sync(t.Context(), b, tree.Root(), newServers(nil, nil).page); api.KindOf(err) != api.Unavailable {
		t.Fatalf("no servers: %v, want Unavailable", err)
	}
	check(t, Sync(t.Context(), b, tree.Root(), newServers([]GetPage{other, large, tree.Page, empty, gone}, nil).page))
	sameRows(t, a, b)
}

// A quick and a slow server: no more than serverSlots wait for the slow one, and at no
// time are there more requests than allowed.
func TestServers_QuickOnesGiveMost(t *testing.T) {
	const pages = 60
	page := []byte("page")
	h := Hash(sha256.Sum256(page))
	release := make(chan struct{})
	var quick, slow, now, most atomic.Int64
	enter := func() func() {
		for n := now.Add(1); ; {
			if m := most.Load(); n <= m || most.CompareAndSwap(m, n) {
				return func() { now.Add(-1) }
			}
		}
	}
	s := newServers([]GetPage{
		func(context.Context, Hash) ([]byte, error) {
			defer enter()()
			slow.Add(1)
			<-release
			return page, nil
		},
		func(context.Context, Hash) ([]byte, error) {
			defer enter()()
			if quick.Add(1) == pages-serverSlots {
				close(release)
			}
			return page, nil
		},
	}, nil)
	var wg sync.WaitGroup
	var left atomic.Int64
	left.Store(pages)
	for range 20 {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if _, err := s.page(t.Context(), h); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	// On a busy machine the slow one's are asked of the quick one, too.
	if quick.Load()+slow.Load() < pages || quick.Load() < pages-serverSlots {
		t.Errorf("the quick one gave %d, the slow one %d", quick.Load(), slow.Load())
	}
	if most.Load() > 2*serverSlots {
		t.Errorf("%d requests at once to 2 servers", most.Load())
	}
}

func TestServers_SilentOneIsLeft(t *testing.T) {
	f, _ := emptyWorld(t).still(edit{})
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		f.servedBy(map[api.PeerID]source{"silent": countedPages{mutePages{}, nil, &asked}})
		silent := []offer{{from: []Peer{{ID: "silent"}}}}
		s := f.servers(silent[0], silent)
		begin := time.Now()
		if _, err := s.page(t.Context(), Hash{}); api.KindOf(err) != api.Unavailable {
			t.Errorf("%v, want Unavailable", err)
		}
		if took := time.Since(begin); took != pageTime || asked.Load() != serverSlots {
			t.Errorf("it was asked %d times in %v", asked.Load(), took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := f.servers(silent[0], silent).page(ctx, Hash{}); !errors.Is(err, context.Canceled) {
			t.Errorf("after its context's end: %v", err)
		}
	})
}

// Of two servers, one that never answers costs hedgeAfter a page, and is not given up:
// it may be all there is.
func TestServers_SilentOneCostsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		page := []byte("page")
		first := true
		s := newServers([]GetPage{
			func(ctx context.Context, _ Hash) ([]byte, error) {
				if first {
					first = false
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return page, nil
			},
			func(context.Context, Hash) ([]byte, error) { return page, nil },
		}, nil)
		begin := time.Now()
		if _, err := s.page(t.Context(), sha256.Sum256(page)); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took != hedgeAfter {
			t.Errorf("a page took %v, want %v", took, hedgeAfter)
		}
		if s.left != 2 || len(s.all) != 2*serverSlots {
			t.Errorf("%d servers and %d turns are left", s.left, len(s.all))
		}
	})
}

// liar serves pages with the right hashes that no tree has.
type liar map[Hash][]byte

func (l liar) add(page []byte) Hash {
	h := Hash(sha256.Sum256(page))
	l[h] = page
	return h
}

func (l liar) get(_ context.Context, h Hash) ([]byte, error) {
	if p, ok := l[h]; ok {
		return p, nil
	}
	return nil, api.NotFound
}

// rowsOf are some rows as they are stored, in order.
func rowsOf(t testing.TB, n int) (rows []state.Row) {
	s := pageState(t)
	fillPages(t, s, 0, n)
	f, err := s.Freeze()
	check(t, err)
	defer f.Close()
	for r, err := range f.Rows(t.Context(), nil, nil) {
		check(t, err)
		rows = append(rows, r)
	}
	return rows
}

func leafOf(rows ...state.Row) []byte {
	p := []byte{0}
	for _, r := range rows {
		p = appendRow(p, r)
	}
	return p
}

func innerOf(level byte, parts ...part) []byte {
	p := []byte{level}
	for _, c := range parts {
		p = appendPart(p, c)
	}
	return p
}

// A member that lies in what it signs can make a follower stop, and nothing else.
func TestSync_RefusesPagesThatAreNoPinset(t *testing.T) {
	rows := rowsOf(t, 8)
	l := liar{}
	leaf := func(rows ...state.Row) part {
		return part{rows[0].Cid.KeyString(), l.add(leafOf(rows...)), uint64(len(rows))}
	}
	one, two := leaf(rows[0:3]...), leaf(rows[3:8]...)
	swapped := slices.Clone(rows)
	swapped[1], swapped[2] = rows[2], rows[1]
	strange := slices.Clone(rows)
	strange[4].Value = append(bytes.Clone(rows[4].Value), 0)
	false8 := func(p part) part { p.rows = 8; return p }
	deep := part{rows[0].Cid.KeyString(), one.hash, 3}
	for level := byte(1); level <= maxLevel+1; level++ {
		deep.hash = l.add(innerOf(level, deep))
	}

	good := pageState(t)
	fillPages(t, good, 0, 8)
	others := slices.DeleteFunc(rowsOf(t, 9), func(r state.Row) bool { return r.Cid == rows[0].Cid })
	for name, top := range map[string][]byte{
		"rows out of order":       leafOf(swapped...),
		"a row twice":             leafOf(append([]state.Row{rows[0]}, rows[:7]...)...),
		"a row not as stored":     leafOf(strange...),
		"another pin's row":       leafOf(append(slices.Clone(rows[:7]), state.Row{Cid: rows[7].Cid, Value: rows[6].Value})...),
		"a row without a value":   leafOf(append(slices.Clone(rows[:7]), state.Row{Cid: rows[7].Cid})...),
		"too few rows":            leafOf(rows[:7]...),
		"parts out of order":      innerOf(1, two, one),
		"parts that overlap":      innerOf(1, leaf(rows[0:5]...), leaf(rows[3:6]...)),
		"a part with more rows":   innerOf(1, one, part{two.first, two.hash, 1 << 63}),
		"rows that sum up to 8":   innerOf(1, one, part{two.first, two.hash, 1<<64 - 3}, part{"~", two.hash, 8}),
		"a part with fewer rows":  innerOf(1, false8(one)),
		"a part that starts late": innerOf(1, one, part{rows[4].Cid.KeyString(), two.hash, 5}),
		"a part above":            innerOf(2, one, two),
		"too deep":                l[deep.hash],
		"nothing":                 {},
		"no parts":                {1},
		"a broken item":           append(innerOf(1, one, two), 7),
		"other rows":              leafOf(others...),
	} {
		t.Run(name, func(t *testing.T) {
			b := pageState(t)
			fillPages(t, b, 0, 3)
			root := Root{Index: 7, Digest: good.Digest().Pins, Pins: 8, Hash: l.add(top)}
			if name == "too deep" {
				root.Pins = 3
			}
			if err := Sync(t.Context(), b, root, l.get); api.KindOf(err) != api.Invalid {
				t.Errorf("%v, want Invalid", err)
			}
			if b.Applied() != 0 {
				t.Errorf("the state is at %d, want 0", b.Applied())
			}
			check(t, b.Verify(t.Context()))
			// It is not spoilt for the truth.
			tree := buildTree(t, good)
			check(t, Sync(t.Context(), b, tree.Root(), tree.Page))
			sameRows(t, good, b)
		})
	}
}

// Pages that a follower has may not be put where they do not belong either.
func TestSync_RefusesOwnPagesElsewhere(t *testing.T) {
	b := pageState(t)
	fillPages(t, b, 0, 2000)
	own := buildTree(t, b)
	n := own.levels[0]
	if len(n) < 3 {
		t.Fatalf("%d pages of rows, want 3", len(n))
	}
	l := liar{}
	top := l.add(innerOf(1, part{n[0].first, n[1].hash, n[1].rows}, n[2].part))
	root := Root{Index: 7, Pins: n[1].rows + n[2].rows, Hash: top}
	if err := Sync(t.Context(), b, root, l.get); api.KindOf(err) != api.Invalid {
		t.Errorf("%v, want Invalid", err)
	}
}

// A tree of very many pages costs a follower neither memory nor time without end.
func TestSync_BoundsPages(t *testing.T) {
	const tops, each = 120, 2500 // more than maxPages
	l := liar{}
	key := func(i, k int) string {
		return string(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, uint16(i+1)), uint16(k)))
	}
	var top []part
	for i := range tops {
		var below []part
		for k := range each {
			below = append(below, part{key(i, k), Hash{byte(i), byte(k), byte(k >> 8)}, 1})
		}
		top = append(top, part{key(i, 0), l.add(innerOf(1, below...)), each})
	}
	b := pageState(t)
	root := Root{Index: 7, Pins: tops * each, Hash: l.add(innerOf(2, top...))}
	if err := Sync(t.Context(), b, root, l.get); api.KindOf(err) != api.Invalid {
		t.Errorf("%v, want Invalid", err)
	}
}

func FuzzParsePage(f *testing.F) {
	rows := rowsOf(f, 3)
	f.Add(leafOf(rows...))
	f.Add(innerOf(1, part{"a", Hash{1}, 7}, part{"b", Hash{2}, 1 << 40}))
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parsePage(b)
		if err != nil {
			if api.KindOf(err) != api.Invalid {
				t.Fatalf("%v, want Invalid", err)
			}
			return
		}
		again := leafOf(p.rows...)
		if p.level > 0 {
			again = innerOf(byte(p.level), p.parts...)
		}
		if !bytes.Equal(again, b) {
			t.Fatalf("%x was read, which is written %x", b, again)
		}
	})
}

// What lies before, between and after pages that are right already goes.
func TestSync_DeletesRoundPagesThatStay(t *testing.T) {
	a, b := pageState(t), pageState(t)
	fillPages(t, b, 0, 3000)
	leaves := buildTree(t, b).levels[0]
	if len(leaves) < 5 {
		t.Fatalf("%d pages of rows, want 5", len(leaves))
	}
	f, err := b.Freeze()
	check(t, err)
	defer f.Close()
	batch := a.NewBatch()
	for i, n := range leaves {
		if i == 0 || i == len(leaves)/2 || i == len(leaves)-1 {
			continue
		}
		for r, err := range f.Rows(t.Context(), []byte(n.first), after(n.last)) {
			check(t, err)
			check(t, batch.PutRow(r))
		}
	}
	check(t, batch.CommitAt(7))
	tree := buildTree(t, a)
	var fetched atomic.Int64
	check(t, Sync(t.Context(), b, tree.Root(), counted(&fetched, tree.Page)))
	sameRows(t, a, b)
	if int(fetched.Load()) > len(tree.levels)-1+1 {
		t.Errorf("%d pages were fetched, though all of rows are there", fetched.Load())
	}
}
