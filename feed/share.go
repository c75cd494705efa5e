package feed

import (
	"bytes"
	"context"
	"iter"
	"slices"
	"sync"

	"github.com/pinfold-cluster/pinfold/api"
)

// unknownSize is what a pin counts for where nobody knows the size of any.
const unknownSize = 1 << 20

const (
	// roomForMore is how many ordinary ranges there is room for at least where one that does
	// not fit is passed over, for others to be taken whole.
	roomForMore = 2
	// singlesLooked is about how many pins are looked at to fill the last room singly.
	singlesLooked = 4096
)

// A Share is the part of the pinset that a follower holds which gives a number of bytes:
// whole ranges, and in the room that is left single pins of others. What was taken stays
// while it is pinned and fits, whatever other followers do. It is safe for concurrent use.
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
	// TooLarge counts the pins that are larger than all of it may be, and LeastTooLarge is
	// the size of the smallest.
	TooLarge      int
	LeastTooLarge uint64
}

// taken is what a follower has taken, as it lies on disk.
type taken struct {
	Version  int      `cbor:"1,keyasint"`
	Capacity uint64   `cbor:"2,keyasint"`           // bytes
	Whole    []int    `cbor:"3,keyasint"`           // ranges, the first taken first
	Part     int      `cbor:"4,keyasint"`           // the range whose turn is next and that did not fit, -1 none
	Cids     [][]byte `cbor:"5,keyasint,omitempty"` // pins of ranges not taken whole, sorted

	whole Claim
}

// has tells whether the pin of c is among what was taken.
func (t *taken) has(c api.Cid) bool {
	return t.whole.has(rangeOf(c)) || t.single(c)
}

func (t *taken) single(c api.Cid) bool {
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
	sizes, err := s.now.measure(ctx, pins, capacity) // only Update writes now
	if err != nil {
		return false, err
	}
	w := weights(t)
	sizes.raise(&w)
	wanted := preference(s.waits, &w)
	next, room := s.now.fit(sizes, wanted)
	if next.Part >= 0 && room > 0 {
		turns := next.turns(sizes, slices.Concat(s.now.Whole, wanted), room)
		if room, err = s.takeSingles(ctx, &next, pins, sizes, turns, room); err != nil {
			return false, err
		}
	}
	stats := ShareStats{Ranges: len(next.Whole), Pins: len(next.Cids), Bytes: capacity - room,
		TooLarge: sizes.tooLarge, LeastTooLarge: sizes.leastTooLarge}
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
