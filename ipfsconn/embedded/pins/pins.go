// Package pins keeps, as rows of a Pebble database that other rows share, which CIDs
// an IPFS node has pinned, and which of those pins were made by adds and taken over by
// nobody yet.
package pins

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/ipfs/go-cid"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/disk"
)

// Prefixes of the keys that this package owns in the database.
const (
	prefixPin  = 'p' // + the CID's bytes: a Pin in CBOR
	prefixMark = 'm' // + the CID's bytes: Unix nanoseconds, 8 bytes, since when; and a byte 1 where it was pinned before
)

// State says how much of a pinned DAG is known to be here.
type State uint8

// The states of a pin.
const (
	Partial State = 1 // a fetch has begun; what is here of it is worth keeping for a while
	Added   State = 2 // an add vouches for the DAG; nobody has walked it
	Whole   State = 3 // every block was seen
)

// A Pin is one row.
type Pin struct {
	Cid   api.Cid     `cbor:"-"`
	Mode  api.PinMode `cbor:"1,keyasint,omitempty"`
	State State       `cbor:"2,keyasint"`
	Size  uint64      `cbor:"3,keyasint,omitempty"` // bytes of the DAG; 0 unknown
	Tried int64       `cbor:"4,keyasint,omitempty"` // Unix seconds; of a Partial one, when its fetch last began
}

// Mark is a pin that an add made, or made again, at Since.
type Mark struct {
	Cid    api.Cid
	Since  time.Time
	Before bool // it was pinned before
}

// Store keeps pins. It is safe for concurrent use.
type Store struct {
	db    *disk.DB
	group *group
	mu    sync.Mutex // held from reading a row to writing what follows from it, not while that is synced
}

// New returns the pins in db, whose owner closes it.
func New(db *disk.DB) *Store { return &Store{db: db, group: &group{db: db}} }

// Get returns the pin of c and whether there is one.
func (s *Store) Get(c api.Cid) (Pin, bool, error) {
	v, closer, err := s.db.Get(key(prefixPin, c))
	if errors.Is(err, pebble.ErrNotFound) {
		return Pin{}, false, nil
	}
	if err != nil {
		return Pin{}, false, fmt.Errorf("get pin %s: %w", c, err)
	}
	p, err := decode(c, v)
	return p, err == nil, errors.Join(err, closer.Close())
}

// Begin notes that a fetch of c in mode begins, where c is not pinned in that mode. The row
// may be lost in a crash.
func (s *Store) Begin(c api.Cid, mode api.PinMode, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok, err := s.Get(c)
	if err != nil || ok && old.State != Partial {
		return err
	}
	return s.put(Pin{Cid: c, Mode: mode, State: Partial, Tried: now.Unix()}, pebble.NoSync)
}

// Finish pins p.Cid, takes any mark off it, and returns once that and all writes to
// the database before it are durable.
func (s *Store) Finish(p Pin) error {
	if err := s.finish(p); err != nil {
		return err
	}
	if err := s.group.sync(); err != nil {
		return fmt.Errorf("pin %s: %w", p.Cid, err)
	}
	return nil
}

func (s *Store) finish(p Pin) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.State = Whole
	b := s.db.NewBatch()
	defer b.Close()
	if err := put(b, p); err != nil {
		return err
	}
	if err := b.Delete(key(prefixMark, p.Cid), nil); err != nil {
		return err
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return fmt.Errorf("pin %s: %w", p.Cid, err)
	}
	return nil
}

// Add pins c recursively for an add, and marks it. It returns once that and all writes
// to the database before it are durable.
func (s *Store) Add(c api.Cid, size uint64, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok, err := s.Get(c)
	if err != nil {
		return err
	}
	mark, marked, err := s.mark(c)
	if err != nil {
		return err
	}
	if !marked {
		mark.Before = ok && old.State != Partial
	}
	mark.Since = now
	b := s.db.NewBatch()
	defer b.Close()
	if !ok || old.State == Partial || old.Mode != api.PinRecursive {
		if err := put(b, Pin{Cid: c, State: Added, Size: size}); err != nil {
			return err
		}
	}
	if err := b.Set(key(prefixMark, c), mark.row(), nil); err != nil {
		return err
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return fmt.Errorf("pin add %s: %w", c, err)
	}
	return nil
}

// Remove takes the pin and any mark off c, durably. No pin is no error.
func (s *Store) Remove(c api.Cid) error {
	removed, err := s.remove(c)
	if err == nil && removed {
		err = s.group.sync()
	}
	if err != nil {
		return fmt.Errorf("unpin %s: %w", c, err)
	}
	return nil
}

func (s *Store) remove(c api.Cid) (removed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok, err := s.Get(c); err == nil && !ok {
		return false, nil
	}
	b := s.db.NewBatch()
	defer b.Close()
	if err := errors.Join(b.Delete(key(prefixPin, c), nil), b.Delete(key(prefixMark, c), nil)); err != nil {
		return false, err
	}
	return true, b.Commit(pebble.NoSync)
}

