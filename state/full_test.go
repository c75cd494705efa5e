package state

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/pinfold-cluster/pinfold/api"
)

// A fullDisk has no more room, once it is full, for files whose names contain part.
type fullDisk struct {
	part string
	full atomic.Bool
}

func (f *fullDisk) fs() vfs.FS {
	return errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if !f.full.Load() || op.Kind != errorfs.OpFileWrite || !strings.Contains(op.Path, f.part) {
			return nil
		}
		return &os.PathError{Op: "write", Path: op.Path, Err: syscall.ENOSPC}
	}))
}

// checkFull checks that err tells a reader what is wrong with which file.
func checkFull(t *testing.T, err error, file string) {
	t.Helper()
	if !errors.Is(err, api.Full) || !errors.Is(err, syscall.ENOSPC) || api.CauseOf(err) != api.CauseDiskFull || !strings.Contains(err.Error(), file) {
		t.Fatalf("got %v, want a Full error of %s", err, file)
	}
}

func TestState_FullDiskIsAnError(t *testing.T) {
	for _, tt := range []struct {
		name, part string
		write      func(s *State) error // fails, sooner or later
	}{
		{"commit", ".log", func(s *State) error {
			b := s.NewBatch()
			return errors.Join(b.Put(testPin(1)), b.Commit(s.Applied()+1))
		}},
		{"sync", ".log", (*State).Sync},
		{"checkpoint", ".log", func(s *State) error { return s.Checkpoint(s.dir + "/copy") }},
		{"tables, until writes wait", ".sst", func(s *State) error {
			b := s.NewBatch()
			for i := range 500 {
				if err := b.Put(testPin(i)); err != nil {
					return err
				}
			}
			return b.Commit(s.Applied() + 1)
		}},
		{"list of files, beside the writer", "MANIFEST", func(s *State) error {
			_, err := s.live.db.AsyncFlush()
			return errors.Join(err, s.Run(context.Background()))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			disk := &fullDisk{part: tt.part}
			dir := t.TempDir()
			s, err := openOn(disk.fs(), dir, Options{MemTableBytes: 256 << 10}, quiet)
			must(t, err)
			put(t, s, testPin(0))
			disk.full.Store(true)
			for err == nil {
				err = tt.write(s)
			}
			checkFull(t, err, tt.part)
			checkFull(t, s.Run(t.Context()), tt.part)
			if err := s.NewBatch().Commit(s.Applied() + 1); !errors.Is(err, api.Full) {
				t.Errorf("the next commit: %v, want Full", err)
			}
			if _, err := s.Get(t.Context(), testCid(0)); err != nil {
				t.Errorf("what is there cannot be read: %v", err)
			}
			must(t, s.Close()) // at once
		})
	}
}

func TestOpen_OnAFullDisk(t *testing.T) {
	for _, part := range []string{"MANIFEST", ".sst", ""} {
		dir := t.TempDir()
		s, err := Open(dir, Options{}, quiet)
		must(t, err)
		put(t, s, testPin(0))
		must(t, s.Close())
		disk := &fullDisk{part: part}
		disk.full.Store(true)
		if _, err := openOn(disk.fs(), dir, Options{}, quiet); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("no room for %q: got %v, want ENOSPC", part, err)
		}
	}
}

func TestState_RunEndsWithItsContext(t *testing.T) {
	s := openState(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	must(t, s.Run(ctx))
}
