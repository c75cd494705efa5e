package state

import (
	"bytes"
	"context"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2"
	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/disk"
)

// reading runs f over a view of the live database and gives its error as the last item.
// At, where not nil, is told the view's log index first.
func (s *State) reading(ctx context.Context, at func(index uint64), f func(*view, func(api.Pin) bool) error) iter.Seq2[api.Pin, error] {
	return func(yield func(api.Pin, error) bool) {
		d, err := s.acquire()
		if err != nil {
			yield(api.Pin{}, err)
			return
		}
		defer d.release()
		v := &view{db: d.db}
		defer v.close()
		if at != nil {
			index, err := v.index()
			if err != nil {
				yield(api.Pin{}, err)
				return
			}
			at(index)
		}
		stopped, read := false, 0
		err = f(v, func(p api.Pin) bool {
			var err error
			if read%256 == 0 {
				if err = ctx.Err(); err != nil {
					p = api.Pin{}
				}
			}
			read++
			stopped = !yield(p, err) || err != nil
			return !stopped
		})
		if err != nil && !stopped {
			yield(api.Pin{}, err)
		}
	}
}

// eachRecord reads the records between two keys.
func (v *view) eachRecord(from, to []byte, reverse bool, yield func(api.Pin) bool) error {
	it, err := v.iterator(from, to)
	if err != nil {
		return err
	}
	for ok := first(it, reverse); ok; ok = next(it, reverse) {
		p, err := v.record(it)
		if err != nil {
			return err
		}
		if !yield(p) {
			return nil
		}
	}
	return it.Error()
}

func first(it *pebble.Iterator, reverse bool) bool {
	if reverse {
		return it.Last()
	}
	return it.First()
}

func next(it *pebble.Iterator, reverse bool) bool {
	if reverse {
		return it.Prev()
	}
	return it.Next()
}

// A view is a database as it was when its first iterator was made.
type view struct {
	db   *disk.DB
	all  []*pebble.Iterator // of the same moment
	pins *pebble.Iterator   // over the records, where they are looked up
	key  []byte             // last looked up
	d    decoder
}

// iterator returns a new one over the keys between two, which close closes.
func (v *view) iterator(from, to []byte) (it *pebble.Iterator, err error) {
	o := &pebble.IterOptions{LowerBound: from, UpperBound: to}
	if len(v.all) == 0 {
		it, err = v.db.NewIter(o)
	} else {
		it, err = v.all[0].Clone(pebble.CloneOptions{IterOptions: o})
	}
	if err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	v.all = append(v.all, it)
	return it, nil
}

func (v *view) close() {
	for _, it := range v.all {
		it.Close() // its error has been told by Error
	}
}

// record decodes the record at which it stands.
func (v *view) record(it *pebble.Iterator) (api.Pin, error) {
	value, err := it.ValueAndErr()
	if err != nil {
		return api.Pin{}, fmt.Errorf("read state row %x: %w", it.Key(), err)
	}
	return readRecord(&v.d, it.Key(), value)
}

// find reads the record of the pin whose CID has these bytes, to which a secondary
// key led: it must be there. Where calls come in order of CIDs it is quicker if told.
func (v *view) find(cid []byte, sorted bool) (api.Pin, error) {
	if v.pins == nil {
		var err error
		if v.pins, err = v.iterator([]byte{pinKind}, []byte{pinKind + 1}); err != nil {
			return api.Pin{}, err
		}
	}
	v.key = append(append(v.key[:0], pinKind), cid...)
	// Often the record wanted follows the last one: stepping is cheaper than seeking.
	there := sorted && v.pins.Valid() && v.pins.Next() && bytes.Equal(v.pins.Key(), v.key)
	if !there {
		there = v.pins.SeekGE(v.key) && bytes.Equal(v.pins.Key(), v.key)
	}
	if !there {
		if err := v.pins.Error(); err != nil {
			return api.Pin{}, fmt.Errorf("read state row %x: %w", v.key, err)
		}
		return api.Pin{}, api.Internal.Errorf("a secondary key leads to %x, where there is no record", v.key)
	}
	return v.record(v.pins)
}