// Forget takes off c a pin that is still Partial and whose fetch last began before t.
func (s *Store) Forget(c api.Cid, t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok, err := s.Get(c)
	if err != nil || !ok || p.State != Partial || p.Tried >= t.Unix() {
		return err
	}
	return s.db.Delete(key(prefixPin, c), pebble.NoSync)
}

// ClearMark takes the mark off c, durably. No mark is no error.
func (s *Store) ClearMark(c api.Cid) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok, err := s.mark(c); err != nil || !ok {
		return err
	}
	if err := s.db.Delete(key(prefixMark, c), pebble.Sync); err != nil {
		return fmt.Errorf("clear mark of %s: %w", c, err)
	}
	return nil
}

func (s *Store) mark(c api.Cid) (m Mark, ok bool, err error) {
	v, closer, err := s.db.Get(key(prefixMark, c))
	if errors.Is(err, pebble.ErrNotFound) {
		return m, false, nil
	}
	if err != nil {
		return m, false, fmt.Errorf("get mark of %s: %w", c, err)
	}
	m, err = decodeMark(c, v)
	return m, err == nil, errors.Join(err, closer.Close())
}

func (s *Store) put(p Pin, o *pebble.WriteOptions) error {
	b := s.db.NewBatch()
	defer b.Close()
	if err := put(b, p); err != nil {
		return err
	}
	if err := b.Commit(o); err != nil {
		return fmt.Errorf("write pin %s: %w", p.Cid, err)
	}
	return nil
}

func put(b *disk.Batch, p Pin) error {
	v, err := api.Encode(p)
	if err != nil {
		return fmt.Errorf("encode pin %s: %w", p.Cid, err)
	}
	return b.Set(key(prefixPin, p.Cid), v, nil)
}

// List yields the pins, Partial ones too, in order of the CIDs' bytes, from the first
// after the one given. It reads page by page, so that a slow caller holds nothing up.
func (s *Store) List(ctx context.Context, after api.Cid) iter.Seq2[Pin, error] {
	return list(ctx, s.db, prefixPin, after, decode)
}

// In yields the pins of one view of the database.
func In(ctx context.Context, r pebble.Reader) iter.Seq2[Pin, error] {
	return list(ctx, r, prefixPin, api.CidUndef, decode)
}

// Marks yields the marks in order of the CIDs' bytes.
func (s *Store) Marks(ctx context.Context) iter.Seq2[Mark, error] {
	return list(ctx, s.db, prefixMark, api.CidUndef, decodeMark)
}

// page is how many rows list reads before it yields them.
const page = 512

func list[T any](ctx context.Context, r pebble.Reader, prefix byte, after api.Cid, decode func(api.Cid, []byte) (T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		from := []byte{prefix}
		if after.Defined() {
			from = append(key(prefix, after), 0)
		}
		for {
			rows, next, err := readPage(ctx, r, from, prefix, decode)
			for _, row := range rows {
				if !yield(row, nil) {
					return
				}
			}
			if err != nil {
				yield(none, err)
				return
			}
			if next == nil {
				return
			}
			from = next
		}
	}
}

// readPage returns rows from the key on, and the key to go on from, nil at the end.
func readPage[T any](ctx context.Context, r pebble.Reader, from []byte, prefix byte, decode func(api.Cid, []byte) (T, error)) (rows []T, next []byte, err error) {
	it, err := r.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: from, UpperBound: []byte{prefix + 1}})
	if err != nil {
		return nil, nil, fmt.Errorf("list: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		if err := ctx.Err(); err != nil {
			return rows, nil, err
		}
		if len(rows) == page {
			return rows, append([]byte(nil), it.Key()...), nil
		}
		_, c, err := cid.CidFromBytes(it.Key()[1:])
		if err != nil {
			return rows, nil, api.Internal.Errorf("list: bad key %x: %w", it.Key(), err)
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return rows, nil, fmt.Errorf("list: %w", err)
		}
		row, err := decode(api.Cid{Cid: c}, v)
		if err != nil {
			return rows, nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil, nil
}

func decode(c api.Cid, v []byte) (Pin, error) {
	var p Pin
	if err := api.Decode(v, &p); err != nil {
		return Pin{}, api.Internal.Errorf("pin %s: bad row %x: %w", c, v, err)
	}
	p.Cid = c
	return p, nil
}

func decodeMark(c api.Cid, v []byte) (Mark, error) {
	before := len(v) == 9 && v[8] == 1
	if len(v) != 8 && !before {
		return Mark{}, api.Internal.Errorf("mark of %s: bad row %x", c, v)
	}
	return Mark{Cid: c, Since: time.Unix(0, int64(binary.BigEndian.Uint64(v))), Before: before}, nil
}

func (m Mark) row() []byte {
	v := binary.BigEndian.AppendUint64(nil, uint64(m.Since.UnixNano()))
	if m.Before {
		v = append(v, 1)
	}
	return v
}

func key(prefix byte, c api.Cid) []byte {
	b := c.Bytes()
	return append(append(make([]byte, 0, 1+len(b)), prefix), b...)
}
