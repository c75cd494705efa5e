package pintracker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/ipfs/go-cid"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/disk"
)

const (
	journalDir = "journal"
	// flushEvery is how much of the journal a crash may lose, in time.
	flushEvery = time.Second
	// maxText bounds a stored error, in bytes.
	maxText = 512
)

// row is what the journal keeps of a CID: an operation that failed, or, with Kind 0,
// that a pin on a shared node is ours. Times are Unix nanoseconds.
type row struct {
	Kind     kind      `cbor:"1,keyasint,omitempty"`
	Attempts int32     `cbor:"2,keyasint,omitempty"`
	Rank     int16     `cbor:"3,keyasint,omitempty"`
	At       int64     `cbor:"4,keyasint,omitempty"`
	Next     int64     `cbor:"5,keyasint,omitempty"`
	Cause    api.Cause `cbor:"6,keyasint,omitempty"`
	Error    string    `cbor:"7,keyasint,omitempty"`
	Bytes    uint64    `cbor:"8,keyasint,omitempty"`
	Size     uint64    `cbor:"9,keyasint,omitempty"`
	Surplus  bool      `cbor:"10,keyasint,omitempty"`
}

// row is o, parked, as the journal keeps it.
func (o *op) row() *row {
	return &row{Kind: o.kind, Attempts: o.attempts, Rank: o.rank, At: o.at, Next: o.next, Size: o.size,
		Cause: o.fail.cause, Error: o.fail.text, Bytes: o.fail.bytes, Surplus: o.surplus}
}

// restore takes back an operation that an earlier run left parked.
func (t *Tracker) restore(c api.Cid, r row) {
	if r.Kind != pinOp && r.Kind != unpinOp {
		return
	}
	if r.Kind == pinOp && t.ops.byCid.Len() >= t.o.Window {
		t.noteLeft(true, r.Size, time.Unix(0, r.Next))
		return
	}
	o := t.ops.add(c, r.Kind)
	t.ops.setSize(o, r.Size)
	o.recall(r)
	o.next, o.surplus = r.Next, r.Surplus
	o.asked = r.At
	t.ops.enqueue(o, parked, time.Unix(0, r.At))
}

// journal keeps rows on disk, by CID bytes. Writes gather for flushEvery: what a crash
// loses of them is found again by the comparison of node and state.
type journal struct {
	db    *disk.DB
	fault *disk.Fault
	sync  *pebble.WriteOptions
	log   *slog.Logger

	mu      sync.Mutex
	pending map[api.Cid]*row // not yet written; nil deletes
	writing map[api.Cid]*row // being written
}

// What a journal keeps in memory, in bytes: it is read little, and written in batches.
const (
	journalCache    = 1 << 20
	journalMemTable = 1 << 20
)

func openJournal(dir string, log *slog.Logger) (*journal, error) {
	dir = filepath.Join(dir, journalDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open tracker journal: %w", err)
	}
	fault := disk.NewFault("tracker journal")
	cache := pebble.NewCache(journalCache)
	defer cache.Unref()
	o := &pebble.Options{
		Cache:                       cache,
		FormatMajorVersion:          pebble.FormatTableFormatV6,
		MemTableSize:                journalMemTable,
		MemTableStopWritesThreshold: 3,
		L0StopWritesThreshold:       24,
		MaxOpenFiles:                64,
		Logger:                      journalLog{fault, log},
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	db, err := disk.Open(dir, o, fault)
	if err != nil {
		return nil, fmt.Errorf("open tracker journal %s: %w", dir, err)
	}
	return &journal{db: db, fault: fault, sync: pebble.Sync, log: log, pending: map[api.Cid]*row{}}, nil
}

// journalLog gives Pebble's talk to the debug log.
type journalLog struct {
	*disk.Fault
	log *slog.Logger
}

func (l journalLog) Infof(format string, args ...any)  { l.debug(format, args) }
func (l journalLog) Errorf(format string, args ...any) { l.debug(format, args) }

func (l journalLog) debug(format string, args []any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug("tracker journal", "event", fmt.Sprintf(format, args...))
	}
}

