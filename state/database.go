package state

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/disk"
)

// A database is an open one, shared by the State while it is live and by the reads
// that began on it. The last to release it closes it.
type database struct {
	db     *disk.DB
	dir    string
	s      *State
	refs   atomic.Int64
	stale  atomic.Bool // replaced: its files go with it
	closed error       // what closing gave; read after s.open.Wait
}

// openDatabase opens the one in dir, which must exist unless it is to be created.
func (s *State) openDatabase(dir string, create bool) (*database, error) {
	o := pebbleOptions(s.o, s.fault, s.log)
	o.Cache, o.FS = s.cache, s.fs
	o.ErrorIfNotExists, o.ErrorIfExists = !create, create
	db, err := disk.Open(dir, o, s.fault)
	if err != nil {
		return nil, fmt.Errorf("open state database %s: %w", dir, err)
	}
	d := &database{db: db, dir: dir, s: s}
	d.refs.Store(1)
	s.open.Add(1)
	return d, nil
}

// acquire returns the live database, to be released. The error is Unavailable once
// the state is closed.
func (s *State) acquire() (*database, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.live == nil {
		return nil, api.Unavailable.Errorf("the state is closed")
	}
	s.live.refs.Add(1)
	return s.live, nil
}

func (d *database) release() {
	if d.refs.Add(-1) > 0 {
		return
	}
	defer d.s.open.Done()
	if err := d.db.Close(); err != nil {
		d.closed = fmt.Errorf("close state database %s: %w", d.dir, err)
	}
	if !d.stale.Load() {
		return
	}
	// What is left behind is removed by the next Open.
	if err := errors.Join(d.closed, os.RemoveAll(d.dir)); err != nil {
		d.s.log.Warn("replaced state database stays behind", "dir", d.dir, "err", err)
	}
}

func pebbleOptions(o Options, fault *disk.Fault, log *slog.Logger) *pebble.Options {
	l := &pebbleLog{Fault: fault, log: log}
	p := &pebble.Options{
		FormatMajorVersion: pebble.FormatTableFormatV6,
		MemTableSize:       uint64(o.MemTableBytes),
		// A flush may take as long as filling one more takes before writes wait.
		MemTableStopWritesThreshold: 3,
		// A burst of writes may pass before its files are merged: the cores are shared.
		L0StopWritesThreshold: 24,
		MaxOpenFiles:          512,
		Logger:                l,
		EventListener: &pebble.EventListener{
			BackgroundError: l.background,
			DataCorruption: func(i pebble.DataCorruptionInfo) {
				log.Error("state database is damaged", "file", i.Path, "err", i.Details)
			},
			WriteStallBegin: func(i pebble.WriteStallBeginInfo) { log.Debug("state writes wait", "reason", i.Reason) },
		},
	}
	if log.Enabled(context.Background(), slog.LevelDebug) {
		every := pebble.MakeLoggingEventListener(l)
		tee := pebble.TeeEventListener(every, *p.EventListener)
		p.EventListener = &tee
	}
	for i := range p.Levels {
		p.Levels[i].FilterPolicy = pinFilter{bloom: 10}
		p.Levels[i].Compression = func() *block.CompressionProfile { return block.FastestCompression }
	}
	return p
}

// pebbleLog gives Pebble's talk to the debug log, and its failures to the others. What
// Pebble had not synced when it could not go on comes back from the Raft log.
type pebbleLog struct {
	*disk.Fault
	log *slog.Logger

	mu   sync.Mutex
	told time.Time // when a background error was last told
}

func (l *pebbleLog) Infof(format string, args ...any)  { l.debug(format, args) }
func (l *pebbleLog) Errorf(format string, args ...any) { l.debug(format, args) }

// background tells of a write that failed and that Pebble tries again at once, for as
// long as it takes: on a full disk many times a second.
func (l *pebbleLog) background(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.told) > time.Minute {
		l.told = now
		l.log.Error("state database cannot write", "err", err)
	}
}

func (l *pebbleLog) debug(format string, args []any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug("pebble", "says", fmt.Sprintf(format, args...))
	}
}

// getRow returns a copy of the value under key, nil where there is none.
func getRow(r pebble.Reader, key []byte) ([]byte, error) {
	value, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read state row %x: %w", key, err)
	}
	row := append(make([]byte, 0, len(value)), value...)
	return row, closer.Close()
}

// eachRow calls f with every row whose key starts with prefix, in order. What it
// gives is valid until f returns.
func eachRow(r pebble.Reader, prefix []byte, f func(key, value []byte) error) error {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err == nil {
			err = f(it.Key(), value)
		}
		if err != nil {
			return errors.Join(err, it.Close())
		}
	}
	return it.Close()
}

func (st Stats) row() []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, st.Pins), st.Bytes)
}

func decodeStats(b []byte) (Stats, bool) {
	pins, n := binary.Uvarint(b)
	if n <= 0 {
		return Stats{}, false
	}
	bytes, m := binary.Uvarint(b[n:])
	return Stats{Pins: pins, Bytes: bytes}, m > 0 && n+m == len(b)
}
