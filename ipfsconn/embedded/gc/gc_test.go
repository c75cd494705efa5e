package gc

import (
	"iter"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	block "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded/blocks"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded/pins"
	"github.com/pinfold-cluster/pinfold/ipfsconn/ipfsconntest"
)

var quiet = slog.New(slog.DiscardHandler)

type store struct {
	*blocks.Store
	pins *pins.Store
}

// noRoots are no DAGs beside the pins.
type noRoots struct{ sync.Mutex }

func (*noRoots) In(pebble.Reader) ([]api.Cid, error) { return nil, nil }

func open(t *testing.T) store {
	t.Helper()
	bs, err := blocks.Open(t.TempDir(), blocks.Options{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := bs.Close(); err != nil {
			t.Error(err)
		}
	})
	return store{bs, pins.New(bs.DB())}
}

func (s store) lease(t *testing.T, bs ...block.Block) *blocks.Lease {
	t.Helper()
	l, err := s.OpenLease(0)
	check(t, err)
	check(t, l.Put(t.Context(), bs))
	return l
}

func (s store) pin(t *testing.T, tree ipfsconntest.Tree, mode api.PinMode) {
	t.Helper()
	check(t, s.pins.Finish(pins.Pin{Cid: tree.Root, Mode: mode, Size: tree.Size}))
}

