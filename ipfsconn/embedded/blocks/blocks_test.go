package blocks

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	block "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/multiformats/go-multihash"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded/pins"
)

var quiet = slog.New(slog.DiscardHandler)

func open(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(t.TempDir(), o, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func lease(t testing.TB, s *Store, room uint64, bs ...block.Block) *Lease {
	t.Helper()
	l, err := s.OpenLease(room)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Put(t.Context(), bs); err != nil {
		t.Fatal(err)
	}
	return l
}

func has(t testing.TB, s *Store, b block.Block) bool {
	t.Helper()
	ok, err := s.Has(t.Context(), b.Cid())
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

// sweep removes all it may, and returns how many went.
func sweep(t testing.TB, w *Sweep) (n int) {
	t.Helper()
	for _, err := range w.Remove(t.Context(), func(multihash.Multihash) bool { return false }) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return n
}

func begin(t testing.TB, s *Store) *Sweep {
	t.Helper()
	w, err := s.BeginSweep()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestStore_GivesBackWhatWasPut(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	bs := append(random(t, 1, 40, 1000), random(t, 2, 9, 1<<20)...) // more than a batch
	bs = append(bs, random(t, 3, 1, 0)...)                          // an empty block is a block
	missing := random(t, 4, 1, 10)[0]
	lease(t, s, 0, append(bs, bs...)...).Close()
	check := func() {
		t.Helper()
		for _, b := range bs {
			v1 := cid.NewCidV1(cid.DagProtobuf, b.Cid().Hash()) // found by its hash, whatever the codec
			got, err := s.Get(t.Context(), v1)
			if err != nil || !bytes.Equal(got.RawData(), b.RawData()) || got.Cid() != v1 {
				t.Fatalf("get %s: %v", v1, err)
			}
			if size, err := s.GetSize(t.Context(), b.Cid()); err != nil || size != len(b.RawData()) {
				t.Fatalf("size %d, %v", size, err)
			}
		}
		if _, err := s.Get(t.Context(), missing.Cid()); !ipld.IsNotFound(err) {
			t.Fatalf("get of nothing: %v", err)
		}
		if _, err := s.GetSize(t.Context(), missing.Cid()); !ipld.IsNotFound(err) || has(t, s, missing) {
			t.Fatalf("size of nothing: %v", err)
		}
		if r, err := s.Room(); err != nil || r.Used != 40*1000+9<<20+least {
			t.Fatalf("room %+v, %v", r, err)
		}
	}
	check()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(dir, Options{}, quiet); err != nil {
		t.Fatal(err)
	}
	check()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// What was put before a synced write survives a loss of power; DESIGN.md leans on it.
func TestStore_SyncedAfterAPin(t *testing.T) {
	disk, dir := vfs.NewCrashableMem(), t.TempDir() // a real directory too: its free space is asked for
	open := func(fs vfs.FS) *Store {
		s, err := Open(dir, Options{fs: fs, MemTableBytes: 1 << 20}, quiet)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	s := open(disk)
	kept := random(t, 1, 100, 64<<10) // several write buffers, and so several logs
	lease(t, s, 0, kept...)
	root := api.Cid{Cid: kept[0].Cid()}
	if err := pins.New(s.DB()).Add(root, 0, time.Now()); err != nil {
		t.Fatal(err)
	}
	lost := random(t, 2, 1, 10)
	lease(t, s, 0, lost...)
	s = open(disk.CrashClone(vfs.CrashCloneCfg{})) // nothing that was not synced
	for _, b := range kept {
		if !has(t, s, b) {
			t.Fatalf("block %s is lost", b.Cid())
		}
	}
	if _, ok, err := pins.New(s.DB()).Get(root); err != nil || !ok {
		t.Fatalf("the pin is lost: %v", err)
	}
	if r, err := s.Room(); err != nil || r.Used != 100*64<<10 {
		t.Fatalf("room %+v, %v", r, err)
	}
	if has(t, s, lost[0]) {
		t.Fatal("what was not synced survived: this test shows nothing")
	}
}

func TestStore_Room(t *testing.T) {
	s := open(t, Options{StorageMax: 10000})
	want := func(used, free uint64) {
		t.Helper()
		if r, err := s.Room(); err != nil || r != (Room{Used: used, Max: 10000, Free: free}) {
			t.Fatalf("room %+v, %v; want %d used, %d free", r, err, used, free)
		}
	}
	full := func(err error) {
		t.Helper()
		if api.KindOf(err) != api.Full || api.CauseOf(err) != api.CauseDiskFull {
			t.Fatalf("error %v of kind %q", err, api.KindOf(err))
		}
	}
	bs := random(t, 1, 10, 1000)
	want(0, 10000)
	a := lease(t, s, 4000)
	want(0, 6000)
	_, err := s.OpenLease(6001)
	full(err)
	b := lease(t, s, 0, bs[:6]...) // what nobody has set aside
	want(6000, 0)
	full(b.Put(t.Context(), bs[6:7]))
	if err := a.Put(t.Context(), bs[:4]); err != nil { // here already: takes no room
		t.Fatal(err)
	}
	want(6000, 0)
	if err := a.Put(t.Context(), bs[6:9]); err != nil {
		t.Fatal(err)
	}
	want(9000, 0)
	a.Close()
	a.Close()
	want(9000, 1000)
	full(b.Put(t.Context(), random(t, 2, 1, 1001)))
	if err := b.Put(t.Context(), bs[9:]); err != nil { // the last that fits
		t.Fatal(err)
	}
	want(10000, 0)
}

func TestStore_DiskReserve(t *testing.T) {
	s := open(t, Options{DiskReserve: 1 << 62})
	if r, err := s.Room(); err != nil || r.Free != 0 {
		t.Fatalf("room %+v, %v", r, err)
	}
	l := lease(t, s, 0)
	if err := l.Put(t.Context(), random(t, 1, 1, 10)); api.KindOf(err) != api.Full || !strings.Contains(err.Error(), "embedded.disk_reserve") || strings.Contains(err.Error(), "storage_max") {
		t.Fatalf("put on a full disk: %v, want a Full error that names the setting", err)
	}
}

func TestStore_NamesTheLimit(t *testing.T) {
	for by, want := range map[string]string{"": "raise embedded.storage_max", "follow.capacity": "raise follow.capacity"} {
		l := lease(t, open(t, Options{StorageMax: 1000, StorageBy: by}), 0)
		if err := l.Put(t.Context(), random(t, 1, 1, 1001)); api.KindOf(err) != api.Full || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "disk_reserve") {
			t.Errorf("of %q: %v, want a Full error that says %q", by, err, want)
		}
	}
}

func TestSweep_Spares(t *testing.T) {
	s := open(t, Options{})
	bs := random(t, 1, 6, 100)
	lease(t, s, 0, bs...).Close()
	before := lease(t, s, 0)
	touch := func(l *Lease, b block.Block) {
		t.Helper()
		if size, here, first, err := l.Touch(t.Context(), b.Cid()); size != 100 || !here || !first || err != nil {
			t.Fatal(size, here, first, err)
		}
		if _, _, first, err := l.Touch(t.Context(), b.Cid()); first || err != nil {
			t.Fatal(first, err)
		}
	}
	touch(before, bs[0]) // by a lease that was open
	w := begin(t, s)
	if _, err := s.BeginSweep(); api.KindOf(err) != api.Conflict {
		t.Fatalf("two sweeps: %v", err)
	}
	touch(before, bs[1])          // by it, meanwhile
	touch(lease(t, s, 0), bs[2])  // by a new one
	lease(t, s, 0, bs[3]).Close() // put again, by one that has ended
	fresh := random(t, 2, 1, 100)
	lease(t, s, 0, fresh...).Close() // new
	before.Close()                   // what it touched stays spared
	if n := sweep(t, w); n != 2 {
		t.Fatalf("%d blocks went, want the 2 that nobody touched", n)
	}
	for i, b := range append(bs, fresh...) {
		if want := i != 4 && i != 5; has(t, s, b) != want {
			t.Fatalf("block %d is here: %v", i, !want)
		}
	}
	if n := sweep(t, begin(t, s)); n != 4 { // all but the one still leased
		t.Fatalf("%d blocks went the second time, want 4", n)
	}
	if r, err := s.Room(); err != nil || r.Used != least {
		t.Fatalf("room %+v, %v", r, err)
	}
}

// What is counted bounds the disk, also where blocks are smaller than the rows that they
// need. A store of a build that counted their bytes alone is counted again.
func TestStore_TinyBlocksTakeRoom(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{StorageMax: 100 * least}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.PutMany(t.Context(), random(t, 1, 101, 5)); api.KindOf(err) != api.Full {
		t.Fatalf("101 blocks where 100 fit: %v", err)
	}
	if err := s.PutMany(t.Context(), random(t, 1, 100, 5)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.db.Delete(totalKey, pebble.Sync), s.Close()); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(dir, Options{}, quiet); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if r, err := s.Room(); err != nil || r.Used != 100*least {
		t.Errorf("room %+v, %v", r, err)
	}
	if n := sweep(t, begin(t, s)); n != 100 {
		t.Errorf("%d blocks went", n)
	}
	if r, err := s.Room(); err != nil || r.Used != 0 {
		t.Errorf("room %+v, %v", r, err)
	}
}

func TestSweep_GivesTheDiskBack(t *testing.T) {
	s := open(t, Options{MemTableBytes: 1 << 20})
	bs := random(t, 1, 256, 64<<10)
	lease(t, s, 0, bs...).Close()
	keep := lease(t, s, 0, bs[:32]...)
	defer keep.Close()
	w := begin(t, s)
	for _, err := range w.Remove(t.Context(), func(multihash.Multihash) bool { return false }) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Reclaim(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for files := s.DB().Metrics().BlobFiles.Local.LiveSize; files > 6<<20; files = s.DB().Metrics().BlobFiles.Local.LiveSize {
		select {
		case <-ctx.Done():
			t.Fatalf("%d bytes of files for %d bytes of blocks", files, 32*64<<10)
		case <-time.After(20 * time.Millisecond):
		}
	}
	for i, b := range bs {
		if has(t, s, b) != (i < 32) {
			t.Fatalf("block %d", i)
		}
		if _, err := s.Get(t.Context(), b.Cid()); i < 32 && err != nil {
			t.Fatal(err)
		}
	}
}

// Writers put and touch blocks of a common pool while sweeps run one after another: what a
// lease has been told is here stays here until it ends.
func TestSweep_AmidWriters(t *testing.T) {
	s := open(t, Options{})
	pool := random(t, 1, 200, 300)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for i := range 4 {
		r := rand.New(rand.NewPCG(1, uint64(i)))
		wg.Go(func() {
			for ctx.Err() == nil {
				l, err := s.OpenLease(0)
				if err != nil {
					t.Error(err)
					return
				}
				mine := map[int]bool{}
				for range 20 {
					k := r.IntN(len(pool))
					_, here, _, err := l.Touch(context.Background(), pool[k].Cid())
					if err == nil && !here {
						err = l.Put(context.Background(), pool[k:k+1])
					}
					if err != nil {
						t.Error(err)
						return
					}
					mine[k] = true
				}
				for k := range mine {
					if ok, err := s.Has(context.Background(), pool[k].Cid()); err != nil || !ok {
						t.Errorf("block %d is gone under a lease (%v)", k, err)
						return
					}
				}
				l.Close()
			}
		})
	}
	removed := 0
	for began := time.Now(); time.Since(began) < time.Second || removed == 0 && time.Since(began) < time.Minute; {
		removed += sweep(t, begin(t, s))
	}
	cancel()
	wg.Wait()
	if removed == 0 {
		t.Fatal("nothing was ever swept")
	}
	sweep(t, begin(t, s))
	if r, err := s.Room(); err != nil || r.Used != 0 {
		t.Fatalf("in the end: %+v, %v", r, err)
	}
}

func TestStore_IdentityIsNotStored(t *testing.T) {
	s := open(t, Options{})
	h, err := multihash.Sum([]byte("hello"), multihash.IDENTITY, -1)
	if err != nil {
		t.Fatal(err)
	}
	b, err := block.NewBlockWithCid([]byte("hello"), cid.NewCidV1(cid.Raw, h))
	if err != nil {
		t.Fatal(err)
	}
	lease(t, s, 0, b)
	if got, err := s.Get(t.Context(), b.Cid()); err != nil || string(got.RawData()) != "hello" || !has(t, s, b) {
		t.Fatal(got, err)
	}
	if r, err := s.Room(); err != nil || r.Used != 0 {
		t.Fatalf("room %+v, %v", r, err)
	}
}

func TestOpen_BadDirectory(t *testing.T) {
	if _, err := Open(filepath.Join("/dev/null", "blocks"), Options{}, quiet); err == nil {
		t.Fatal("opened")
	}
}
