package state

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/disk"
)

// A Batch is changes that come to be together, by Commit, or not at all. It reads its
// own changes. It is for one goroutine and there is one at a time: beginning the next,
// Replace and Close end one that was not committed.
type Batch struct {
	s   *State
	d   *database        // that it was begun on; nil once it is over
	w   *disk.Batch      // rows to write
	was *pebble.Iterator // over the records before it; nil until one is looked for

	head head
	pins map[api.Cid][]byte // values read or written here, nil where there is none
	held map[api.PeerID]Stats
	dec  *decoder
	ledgerChanges
}

// NewBatch begins a batch on the state as it is.
func (s *State) NewBatch() *Batch {
	s.writer.end()
	b := &Batch{s: s, head: s.mem.head, pins: map[api.Cid][]byte{}, held: map[api.PeerID]Stats{}, dec: &s.dec}
	if d, err := s.acquire(); err == nil {
		b.d, b.w = d, d.db.NewBatch()
	}
	s.writer = b
	return b
}

// end releases what the batch holds on to.
func (b *Batch) end() {
	if b == nil || b.d == nil {
		return
	}
	if b.was != nil {
		b.was.Close() // its error has been told by Error
	}
	b.w.Close() // never fails
	b.d.release()
	b.d = nil
}

// value returns the row of c's pin, nil where there is none. The error is Unavailable
// where the batch is over.
func (b *Batch) value(c api.Cid, key []byte) (v []byte, err error) {
	if b.d == nil {
		return nil, errOver
	}
	if v, seen := b.pins[c]; seen {
		return v, nil
	}
	if b.was == nil {
		// Most CIDs are new, which is what the filters of the last level are for.
		o := &pebble.IterOptions{LowerBound: []byte{pinKind}, UpperBound: []byte{pinKind + 1}, UseL6Filters: true}
		if b.was, err = b.d.db.NewIter(o); err != nil {
			return nil, fmt.Errorf("read state: %w", err)
		}
	}
	if b.was.SeekPrefixGE(key) && bytes.Equal(b.was.Key(), key) {
		if v, err = b.was.ValueAndErr(); err == nil {
			v = bytes.Clone(v)
		}
	} else {
		err = b.was.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("read state row %x: %w", key, err)
	}
	b.pins[c] = v
	return v, nil
}

var errOver = api.Unavailable.Errorf("the batch is over, or the state closed")

// Digest is that of the state as this batch leaves it, at the index it began on.
func (b *Batch) Digest() Digest { return b.head.digest() }

// Get returns the pin of c as this batch leaves it, and whether there is one.
func (b *Batch) Get(c api.Cid) (api.Pin, bool, error) {
	key := pinKey(c)
	v, err := b.value(c, key)
	if err != nil || v == nil {
		return api.Pin{}, false, err
	}
	p, err := readRecord(b.dec, key, v)
	return p, err == nil, err
}

// Put makes p, with its Revision, the record of its CID. An error of kind Invalid or
// TooLarge tells of p and is the same on every peer: nothing was put, and the batch
// can go on. Any other is of the database.
func (b *Batch) Put(p api.Pin) error {
	p, value, err := b.dec.encode(p)
	if err != nil {
		return err
	}
	return b.put(p, value)
}

// put makes p, which encodes as value, the record of its CID.
func (b *Batch) put(p api.Pin, value []byte) error {
	key := pinKey(p.Cid)
	old, had, err := b.Get(p.Cid)
	if err != nil {
		return err
	}
	if had {
		b.forget(key, old)
		if err := b.moveIndex(old, p); err != nil {
			return err
		}
	} else if err := b.addIndex(p); err != nil {
		return err
	}
	b.pins[p.Cid] = value
	b.head.pins.add(key, value)
	b.count(p, 1)
	return b.w.Set(key, value, nil)
}

// Delete removes the record of c, if there is one.
func (b *Batch) Delete(c api.Cid) error {
	key := pinKey(c)
	old, had, err := b.Get(c)
	if err != nil || !had {
		return err
	}
	b.forget(key, old)
	b.pins[c] = nil
	indexKeys(old, func(k []byte) { err = firstOf(err, b.w.Delete(k, nil)) })
	return firstOf(err, b.w.Delete(key, nil))
}