// load hands every row to each. One that cannot be read is dropped: it is only memory
// of failures.
func (j *journal) load(each func(api.Cid, row)) error {
	rows, err := j.db.NewIter(nil)
	if err != nil {
		return fmt.Errorf("read tracker journal: %w", err)
	}
	for rows.First(); rows.Valid(); rows.Next() {
		c, r, err := decodeRow(rows.Key(), rows.Value())
		if err != nil {
			j.log.Warn("unreadable row of the tracker journal", "err", err)
			continue
		}
		each(c, r)
	}
	if err := rows.Close(); err != nil {
		return fmt.Errorf("read tracker journal: %w", err)
	}
	return nil
}

func decodeRow(k, v []byte) (api.Cid, row, error) {
	var r row
	c, err := cid.Cast(k)
	if err != nil {
		return api.CidUndef, r, err
	}
	if len(v) > 0 {
		err = api.Decode(v, &r)
	}
	return api.Cid{Cid: c}, r, err
}

// put writes r, soon, as the row of c; nil deletes it.
func (j *journal) put(c api.Cid, r *row) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pending[c] = r
}

// has tells whether c has a row.
func (j *journal) has(c api.Cid) (bool, error) {
	r, err := j.get(c)
	return r != nil, err
}

// get gives the row of c, nil for none. One that cannot be read is as one that says
// nothing.
func (j *journal) get(c api.Cid) (r *row, err error) {
	if r, ok := j.unwritten(c); ok {
		return r, nil
	}
	v, done, err := j.db.Get([]byte(c.KeyString()))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read tracker journal: %w", err)
	}
	r = known(c, v)
	return r, done.Close()
}

// unwritten gives the row of c that is not on disk yet, if there is one.
func (j *journal) unwritten(c api.Cid) (r *row, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if r, ok = j.pending[c]; !ok {
		r, ok = j.writing[c]
	}
	return r, ok
}

func known(c api.Cid, v []byte) *row {
	_, r, err := decodeRow([]byte(c.KeyString()), v)
	if err != nil {
		return &row{}
	}
	return &r
}

// readAlong gives rows as get does, to who asks for them in order. Close it.
func (j *journal) readAlong() (*rowCursor, error) {
	rows, err := j.db.NewIter(nil)
	if err != nil {
		return nil, fmt.Errorf("read tracker journal: %w", err)
	}
	return &rowCursor{j, rows}, nil
}

type rowCursor struct {
	j    *journal
	rows *pebble.Iterator
}

func (r *rowCursor) get(c api.Cid) (*row, error) {
	if newer, ok := r.j.unwritten(c); ok {
		return newer, nil
	}
	key := []byte(c.KeyString())
	if !r.rows.SeekGE(key) || !bytes.Equal(r.rows.Key(), key) {
		return nil, r.rows.Error()
	}
	return known(c, r.rows.Value()), nil
}

func (r *rowCursor) Close() error { return r.rows.Close() }

// run writes what gathers, until ctx ends.
func (j *journal) run(ctx context.Context) error {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := j.flush(); err != nil {
				j.log.Error("write the tracker journal", "err", err)
			}
		}
	}
}

// flush writes what has gathered. What could not be written is kept for the next time.
func (j *journal) flush() error {
	j.mu.Lock()
	j.writing, j.pending = j.pending, map[api.Cid]*row{}
	batch := j.writing
	j.mu.Unlock()
	if len(batch) == 0 {
		return nil
	}
	err := j.write(batch)
	j.mu.Lock()
	defer j.mu.Unlock()
	if err != nil {
		for c, r := range batch {
			if _, newer := j.pending[c]; !newer {
				j.pending[c] = r
			}
		}
	}
	j.writing = nil
	return err
}

func (j *journal) write(rows map[api.Cid]*row) error {
	batch := j.db.NewBatch()
	defer batch.Close()
	for c, r := range rows {
		if err := writeRow(batch.Batch, c, r); err != nil {
			return err
		}
	}
	return batch.Commit(j.sync)
}

func writeRow(b *pebble.Batch, c api.Cid, r *row) error {
	key := []byte(c.KeyString())
	switch {
	case r == nil:
		return b.Delete(key, nil)
	case r.Kind == 0:
		return b.Set(key, nil, nil)
	}
	v, err := api.Encode(r)
	if err != nil {
		return err
	}
	return b.Set(key, v, nil)
}

func (j *journal) close() error {
	err := j.flush()
	if cerr := j.db.Close(); err == nil {
		err = cerr
	}
	return err
}

// clip bounds an error's text to maxText bytes.
func clip(s string) string {
	if len(s) <= maxText {
		return s
	}
	n := maxText
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return strings.Clone(s[:n])
}
