package feed

import (
	"bytes"
	"cmp"
	"context"
	"iter"
	"slices"
	"sync"

	"github.com/pinfold-cluster/pinfold/api"
)

// unknownSize is what a pin counts for where nobody knows the size of any.
const unknownSize = 1 << 20

// A Share is the part of the pinset that a follower holds which gives a number of bytes:
// whole ranges, and of the last one what still fits. What was taken stays while it is
// pinned and fits, whatever other followers do. It is safe for concurrent use.
type Share struct {
	file  string
	self  api.PeerID
	waits *[shareRanges]float64

	updating sync.Mutex
	mu       sync.RWMutex
	now      taken
	stats    ShareStats
}

// ShareStats count what a Share takes in, as of its last Update.
type ShareStats struct {
	Ranges int // taken whole, of 4,096
	Pins   int
	Bytes  uint64 // pins of unknown size at the mean
}

// taken is what a follower has taken, as it lies on disk.
type taken struct {
	Version  int      `cbor:"1,keyasint"`
	Capacity uint64   `cbor:"2,keyasint"`           // bytes
	Whole    []int    `cbor:"3,keyasint"`           // ranges, the first taken first
	Part     int      `cbor:"4,keyasint"`           // a range of which it has a part, -1 none
	Cids     [][]byte `cbor:"5,keyasint,omitempty"` // of that, sorted

	whole Claim
}

// has tells whether the pin of c is among what was taken.
func (t *taken) has(c api.Cid) bool {
	r := rangeOf(c)
	if t.whole.has(r) {
		return true
	}
	if r != t.Part {
		return false
	}
	_, ok := slices.BinarySearchFunc(t.Cids, c.Bytes(), bytes.Compare)
	return ok
}

func (t *taken) take(r int) {
	t.Whole = append(t.Whole, r)
	t.whole.add(r)
}

// Holds tells whether p is part of the share. A pin that is new to the pinset is at once
// if its range was taken whole; the next Update sees whether all that still fits.
func (s *Share) Holds(p api.Pin) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return p.Type != api.PinMeta && p.Size <= s.now.Capacity && s.now.has(p.Cid)
}

// Claim is the ranges taken whole.
func (s *Share) Claim() Claim {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.now.whole
}

// Stats count the share.
func (s *Share) Stats() ShareStats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.stats
}

// Update fits the share to the pinset, of which it is given all pins, and to as many
// bytes as it may have. When there is room it takes more, first of the ranges that are
// thin by t, which may be nil; when there is not it gives up those that t says can do
// without. Pins larger than capacity are nobody's business here.
//
// It reads the pins twice. A Size of 0 counts as the mean of the others, so what the
// caller knows from its node it should fill in. Changed tells that Holds answers
// otherwise than before for some pin that is there; then it is on disk. An error is of
// pins or of the disk: then all is as it was.
func (s *Share) Update(ctx context.Context, pins iter.Seq2[api.Pin, error], capacity uint64, t *Coverage) (changed bool, err error) {
	s.updating.Lock()
	defer s.updating.Unlock()
	sizes, err := measure(ctx, pins, capacity)
	if err != nil {
		return false, err
	}
	w := weights(t)
	next, room := s.now.fit(sizes, preference(s.waits, &w)) // only Update writes now
	if next.Part >= 0 && room > 0 {
		if room, err = s.takePart(ctx, &next, pins, sizes, room); err != nil {
			return false, err
		}
	}
	stats := ShareStats{Ranges: len(next.Whole), Pins: len(next.Cids), Bytes: capacity - room}
	for _, r := range next.Whole {
		stats.Pins += sizes.pins[r]
	}
	same := s.now.Capacity == capacity && s.now.Part == next.Part &&
		slices.Equal(s.now.Whole, next.Whole) && slices.EqualFunc(s.now.Cids, next.Cids, bytes.Equal)
	if !same {
		if err := next.save(s.file); err != nil {
			return false, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now, s.stats = next, stats
	return !same, nil
}

// sizes are what the ranges of a pinset weigh.
type sizes struct {
	capacity uint64
	mean     uint64 // of a pin whose size is known
	pins     [shareRanges]int
	bytes    [shareRanges]uint64
}

// of is what p counts for; false where it is too large, or no content.
func (z *sizes) of(p api.Pin) (uint64, bool) {
	size := p.Size
	if size == 0 {
		size = z.mean
	}
	return size, p.Type != api.PinMeta && p.Size <= z.capacity
}

func measure(ctx context.Context, pins iter.Seq2[api.Pin, error], capacity uint64) (*sizes, error) {
	z := &sizes{capacity: capacity}
	var unknown [shareRanges]uint64
	var known, sum uint64
	for p, err := range pins {
		if err := cmp.Or(err, ctx.Err()); err != nil {
			return nil, err
		}
		size, ok := z.of(p)
		if !ok {
			continue
		}
		r := rangeOf(p.Cid)
		z.pins[r]++
		z.bytes[r] += size
		if size == 0 {
			unknown[r]++
			continue
		}
		known++
		sum += size
	}
	z.mean = min(unknownSize, capacity)
	if known > 0 {
		z.mean = sum / known
	}
	for r, n := range unknown {
		z.bytes[r] += n * z.mean
	}
	return z, nil
}

// fit gives what to take after t: whole ranges, one in part perhaps, and the bytes that
// are left for that.
func (t *taken) fit(z *sizes, wanted []int) (next taken, room uint64) {
	next, room = taken{Capacity: z.capacity, Part: -1}, z.capacity
	if room == 0 {
		return next, room
	}
	had := uint64(0)
	for _, r := range t.Whole {
		had += z.bytes[r]
	}
	candidates := t.Whole
	if had <= z.capacity {
		if t.Part >= 0 {
			candidates = append(slices.Clone(candidates), t.Part)
		}
		candidates = append(slices.Clone(candidates), wanted...)
	} else { // what is wanted most stays
		candidates = slices.DeleteFunc(slices.Clone(wanted), func(r int) bool { return !t.whole.has(r) })
	}
	for _, r := range candidates {
		switch {
		case next.whole.has(r):
		case z.bytes[r] > room:
			next.Part = r
			return next, room
		default:
			next.take(r)
			room -= z.bytes[r]
		}
	}
	return next, room
}

// takePart fills the room with pins of the range next.Part: with those there already
// before others, and these by the hash of peer and CID. It gives the room that is left.
func (s *Share) takePart(ctx context.Context, next *taken, pins iter.Seq2[api.Pin, error], z *sizes, room uint64) (left uint64, err error) {
	type candidate struct {
		cid  []byte
		size uint64
		new  bool
		luck float64
	}
	var list []candidate
	for p, err := range pins {
		if err := cmp.Or(err, ctx.Err()); err != nil {
			return 0, err
		}
		if size, ok := z.of(p); ok && rangeOf(p.Cid) == next.Part {
			list = append(list, candidate{p.Cid.Bytes(), size, !s.now.has(p.Cid), luck(s.self, p.Cid.Bytes())[0]})
		}
	}
	slices.SortFunc(list, func(a, b candidate) int {
		if a.new != b.new {
			if b.new {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.luck, b.luck)
	})
	for _, c := range list {
		if c.size <= room {
			room -= c.size
			next.Cids = append(next.Cids, c.cid)
		}
	}
	slices.SortFunc(next.Cids, bytes.Compare)
	return room, nil
}
