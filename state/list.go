package state

import (
	"bytes"
	"context"
	"iter"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/pinfold-cluster/pinfold/api"
)

// An Order is one in which pins can be read, and the filter that comes with it.
type Order uint8

// The orders. Pins that are equal in one follow each other by the bytes of their CIDs.
const (
	ByCid     Order = iota
	ByPeer          // of those that Query.Peer holds by name, by CID
	ByName          // of those named Query.Name, or else with Query.NamePrefix
	ByMeta          // of those whose metadata has Query.MetaKey with Query.MetaValue, by CID
	ByExpiry        // of those that expire, the soonest first
	ByCreated       // the oldest first
)

// A Query says what pins to list. The zero value is all, by CID.
type Query struct {
	By      Order
	Reverse bool // the last first

	Peer       api.PeerID // ByPeer; "" are the pins that are everywhere
	Name       string     // ByName: exactly this, unless ""
	NamePrefix string     // ByName; "" are all pins that have a name, the first 128 bytes of which order them
	MetaKey    string     // ByMeta
	MetaValue  string
	Since      time.Time // ByExpiry, ByCreated: not before it; zero is no bound
	Before     time.Time // ByExpiry, ByCreated: before it; zero is no bound

	// After starts past this CID, be it there or not: ByCid, ByPeer, ByMeta.
	After api.Cid
	// Cursor starts past the pin for which CursorOf gave it, in any order.
	Cursor []byte
}

// CursorOf gives a mark of p's place among what q lists, from which a query like q goes
// on, whatever has become of p. It is opaque, and at most 600 bytes.
func (q Query) CursorOf(p api.Pin) []byte {
	var prefix []byte
	switch q.By {
	case ByName:
		prefix = append(namePrefix(nil, p.Name), nameEnd...)
	case ByExpiry:
		prefix = timePrefix(nil, expiryKind, p.ExpireAt.Unix())
	case ByCreated:
		prefix = timePrefix(nil, createdKind, p.Timestamp.Unix())
	default:
		prefix, _ = q.span()
	}
	return append(prefix, p.Cid.KeyString()...)
}

// span is the range of keys, without its end, that q's filter leaves.
func (q Query) span() (from, to []byte) {
	switch q.By {
	case ByPeer:
		from = holderPrefix(nil, q.Peer)
	case ByName:
		if q.Name != "" {
			from = append(namePrefix(nil, q.Name), nameEnd...)
		} else {
			from = namePrefix(nil, q.NamePrefix)
		}
	case ByMeta:
		from = metadataPrefix(nil, q.MetaKey, q.MetaValue)
	case ByExpiry:
		return q.timeSpan(expiryKind)
	case ByCreated:
		return q.timeSpan(createdKind)
	default:
		from = []byte{pinKind}
	}
	return from, prefixEnd(from)
}

func (q Query) timeSpan(kind byte) (from, to []byte) {
	from = timePrefix(nil, kind, ceilSeconds(q.Since, math.MinInt64))
	if q.Before.IsZero() {
		return from, []byte{kind + 1}
	}
	return from, timePrefix(nil, kind, ceilSeconds(q.Before, 0))
}

// bounds are the span without what lies before where the query starts.
func (q Query) bounds() (from, to []byte, err error) {
	from, to = q.span()
	past := q.Cursor
	if q.After.Defined() {
		if q.By != ByCid && q.By != ByPeer && q.By != ByMeta {
			return nil, nil, api.Invalid.Errorf("a list in this order goes on from a cursor, not a CID")
		}
		past = append(bytes.Clone(from), q.After.KeyString()...)
	}
	switch {
	case past == nil:
	case len(past) == 0 || past[0] != from[0]:
		return nil, nil, api.Invalid.Errorf("the cursor is of another order")
	case q.Reverse:
		to = minKey(to, past)
	case bytes.Compare(past, from) >= 0:
		from = append(bytes.Clone(past), 0)
	}
	if bytes.Compare(from, to) > 0 {
		from = to
	}
	return from, to, nil
}

