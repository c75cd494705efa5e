package blocks

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"golang.org/x/sys/unix"

	"github.com/pinfold-cluster/pinfold/disk"
)

// openDB opens Pebble as blocks want it: DESIGN.md has the measurements.
func openDB(dir string, o Options, log *slog.Logger) (*disk.DB, error) {
	fault := disk.NewFault("block store")
	cache := pebble.NewCache(o.CacheBytes)
	defer cache.Unref()
	po := &pebble.Options{
		FS:                          o.fs,
		Cache:                       cache,
		FormatMajorVersion:          pebble.FormatValueSeparation,
		MemTableSize:                o.MemTableBytes,
		MemTableStopWritesThreshold: 3,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       24,
		LBaseMaxBytes:               64 << 20,
		BytesPerSync:                1 << 20,
		WALBytesPerSync:             1 << 20,
		MaxOpenFiles:                512,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
		Logger:                      logger{fault, log},
	}
	for i := range po.Levels {
		po.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.NoCompression }
		po.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	po.Experimental.ValueSeparationPolicy = func() pebble.ValueSeparationPolicy {
		return pebble.ValueSeparationPolicy{
			Enabled:               true,
			MinimumSize:           512,
			MaxBlobReferenceDepth: 100,
			RewriteMinimumAge:     time.Second, // a collection should show on the disk at once
			TargetGarbageRatio:    0.2,
		}
	}
	return disk.Open(dir, po, fault)
}

// logger hands Pebble's messages to slog.
type logger struct {
	*disk.Fault
	log *slog.Logger
}

func (l logger) Infof(format string, args ...any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug("block store", "event", fmt.Sprintf(format, args...))
	}
}

func (l logger) Errorf(format string, args ...any) {
	l.log.Error("block store", "err", fmt.Sprintf(format, args...))
}

// diskFree tells how many bytes this process may still write to the disk of dir.
func diskFree(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("ask for free space of %s: %w", dir, err)
	}
	return st.Bavail * uint64(st.Bsize), nil
}
