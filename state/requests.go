package state

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/pinfold-cluster/pinfold/api"
)

// Each pin is kept for one or several requests (api.Pin.AllRequests). That of another
// door's pin has no row of its own: it is where the pin is, by creation. Where a record
// has requests but none such, its row by creation is marked: a row by request of the
// same second, with markNanos, takes it off.
const markNanos = math.MaxUint32

// requestPrefixes start the keys that follow from p's requests.
func requestPrefixes(p api.Pin) (prefixes [][]byte) {
	if p.Type != api.PinData {
		return [][]byte{requestPrefix(p.Timestamp.Unix(), markNanos)}
	}
	if len(p.Requests) == 0 {
		return nil
	}
	plain := false
	seen := map[string]bool{}
	add := func(k []byte) {
		if !seen[string(k)] {
			seen[string(k)] = true
			prefixes = append(prefixes, k)
		}
	}
	for _, r := range p.Requests {
		if r.ID == "" {
			plain = true
		} else {
			at := p.RequestTime(r)
			add(requestPrefix(at.Unix(), uint32(at.Nanosecond())))
		}
		if r.Name != "" {
			add(namedPrefix(r.Name))
		}
		for k, v := range r.Metadata {
			add(pairedPrefix(k, v))
		}
	}
	if !plain {
		add(requestPrefix(p.Timestamp.Unix(), markNanos))
	}
	return prefixes
}

func requestPrefix(seconds int64, nanos uint32) []byte {
	return binary.BigEndian.AppendUint32(timePrefix(nil, requestKind, seconds), nanos)
}

func namedPrefix(name string) []byte {
	sum := sha256.Sum256([]byte("n" + name))
	return append([]byte{tagKind}, sum[:16]...)
}

func pairedPrefix(key, value string) []byte {
	b := binary.AppendUvarint([]byte{'m'}, uint64(len(key)))
	sum := sha256.Sum256(append(append(b, key...), value...))
	return append([]byte{tagKind}, sum[:16]...)
}

// Requests gives the requests made after since and before before (zero: no bound), the
// newest first. It reads keys only, as the state is when the loop begins. An error is
// the last thing it gives.
func (s *State) Requests(ctx context.Context, since, before time.Time) iter.Seq2[api.RequestEntry, error] {
	return func(yield func(api.RequestEntry, error) bool) {
		if err := s.eachSecond(ctx, since, before, func(e api.RequestEntry) bool { return yield(e, nil) }); err != nil {
			yield(api.RequestEntry{}, err)
		}
	}
}

// CountRequests counts what Requests gives.
func (s *State) CountRequests(ctx context.Context, since, before time.Time) (n int, err error) {
	err = s.eachSecond(ctx, since, before, func(api.RequestEntry) bool { n++; return true })
	return n, err
}

