package state

import (
	"bytes"
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

// CountRequests counts what Requests gives. It sorts nothing and reads no CIDs.
func (s *State) CountRequests(ctx context.Context, since, before time.Time) (n int, err error) {
	err = s.bySecond(ctx, since, before, func(g *requestGroup) (bool, error) {
		whole := (since.IsZero() || g.second > since.Unix()) && (before.IsZero() || g.second < before.Unix())
		g.each(func(_ []byte, nanos uint32) {
			if at := time.Unix(g.second, int64(nanos)); whole || within(at, since, before) {
				n++
			}
		})
		return true, nil
	})
	return n, err
}

// within tells whether at is after since and before before; zero is no bound.
func within(at, since, before time.Time) bool {
	return (since.IsZero() || at.After(since)) && (before.IsZero() || at.Before(before))
}

// eachSecond gives the requests from the newest to the oldest.
func (s *State) eachSecond(ctx context.Context, since, before time.Time, yield func(api.RequestEntry) bool) error {
	var entries []api.RequestEntry
	return s.bySecond(ctx, since, before, func(g *requestGroup) (more bool, err error) {
		entries = entries[:0]
		g.each(func(cid []byte, nanos uint32) {
			e := api.RequestEntry{At: time.Unix(g.second, int64(nanos)).UTC()}
			if within(e.At, since, before) {
				if bad := e.Cid.UnmarshalBinary(cid); bad != nil {
					err = api.Internal.Errorf("the row of a request has no CID: %v", bad)
				}
				entries = append(entries, e)
			}
		})
		if err != nil {
			return false, err
		}
		slices.SortFunc(entries, func(a, b api.RequestEntry) int {
			return cmp.Or(b.At.Compare(a.At), cmp.Compare(a.Cid.KeyString(), b.Cid.KeyString()))
		})
		for _, e := range entries {
			if !yield(e) {
				return false, nil
			}
		}
		return true, nil
	})
}

// requestGroup is the rows of one second: those by creation and those by request, each
// iterator at the last of them.
type requestGroup struct {
	second    int64
	plain, by *pebble.Iterator
	marked    map[string]bool
}

// each gives the requests of the second, in no order, and moves the iterators past it.
// A CID is valid until f returns.
func (g *requestGroup) each(f func(cid []byte, nanos uint32)) {
	clear(g.marked)
	for ; secondOf(g.by) == g.second && g.by.Valid(); g.by.Prev() {
		key := g.by.Key()
		if nanos := binary.BigEndian.Uint32(key[9:]); nanos == markNanos {
			g.marked[string(key[13:])] = true
		} else {
			f(key[13:], nanos)
		}
	}
	for ; secondOf(g.plain) == g.second && g.plain.Valid(); g.plain.Prev() {
		cid := g.plain.Key()[9:]
		if len(g.marked) == 0 || !g.marked[string(cid)] {
			f(cid, api.PlainRequestNanos(cid))
		}
	}
}

// bySecond reads both kinds of rows side by side, from the newest second to the oldest;
// each must read its group.
func (s *State) bySecond(ctx context.Context, since, before time.Time, each func(*requestGroup) (more bool, err error)) error {
	d, err := s.acquire()
	if err != nil {
		return err
	}
	defer d.release()
	v := &view{db: d.db}
	defer v.close()
	g := &requestGroup{marked: map[string]bool{}}
	for kind, rows := range map[byte]**pebble.Iterator{createdKind: &g.plain, requestKind: &g.by} {
		from, to := []byte{kind}, []byte{kind + 1}
		if !since.IsZero() {
			from = timePrefix(nil, kind, since.Unix())
		}
		if !before.IsZero() && before.Unix() < math.MaxInt64 {
			to = timePrefix(nil, kind, before.Unix()+1)
		}
		if bytes.Compare(from, to) > 0 {
			return nil
		}
		if *rows, err = v.iterator(from, to); err != nil {
			return err
		}
		(*rows).Last()
	}
	for read := 0; g.plain.Valid() || g.by.Valid(); read++ {
		if read%64 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		g.second = max(secondOf(g.plain), secondOf(g.by))
		if more, err := each(g); err != nil || !more {
			return err
		}
	}
	return cmp.Or(g.plain.Error(), g.by.Error())
}

// secondOf is the time of the row at which it stands, the least where it is at its end.
func secondOf(it *pebble.Iterator) int64 {
	if !it.Valid() {
		return math.MinInt64
	}
	return int64(binary.BigEndian.Uint64(it.Key()[1:9]) ^ 1<<63)
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
	own := s.reading(ctx, nil, func(v *view, yield func(api.Pin) bool) error {
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
