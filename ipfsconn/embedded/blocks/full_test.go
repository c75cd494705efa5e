package blocks

import (
	"errors"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded/pins"
)

// Others may fill the disk past the reserve, in the middle of an add.
func TestStore_FullDiskIsAnError(t *testing.T) {
	for name, write := range map[string]func(*Store, *pins.Store, uint64) error{
		"put": func(s *Store, _ *pins.Store, i uint64) error { return s.PutMany(t.Context(), random(t, i, 4, 8<<10)) },
		"pin": func(_ *Store, p *pins.Store, i uint64) error {
			return p.Add(api.Cid{Cid: random(t, i, 1, 100)[0].Cid()}, 0, time.Now())
		},
		"pin, shared sync": func(_ *Store, p *pins.Store, i uint64) error {
			return p.Finish(pins.Pin{Cid: api.Cid{Cid: random(t, i, 1, 100)[0].Cid()}})
		},
		"sync":      func(s *Store, _ *pins.Store, _ uint64) error { return s.Sync() },
		"give back": func(s *Store, _ *pins.Store, _ uint64) error { return s.db.Flush() },
	} {
		t.Run(name, func(t *testing.T) {
			var full atomic.Bool
			fs := errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if !full.Load() || op.Kind != errorfs.OpFileWrite {
					return nil
				}
				return &os.PathError{Op: "write", Path: op.Path, Err: syscall.ENOSPC}
			}))
			s, err := Open(t.TempDir(), Options{DiskReserve: 1, fs: fs}, quiet)
			if err != nil {
				t.Fatal(err)
			}
			there := random(t, 1, 1, 100)
			if err := s.PutMany(t.Context(), there); err != nil {
				t.Fatal(err)
			}
			p := pins.New(s.DB())
			full.Store(true)
			for i := uint64(2); err == nil; i++ {
				err = write(s, p, i)
			}
			for _, err := range []error{err, s.Run(t.Context()), write(s, p, 0)} {
				if !errors.Is(err, api.Full) || api.CauseOf(err) != api.CauseDiskFull || !errors.Is(err, syscall.ENOSPC) {
					t.Errorf("got %v, want a Full error", err)
				}
			}
			if !has(t, s, there[0]) {
				t.Error("a block that was there is not")
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