func (s store) want(t *testing.T, want bool, bs ...block.Block) {
	t.Helper()
	for _, b := range bs {
		if ok, err := s.Has(t.Context(), b.Cid()); err != nil || ok != want {
			t.Fatalf("block %s is here: %v (%v), want %v", b.Cid(), ok, err, want)
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s store) collect(t *testing.T) (n int) {
	t.Helper()
	for _, err := range Collect(t.Context(), s.Store, s.pins, &noRoots{}, quiet) {
		check(t, err)
		n++
	}
	return n
}

// midway begins a collection and stops it after some garbage has gone and before the
// rest has: what it marked is fixed. The returned function goes on to the end.
func (s store) midway(t *testing.T) (goOn func()) {
	t.Helper()
	next, stop := iter.Pull2(Collect(t.Context(), s.Store, s.pins, &noRoots{}, quiet))
	t.Cleanup(stop)
	if _, err, ok := next(); !ok || err != nil {
		t.Fatalf("nothing was garbage: %v", err)
	}
	return func() {
		t.Helper()
		for {
			_, err, ok := next()
			if !ok {
				return
			}
			check(t, err)
		}
	}
}

// garbage puts more unneeded blocks than one batch of a sweep takes.
func (s store) garbage(t *testing.T) []block.Block {
	t.Helper()
	bs := ipfsconntest.File(t, 77, 2000, 10).Blocks
	s.lease(t, bs...).Close()
	return bs
}

func TestCollect_RemovesWhatNoPinNeeds(t *testing.T) {
	s := open(t)
	shared := ipfsconntest.Leaf(t, 9, 100)
	kept := ipfsconntest.Tree{}.Over(t, ipfsconntest.Leaf(t, 1, 100), shared)
	gone := ipfsconntest.Tree{}.Over(t, ipfsconntest.Leaf(t, 2, 100), shared)
	direct := ipfsconntest.File(t, 3, 2, 100)
	dir := ipfsconntest.Directory(t, map[string]ipfsconntest.Tree{"kept": kept})
	all := append([]block.Block{shared, ipfsconntest.Leaf(t, 1, 100), ipfsconntest.Leaf(t, 2, 100)}, gone.Blocks...)
	all = append(append(all, dir.Blocks...), direct.Blocks...)
	s.lease(t, all...).Close()
	s.pin(t, dir, api.PinRecursive)
	s.pin(t, kept, api.PinRecursive)
	s.pin(t, direct, api.PinDirect)
	if n := s.collect(t); n != 4 {
		t.Fatalf("%d blocks went, want the 2 of the unpinned file and the 2 leaves below the direct pin", n)
	}
	s.want(t, true, shared, ipfsconntest.Leaf(t, 1, 100), kept.Blocks[0], dir.Blocks[len(dir.Blocks)-1], direct.Blocks[2])
	check(t, s.pins.Remove(kept.Root)) // the directory still holds it
	if n := s.collect(t); n != 0 {
		t.Fatalf("%d blocks of the directory went", n)
	}
	check(t, s.pins.Remove(dir.Root))
	if n := s.collect(t); n != 4 {
		t.Fatalf("%d blocks went, want 4", n)
	}
}

// The same bytes may be pinned as raw and as dag-pb: one has links, the other none.
func TestCollect_FollowsACodecNotTheHash(t *testing.T) {
	s := open(t)
	file := ipfsconntest.File(t, 1, 3, 100)
	s.lease(t, file.Blocks...).Close()
	s.pin(t, ipfsconntest.Tree{Root: api.Cid{Cid: cid.NewCidV1(cid.Raw, file.Root.Hash())}}, api.PinRecursive)
	s.pin(t, file, api.PinRecursive)
	if n := s.collect(t); n != 0 {
		t.Fatalf("%d blocks went", n)
	}
}

func TestCollect_NeverOnAnIncompleteMark(t *testing.T) {
	for name, spoil := range map[string]func(ipfsconntest.Tree) []block.Block{
		"a missing directory": func(dir ipfsconntest.Tree) []block.Block { return append(dir.Blocks[:2:2], dir.Blocks[3:]...) },
		"a missing root":      func(dir ipfsconntest.Tree) []block.Block { return dir.Blocks[:3] },
		"an unreadable root": func(dir ipfsconntest.Tree) []block.Block {
			bad, err := block.NewBlockWithCid([]byte("no protobuf"), dir.Root.Cid)
			if err != nil {
				panic(err)
			}
			return append(dir.Blocks[:3:3], bad)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			dir := ipfsconntest.Directory(t, map[string]ipfsconntest.Tree{"a": ipfsconntest.File(t, 1, 2, 100)})
			left := spoil(dir)
			s.lease(t, left...).Close()
			garbage := s.garbage(t)
			s.pin(t, dir, api.PinRecursive)
			failed := false
			for _, err := range Collect(t.Context(), s.Store, s.pins, &noRoots{}, quiet) {
				if failed = err != nil; !failed {
					t.Fatal("a block was removed")
				}
			}
			if !failed {
				t.Fatal("the collection succeeded")
			}
			s.want(t, true, left...)
			s.want(t, true, garbage...)
			// What is not whole yet stops nothing, and keeps what there is of it.
			check(t, s.pins.Remove(dir.Root))
			check(t, s.pins.Begin(dir.Root, api.PinRecursive, time.Now()))
			s.collect(t)
			check(t, s.pins.Remove(dir.Root))
			check(t, s.pins.Add(dir.Root, 0, time.Now()))
			s.collect(t)
			if top := left[len(left)-1]; top.Cid() == dir.Root.Cid {
				s.want(t, true, top)
			}
			s.want(t, false, garbage[0], garbage[1])
		})
	}
}

// A store of a few blocks loses all its garbage: chance spares none of it.
func TestLive_TellsFewBlocksApart(t *testing.T) {
	blocks := ipfsconntest.File(t, 1, 50, 100).Blocks
	for range 200 {
		l := newLive(6)
		for _, b := range blocks[:3] {
			l.add(b.Cid().Hash())
		}
		for _, b := range blocks[3:] {
			if l.has(b.Cid().Hash()) {
				t.Fatalf("%s was not added", b.Cid())
			}
		}
	}
}

func TestCollect_ForgetsOldPartialPins(t *testing.T) {
	s := open(t)
	file, recent := ipfsconntest.File(t, 1, 2, 100), ipfsconntest.File(t, 2, 2, 100)
	s.lease(t, append(file.Blocks, recent.Blocks...)...).Close()
	check(t, s.pins.Begin(file.Root, api.PinRecursive, time.Now().Add(-KeepPartial-time.Minute)))
	check(t, s.pins.Begin(recent.Root, api.PinRecursive, time.Now().Add(-KeepPartial+time.Minute)))
	s.collect(t)
	s.want(t, false, file.Blocks...)
	s.want(t, true, recent.Blocks...)
	if _, ok, err := s.pins.Get(file.Root); err != nil || ok {
		t.Fatalf("the old pin is still there (%v)", err)
	}
}

// An add whose blocks came before the collection, and one whose blocks come during it.
func TestCollect_DuringAnAdd(t *testing.T) {
	s := open(t)
	s.garbage(t)
	early, late := ipfsconntest.File(t, 1, 50, 100), ipfsconntest.File(t, 2, 50, 100)
	before := s.lease(t, early.Blocks...)
	goOn := s.midway(t)
	during := s.lease(t, late.Blocks...)
	goOn()
	s.want(t, true, early.Blocks...)
	s.want(t, true, late.Blocks...)
	check(t, s.pins.Add(early.Root, early.Size, time.Now()))
	check(t, s.pins.Add(late.Root, late.Size, time.Now()))
	before.Close()
	during.Close()
	s.collect(t)
	s.want(t, true, early.Blocks...)
	s.want(t, true, late.Blocks...)
}

// An add that ends, with its mark, while a collection that has not seen it goes on; and
// a collection between the add's end and the pin that takes it over.
func TestCollect_AtTheEndOfAnAdd(t *testing.T) {
	s := open(t)
	s.garbage(t)
	file := ipfsconntest.File(t, 1, 50, 100)
	l := s.lease(t, file.Blocks...)
	goOn := s.midway(t)
	check(t, s.pins.Add(file.Root, file.Size, time.Now()))
	l.Close()
	goOn()
	s.want(t, true, file.Blocks...)
	s.collect(t)
	s.want(t, true, file.Blocks...)
	s.pin(t, file, api.PinRecursive)
	s.collect(t)
	s.want(t, true, file.Blocks...)
}

// Old garbage that somebody comes to need during the collection, by putting it again or by
// finding it here: half its blocks are already gone.
func TestCollect_GarbageWantedAgain(t *testing.T) {
	s := open(t)
	garbage := s.garbage(t)
	goOn := s.midway(t)
	l, err := s.OpenLease(0)
	check(t, err)
	gone := 0
	for i, b := range garbage {
		if i%2 == 0 {
			check(t, l.Put(t.Context(), []block.Block{b}))
			continue
		}
		_, here, _, err := l.Touch(t.Context(), b.Cid())
		check(t, err)
		if !here { // a fetch would bring it
			gone++
			check(t, l.Put(t.Context(), []block.Block{b}))
		}
	}
	if gone == 0 || gone > len(garbage)/2 {
		t.Fatalf("%d of %d blocks had gone: the collection was not midway", gone, len(garbage))
	}
	goOn()
	s.want(t, true, garbage...)
	l.Close()
	s.collect(t)
	if r, err := s.Room(); err != nil || r.Used > 1000 { // chance may spare some
		t.Fatalf("%+v, %v", r, err)
	}
}

// A pin of what is here, begun when the mark is done: its walk touches all blocks.
func TestCollect_PinOfLocalContentDuring(t *testing.T) {
	s := open(t)
	s.garbage(t)
	file := ipfsconntest.File(t, 1, 50, 100)
	s.lease(t, file.Blocks...).Close() // garbage too, so far
	goOn := s.midway(t)
	l, err := s.OpenLease(0)
	check(t, err)
	for _, b := range file.Blocks {
		_, here, _, err := l.Touch(t.Context(), b.Cid())
		check(t, err)
		if !here {
			check(t, l.Put(t.Context(), []block.Block{b}))
		}
	}
	s.pin(t, file, api.PinRecursive)
	l.Close()
	goOn()
	s.want(t, true, file.Blocks...)
}

func TestCollect_OneAtATime(t *testing.T) {
	s := open(t)
	s.garbage(t)
	goOn := s.midway(t)
	for _, err := range Collect(t.Context(), s.Store, s.pins, &noRoots{}, quiet) {
		if api.KindOf(err) != api.Conflict {
			t.Fatalf("error %v of kind %q", err, api.KindOf(err))
		}
	}
	goOn()
	for range Collect(t.Context(), s.Store, s.pins, &noRoots{}, quiet) {
		break // leaving early ends it
	}
	s.collect(t)
}

func TestLive(t *testing.T) {
	const n = 10000
	l := newLive(n)
	bs := ipfsconntest.File(t, 1, n, 1).Blocks
	for _, b := range bs {
		l.add(b.Cid().Hash())
	}
	for _, b := range bs {
		if !l.has(b.Cid().Hash()) {
			t.Fatal("one that was added is not there")
		}
	}
	wrong := 0
	for i := range n {
		if l.has(ipfsconntest.Leaf(t, uint64(i), 40).Cid().Hash()) {
			wrong++
		}
	}
	if wrong > n/100 {
		t.Fatalf("%d of %d others are taken for one of them", wrong, n)
	}
}
