package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2"
	"github.com/pinfold-cluster/pinfold/api"
)

// A Frozen is the pinset as it was at one index. Making one costs next to nothing;
// until Close it keeps files that have gone out of date, and the State's own Close
// waits. It is safe for concurrent use.
type Frozen struct {
	d    *database
	snap *pebble.Snapshot
	head head
}

// Freeze gives the pinset as it is. The error is Unavailable once the state is closed.
func (s *State) Freeze() (*Frozen, error) {
	d, err := s.acquire()
	if err != nil {
		return nil, err
	}
	f := &Frozen{d: d, snap: d.db.NewSnapshot()}
	if f.head, err = readHead(f.snap); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Digest is that of the state at this index.
func (f *Frozen) Digest() Digest { return f.head.digest() }

// Stats counts the pins.
func (f *Frozen) Stats() Stats { return f.head.stats }

// Rows reads the records whose CIDs' bytes lie from from, inclusive, to to, exclusive,
// in their order; nil is no bound. An error is the last thing it gives: Internal for a
// damaged record, and the context's.
func (f *Frozen) Rows(ctx context.Context, from, to []byte) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		o := &pebble.IterOptions{LowerBound: append([]byte{pinKind}, from...), UpperBound: []byte{pinKind + 1}}
		if to != nil {
			o.UpperBound = append([]byte{pinKind}, to...)
		}
		it, err := f.snap.NewIter(o)
		if err != nil {
			yield(Row{}, fmt.Errorf("read state: %w", err))
			return
		}
		defer it.Close() // its error has been told by Error
		read := 0
		for ok := it.First(); ok; ok = it.Next() {
			r, err := rowAt(it)
			if read%256 == 0 && err == nil {
				err = ctx.Err()
			}
			read++
			if !yield(r, err) || err != nil {
				return
			}
		}
		if err := it.Error(); err != nil {
			yield(Row{}, fmt.Errorf("read state: %w", err))
		}
	}
}

func rowAt(it *pebble.Iterator) (r Row, err error) {
	value, err := it.ValueAndErr()
	if err != nil {
		return r, fmt.Errorf("read state row %x: %w", it.Key(), err)
	}
	if err := r.Cid.UnmarshalBinary(it.Key()[1:]); err != nil {
		return r, api.Internal.Errorf("the key %x is not that of a pin: %v", it.Key(), err)
	}
	r.Value = bytes.Clone(value)
	return r, nil
}

// Close lets go of it. Reads under way have ended.
func (f *Frozen) Close() error {
	err := f.snap.Close()
	f.d.release()
	return err
}
