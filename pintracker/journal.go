package pintracker

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/ipfs/go-cid"
	"go.etcd.io/bbolt"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	journalFile = "tracker.db"
	// flushEvery is how much of the journal a crash may lose, in time.
	flushEvery = time.Second
	// flushRows bounds a transaction.
	flushRows = 4096
	// maxText bounds a stored error, in bytes.
	maxText = 512
)

var rowsBucket = []byte("rows")

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
	o := t.ops.add(c, r.Kind)
	t.ops.setSize(o, r.Size)
	o.attempts, o.rank, o.next, o.surplus, o.rowed = r.Attempts, r.Rank, r.Next, r.Surplus, true
	o.fail = &failure{cause: r.Cause, text: r.Error, bytes: r.Bytes}
	o.asked = r.At
	t.ops.enqueue(o, parked, time.Unix(0, r.At))
}

// journal keeps rows on disk, by CID bytes. Writes gather for flushEvery: what a crash
// loses of them is found again by the comparison of node and state.
type journal struct {
	db  *bbolt.DB
	log *slog.Logger

	mu      sync.Mutex
	pending map[api.Cid]*row // not yet written; nil deletes
	writing map[api.Cid]*row // being written
}

func openJournal(dir string, log *slog.Logger) (*journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open tracker journal: %w", err)
	}
	file := filepath.Join(dir, journalFile)
	db, err := bbolt.Open(file, 0o600, &bbolt.Options{Timeout: time.Second, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return nil, fmt.Errorf("open tracker journal %s: %w", file, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(rowsBucket)
		return err
	})
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("open tracker journal %s: %w", file, err)
	}
	return &journal{db: db, log: log, pending: map[api.Cid]*row{}}, nil
}

// load hands every row to each. One that cannot be read is dropped: it is only memory
// of failures.
func (j *journal) load(each func(api.Cid, row)) error {
	return j.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(rowsBucket).ForEach(func(k, v []byte) error {
			c, r, err := decodeRow(k, v)
			if err != nil {
				j.log.Warn("unreadable row of the tracker journal", "err", err)
				return nil
			}
			each(c, r)
			return nil
		})
	})
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
func (j *journal) has(c api.Cid) (ok bool, err error) {
	j.mu.Lock()
	for _, rows := range []map[api.Cid]*row{j.pending, j.writing} {
		if r, ok := rows[c]; ok {
			j.mu.Unlock()
			return r != nil, nil
		}
	}
	j.mu.Unlock()
	err = j.db.View(func(tx *bbolt.Tx) error {
		ok = tx.Bucket(rowsBucket).Get([]byte(c.KeyString())) != nil
		return nil
	})
	return ok, err
}

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

func (j *journal) write(batch map[api.Cid]*row) error {
	keys := make([]api.Cid, 0, len(batch))
	for c := range batch {
		keys = append(keys, c)
	}
	slices.SortFunc(keys, compare)
	for len(keys) > 0 {
		n := min(len(keys), flushRows)
		err := j.db.Update(func(tx *bbolt.Tx) error {
			b := tx.Bucket(rowsBucket)
			for _, c := range keys[:n] {
				if err := writeRow(b, c, batch[c]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}

func writeRow(b *bbolt.Bucket, c api.Cid, r *row) error {
	key := []byte(c.KeyString())
	switch {
	case r == nil:
		return b.Delete(key)
	case r.Kind == 0:
		return b.Put(key, []byte{})
	}
	v, err := api.Encode(r)
	if err != nil {
		return err
	}
	return b.Put(key, v)
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