func minKey(a, b []byte) []byte {
	if bytes.Compare(a, b) < 0 {
		return a
	}
	return b
}

// prefixLen is how much of a secondary key comes before the CID.
func (q Query) prefixLen(key []byte) int {
	switch q.By {
	case ByName:
		return bytes.Index(key, []byte(nameEnd)) + len(nameEnd)
	case ByExpiry, ByCreated:
		return 1 + 8
	case ByPeer, ByMeta:
		return 1 + 16
	default:
		return 1
	}
}

// matches tells whether a pin under the keys of q's span is one that q wants: not so
// for a name that was cut, or another value of the same hash.
func (q Query) matches(p api.Pin) bool {
	switch {
	case q.By == ByPeer:
		return slices.Contains(holders(p), q.Peer)
	case q.By == ByMeta:
		v, ok := p.Metadata[q.MetaKey]
		return ok && v == q.MetaValue
	case q.By == ByName && q.Name != "":
		return p.Name == q.Name
	case q.By == ByName:
		return strings.HasPrefix(p.Name, q.NamePrefix)
	default:
		return true
	}
}

// List reads the pins that q asks for, of the state as it is when the loop begins. An
// error is the last thing it gives: Invalid for a query that makes no sense, Internal
// for a damaged record, and the context's.
func (s *State) List(ctx context.Context, q Query) iter.Seq2[api.Pin, error] {
	return s.list(ctx, q, nil)
}

func (s *State) list(ctx context.Context, q Query, at func(index uint64)) iter.Seq2[api.Pin, error] {
	return s.reading(ctx, at, func(v *view, yield func(api.Pin) bool) error {
		from, to, err := q.bounds()
		if err != nil {
			return err
		}
		if q.By == ByCid {
			return v.eachRecord(from, to, q.Reverse, yield)
		}
		keys, err := v.iterator(from, to)
		if err != nil {
			return err
		}
		sorted := !q.Reverse && (q.By == ByPeer || q.By == ByMeta)
		for ok := first(keys, q.Reverse); ok; ok = next(keys, q.Reverse) {
			key := keys.Key()
			p, err := v.find(key[q.prefixLen(key):], sorted)
			if err != nil {
				return err
			}
			if q.matches(p) && !yield(p) {
				return nil
			}
		}
		return keys.Error()
	})
}

// Allocated reads the pins that p must hold, past the CID after (CidUndef: from the
// first): it is allocated or leaving, or the pin is everywhere. They come in order of
// the bytes of their CIDs; errors are as List's.
func (s *State) Allocated(ctx context.Context, p api.PeerID, after api.Cid) iter.Seq2[api.Pin, error] {
	return s.allocated(ctx, p, after, nil)
}

func (s *State) allocated(ctx context.Context, p api.PeerID, after api.Cid, at func(index uint64)) iter.Seq2[api.Pin, error] {
	return s.reading(ctx, at, func(v *view, yield func(api.Pin) bool) error {
		var queues []*pebble.Iterator // of keys, each at its next
		for _, holder := range sortedSet([]api.PeerID{p, everywhere}) {
			from, to, err := Query{By: ByPeer, Peer: holder, After: after}.bounds()
			if err != nil {
				return err
			}
			keys, err := v.iterator(from, to)
			if err != nil {
				return err
			}
			keys.First()
			queues = append(queues, keys)
		}
		for {
			keys := lowest(queues)
			if keys == nil {
				break
			}
			pin, err := v.find(keys.Key()[1+16:], true)
			if err != nil {
				return err
			}
			if pin.HeldBy(p) && !yield(pin) {
				return nil
			}
			keys.Next()
		}
		for _, keys := range queues {
			if err := keys.Error(); err != nil {
				return err
			}
		}
		return nil
	})
}

// lowest is the queue whose next key has the lowest CID, nil when all are at their end.
func lowest(queues []*pebble.Iterator) (low *pebble.Iterator) {
	for _, q := range queues {
		if q.Valid() && (low == nil || bytes.Compare(q.Key()[1+16:], low.Key()[1+16:]) < 0) {
			low = q
		}
	}
	return low
}
