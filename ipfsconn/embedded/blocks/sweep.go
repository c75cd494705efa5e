package blocks

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/pinfold-cluster/pinfold/api"
)

// sweepBatch bounds how many blocks are removed while the gate is shut.
const sweepBatch = 512

// A Sweep removes blocks. Those it may remove were here at its beginning, and no
// lease that was open at any time since has touched them.
type Sweep struct {
	s    *Store
	snap *pebble.Snapshot // nil after Reclaim
}

// BeginSweep begins a sweep. The error is Conflict while another is open.
func (s *Store) BeginSweep() (*Sweep, error) {
	s.gate.Lock() // so that a lease that has touched a block is among the open ones
	defer s.gate.Unlock()
	s.leases.mu.Lock()
	defer s.leases.mu.Unlock()
	if s.leases.sweeping {
		return nil, api.Conflict.Errorf("garbage collection is already running")
	}
	s.leases.sweeping, s.leases.closed = true, set{}
	return &Sweep{s: s, snap: s.db.NewSnapshot()}, nil
}

// Sweeping tells whether a sweep is open.
func (s *Store) Sweeping() bool {
	s.leases.mu.Lock()
	defer s.leases.mu.Unlock()
	return s.leases.sweeping
}

// RemoveOne removes one block, and tells whether it has gone: it stays where it is
// not here, or a lease wants it.
func (w *Sweep) RemoveOne(h multihash.Multihash) (bool, error) {
	gone, err := w.remove([]multihash.Multihash{h})
	if err != nil {
		return false, fmt.Errorf("remove block: %w", err)
	}
	return len(gone) == 1, nil
}

// Snapshot is the database as it was when the sweep began: what is pinned in it must
// stay.
func (w *Sweep) Snapshot() pebble.Reader { return w.snap }

// Reclaim gives the room of what was removed back to the disk: it rewrites the tables of
// keys, and has the files of blocks that are a fifth garbage rewritten by and by.
func (w *Sweep) Reclaim(ctx context.Context) error {
	if err := w.snap.Close(); err != nil { // it still holds what was removed
		return fmt.Errorf("reclaim: %w", err)
	}
	w.snap = nil
	if err := w.s.db.Flush(); err != nil {
		return fmt.Errorf("reclaim: %w", err)
	}
	if err := w.s.db.Compact(ctx, []byte{prefixData}, []byte{prefixIndex + 1}, false); err != nil {
		return fmt.Errorf("reclaim: %w", err)
	}
	return nil
}

// Count tells how many blocks there were.
func (w *Sweep) Count(ctx context.Context) (n int, err error) {
	it, err := w.index(ctx)
	if err != nil {
		return 0, fmt.Errorf("count blocks: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		if n++; n%sweepBatch == 0 && ctx.Err() != nil {
			return n, ctx.Err()
		}
	}
	return n, nil
}

func (w *Sweep) index(ctx context.Context) (*pebble.Iterator, error) {
	return w.snap.NewIterWithContext(ctx, &pebble.IterOptions{
		LowerBound: []byte{prefixIndex}, UpperBound: []byte{prefixIndex + 1}})
}

// Close ends the sweep.
func (w *Sweep) Close() error {
	w.s.leases.mu.Lock()
	w.s.leases.sweeping, w.s.leases.closed = false, nil
	w.s.leases.mu.Unlock()
	if w.snap == nil {
		return nil
	}
	if err := w.snap.Close(); err != nil {
		return fmt.Errorf("close snapshot: %w", err)
	}
	return nil
}

// Remove removes the blocks that it may and keep does not hold, and yields each, as a
// raw CID of its hash, after it has gone.
func (w *Sweep) Remove(ctx context.Context, keep func(multihash.Multihash) bool) iter.Seq2[cid.Cid, error] {
	return func(yield func(cid.Cid, error) bool) {
		it, err := w.index(ctx)
		if err != nil {
			yield(cid.Undef, fmt.Errorf("sweep: %w", err))
			return
		}
		defer it.Close()
		var batch []multihash.Multihash
		flush := func() bool {
			gone, err := w.remove(batch)
			batch = batch[:0]
			for _, h := range gone {
				if !yield(cid.NewCidV1(cid.Raw, h), nil) {
					return false
				}
			}
			if err != nil {
				yield(cid.Undef, fmt.Errorf("sweep: %w", err))
			}
			return err == nil
		}
		for ok := it.First(); ok; ok = it.Next() {
			if ctx.Err() != nil {
				yield(cid.Undef, fmt.Errorf("sweep: %w", ctx.Err()))
				return
			}
			h := multihash.Multihash(append([]byte(nil), it.Key()[1:]...))
			if keep(h) {
				continue
			}
			if batch = append(batch, h); len(batch) == sweepBatch && !flush() {
				return
			}
		}
		if err := it.Error(); err != nil {
			yield(cid.Undef, fmt.Errorf("sweep: %w", err))
			return
		}
		flush()
	}
}

// remove deletes those of hashes that no lease wants, and returns them. A crash may
// undo it, which leaves garbage for the next collection.
func (w *Sweep) remove(hashes []multihash.Multihash) ([]multihash.Multihash, error) {
	s := w.s
	s.gate.Lock()
	defer s.gate.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	batch := s.db.NewBatch()
	defer batch.Close()
	var gone []multihash.Multihash
	total := s.total
	for _, h := range hashes {
		if s.leases.hold(mark(h)) {
			continue
		}
		index := append([]byte{prefixIndex}, h...)
		size, here, err := s.sizeAt(index)
		if err != nil {
			return nil, err
		}
		if !here {
			continue
		}
		if err := batch.Delete(index, nil); err != nil {
			return nil, err
		}
		if err := batch.DeleteSized(append([]byte{prefixData}, h...), uint32(size), nil); err != nil {
			return nil, err
		}
		total -= taken(size)
		gone = append(gone, h)
	}
	if len(gone) == 0 {
		return nil, nil
	}
	if err := s.commit(batch, total); err != nil {
		return nil, err
	}
	return gone, nil
}

// hold tells whether a lease that was open since the sweep began has touched m.
func (a *leases) hold(m uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.closed[m]; ok {
		return true
	}
	for l := range a.open {
		l.mu.Lock()
		_, ok := l.touched[m]
		l.mu.Unlock()
		if ok {
			return true
		}
	}
	return false
}