// forget takes the record of old out of the digest and the counts.
func (b *Batch) forget(key []byte, old api.Pin) {
	b.head.pins.subtract(key, b.pins[old.Cid])
	b.count(old, ^uint64(0))
}

// count adds p to the counts, times 1 or, modulo 2^64, -1.
func (b *Batch) count(p api.Pin, times uint64) {
	b.head.stats.Pins += times
	b.head.stats.Bytes += times * p.Size
	for _, h := range holders(p) {
		st, seen := b.held[h]
		if !seen {
			st = b.s.HeldStats(h)
		}
		st.Pins += times
		st.Bytes += times * p.Size
		b.held[h] = st
	}
}

func (b *Batch) addIndex(p api.Pin) (err error) {
	indexKeys(p, func(k []byte) { err = firstOf(err, b.w.Set(k, nil, nil)) })
	return err
}

// moveIndex writes the secondary keys in which old and p differ.
func (b *Batch) moveIndex(old, p api.Pin) error {
	was, is := sortedIndexKeys(old), sortedIndexKeys(p)
	for len(was) > 0 || len(is) > 0 {
		var err error
		switch order := compareFirst(was, is); {
		case order < 0:
			err, was = b.w.Delete(was[0], nil), was[1:]
		case order > 0:
			err, is = b.w.Set(is[0], nil, nil), is[1:]
		default:
			was, is = was[1:], is[1:]
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// compareFirst orders two sorted lists, not both empty, by their first keys.
func compareFirst(a, b [][]byte) int {
	switch {
	case len(a) == 0:
		return 1
	case len(b) == 0:
		return -1
	default:
		return bytes.Compare(a[0], b[0])
	}
}

func firstOf(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// Commit writes the batch and makes the state one of log index index, which must be
// past the last. It is not synced: see State.Sync. Entries at indexes i < j may share
// a batch only where (i-1)/DigestEvery = (j-1)/DigestEvery: else the digest between
// them could not be kept. After an error the database is as it was, or cannot be
// written any more and Run ends.
func (b *Batch) Commit(index uint64) error {
	if b.d == nil {
		return errOver
	}
	before := b.s.mem.head // the one writer may read what only it changes
	if index <= before.applied {
		b.end()
		return api.Conflict.Errorf("commit of log index %d: the state is at %d already", index, before.applied)
	}
	b.head.applied = index
	return b.commit(func() []Digest { return passed(b.s.mem.digests, before, b.head) })
}

// CommitAt is Commit for a state that is copied from another's and not made from the
// log: index may be any, and 0 says that it is the state of none, as while a copy is
// under way. The digests kept are forgotten.
func (b *Batch) CommitAt(index uint64) error {
	if b.d == nil {
		return errOver
	}
	b.head.applied = index
	return b.commit(func() []Digest { return nil })
}

// commit writes the batch; keep gives the digests kept once all else is in it.
func (b *Batch) commit(keep func() []Digest) error {
	defer b.end()
	if err := b.s.admit(b); err != nil {
		return err
	}
	err := b.writeSessions()
	for p, st := range b.held {
		key := stringKey(heldKind, string(p))
		if st.Pins == 0 {
			err = firstOf(err, b.w.Delete(key, nil))
		} else {
			err = firstOf(err, b.w.Set(key, st.row(), nil))
		}
	}
	kept := keep()
	if !slices.Equal(kept, b.s.mem.digests) {
		err = firstOf(err, b.w.Set(digestsKey, encodeDigests(kept), nil))
	}
	err = firstOf(err, b.w.Set(headKey, b.head.encode(), nil))
	if err == nil {
		err = b.w.Commit(pebble.NoSync)
	}
	if err != nil {
		return fmt.Errorf("write state at log index %d: %w", b.head.applied, err)
	}
	b.publish(kept)
	return nil
}

// publish lets readers see what was written.
func (b *Batch) publish(digests []Digest) {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	m := &b.s.mem
	m.head, m.digests = b.head, digests
	for p, st := range b.held {
		if st.Pins == 0 {
			delete(m.held, p)
		} else {
			m.held[p] = st
		}
	}
	b.ledgerChanges.apply(m)
}