// eachSecond reads both kinds of rows from the newest to the oldest, a second at a time.
func (s *State) eachSecond(ctx context.Context, since, before time.Time, yield func(api.RequestEntry) bool) error {
	d, err := s.acquire()
	if err != nil {
		return err
	}
	defer d.release()
	v := &view{db: d.db}
	defer v.close()
	var rows [2]*pebble.Iterator
	for i, kind := range []byte{createdKind, requestKind} {
		from, to := []byte{kind}, []byte{kind + 1}
		if !since.IsZero() {
			from = timePrefix(nil, kind, since.Unix())
		}
		if !before.IsZero() && before.Unix() < math.MaxInt64 {
			to = timePrefix(nil, kind, before.Unix()+1)
		}
		if string(from) > string(to) {
			return nil
		}
		if rows[i], err = v.iterator(from, to); err != nil {
			return err
		}
		rows[i].Last()
	}
	var group []api.RequestEntry
	marked := map[string]bool{}
	for read := 0; rows[0].Valid() || rows[1].Valid(); {
		if read%64 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		read++
		second := max(secondOf(rows[0]), secondOf(rows[1]))
		group = group[:0]
		clear(marked)
		for it := rows[1]; it.Valid() && secondOf(it) == second; it.Prev() {
			key := it.Key()
			nanos := binary.BigEndian.Uint32(key[9:])
			if nanos == markNanos {
				marked[string(key[13:])] = true
			} else if err := appendEntry(&group, key[13:], time.Unix(second, int64(nanos)).UTC()); err != nil {
				return err
			}
		}
		for it := rows[0]; it.Valid() && secondOf(it) == second; it.Prev() {
			cid := it.Key()[9:]
			if len(marked) > 0 && marked[string(cid)] {
				continue
			}
			if err := appendEntry(&group, cid, api.PlainRequestTime(second, string(cid))); err != nil {
				return err
			}
		}
		slices.SortFunc(group, func(a, b api.RequestEntry) int {
			if c := b.At.Compare(a.At); c != 0 {
				return c
			}
			return cmp.Compare(a.Cid.KeyString(), b.Cid.KeyString())
		})
		for _, e := range group {
			if !since.IsZero() && !e.At.After(since) || !before.IsZero() && !e.At.Before(before) {
				continue
			}
			if !yield(e) {
				return nil
			}
		}
	}
	return cmp.Or(rows[0].Error(), rows[1].Error())
}

// secondOf is the time of the row at which it stands, the least where it is at its end.
func secondOf(it *pebble.Iterator) int64 {
	if !it.Valid() {
		return math.MinInt64
	}
	return int64(binary.BigEndian.Uint64(it.Key()[1:9]) ^ 1<<63)
}

func appendEntry(group *[]api.RequestEntry, cid []byte, at time.Time) error {
	e := api.RequestEntry{At: at}
	if err := e.Cid.UnmarshalBinary(cid); err != nil {
		return api.Internal.Errorf("the row of a request has no CID: %v", err)
	}
	*group = append(*group, e)
	return nil
}

// NamedRequests gives the pins that have a request of this name, by CID. A pin's
// own name counts.
func (s *State) NamedRequests(ctx context.Context, name string) iter.Seq2[api.Pin, error] {
	return s.tagged(ctx, namedPrefix(name), Query{By: ByName, Name: name}, func(r api.PinRequest) bool { return r.Name == name })
}

// PairedRequests gives the pins that have a request whose metadata has this pair.
func (s *State) PairedRequests(ctx context.Context, key, value string) iter.Seq2[api.Pin, error] {
	return s.tagged(ctx, pairedPrefix(key, value), Query{By: ByMeta, MetaKey: key, MetaValue: value},
		func(r api.PinRequest) bool { v, ok := r.Metadata[key]; return ok && v == value })
}

// tagged gives the pins under prefix, then those of q that have no requests of their own:
// these are not under it.
func (s *State) tagged(ctx context.Context, prefix []byte, q Query, match func(api.PinRequest) bool) iter.Seq2[api.Pin, error] {
	own := s.reading(ctx, func(v *view, yield func(api.Pin) bool) error {
		keys, err := v.iterator(prefix, prefixEnd(prefix))
		if err != nil {
			return err
		}
		for ok := keys.First(); ok; ok = keys.Next() {
			p, err := v.find(keys.Key()[len(prefix):], true)
			if err != nil {
				return err
			}
			if slices.ContainsFunc(p.Requests, match) && !yield(p) {
				return nil
			}
		}
		if err := keys.Error(); err != nil {
			return fmt.Errorf("read state: %w", err)
		}
		return nil
	})
	return func(yield func(api.Pin, error) bool) {
		for p, err := range own {
			if !yield(p, err) || err != nil {
				return
			}
		}
		for p, err := range s.List(ctx, q) {
			if err == nil && (len(p.Requests) > 0 || p.Type != api.PinData) {
				continue
			}
			if !yield(p, err) {
				return
			}
		}
	}
}
