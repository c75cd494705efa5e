package blocks

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded/pins"
)

// The power goes at any moment while adds go on, and any part of what was not synced
// with it. Each pin that was acknowledged is there, with all its blocks; so is that of
// each pin that is there though it was not.
func TestStore_PowerCutAtAnyMoment(t *testing.T) {
	const (
		cuts    = 12
		writers = 4
		perCut  = 40 // adds
		perPin  = 6  // blocks of 8 KiB: a write buffer is full after 20 adds
	)
	dir := t.TempDir() // a real directory too: its free space is asked for
	open := func(t *testing.T, fs vfs.FS) *Store {
		s, err := Open(dir, Options{fs: fs, MemTableBytes: 1 << 20}, quiet)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	disk := vfs.NewCrashableMem()
	s := open(t, disk)
	p := pins.New(s.DB())

	type pinned struct {
		root   api.Cid
		blocks uint64 // the seed of its blocks
	}
	var mu sync.Mutex
	var acked []pinned
	turns, done := make(chan struct{}, perCut), make(chan struct{}, perCut)
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := 0; ; i++ {
				if _, more := <-turns; !more {
					return
				}
				seed := uint64(w<<13 | i&8191)
				bs := random(t, seed, perPin, 8<<10)
				root := api.Cid{Cid: bs[0].Cid()}
				l, err := s.OpenLease(0)
				if err == nil {
					if err = l.Put(t.Context(), bs); err == nil {
						err = p.Add(root, 0, time.Now())
					}
					l.Close()
				}
				if err != nil {
					t.Error(err)
				} else {
					mu.Lock()
					acked = append(acked, pinned{root, seed})
					mu.Unlock()
				}
				done <- struct{}{}
			}
		})
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for cut := range cuts {
		for range perCut {
			turns <- struct{}{}
		}
		for range perCut / 2 { // the others are in progress or about to begin
			<-done
		}
		mu.Lock()
		before := append([]pinned(nil), acked...) // all acknowledged before the power goes
		mu.Unlock()
		after := open(t, disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: cut * 100 / (cuts - 1), RNG: rng}))
		there := pins.New(after.DB())
		for _, want := range before {
			if _, ok, err := there.Get(want.root); err != nil || !ok {
				t.Errorf("cut %d: the pin %s of %d is lost: %v", cut, want.root, len(before), err)
			}
		}
		mu.Lock()
		known := append([]pinned(nil), acked...) // some acknowledged since, and perhaps there
		mu.Unlock()
		for _, k := range known {
			if _, ok, err := there.Get(k.root); err != nil || !ok {
				continue
			}
			for _, b := range random(t, k.blocks, perPin, 8<<10) {
				got, err := after.Get(t.Context(), b.Cid())
				if err != nil || string(got.RawData()) != string(b.RawData()) {
					t.Errorf("cut %d: a block of a pin: %v", cut, err)
				}
			}
		}
		for range perCut - perCut/2 {
			<-done
		}
		if err := after.Close(); err != nil {
			t.Error(fmt.Errorf("cut %d: %w", cut, err))
		}
	}
	close(turns)
	all.Wait()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	t.Logf("%d cuts in the course of %d adds", cuts, len(acked))
}
