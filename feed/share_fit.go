package feed

import (
	"bytes"
	"cmp"
	"context"
	"iter"
	"math"
	"slices"

	"github.com/pinfold-cluster/pinfold/api"
)

// leastSize is what a node counts a pin's blocks for at least, in bytes.
const leastSize = 256

// sizes are what the ranges of a pinset weigh.
type sizes struct {
	capacity uint64
	mean     uint64 // of a pin whose size is known
	pins     [shareRanges]int
	bytes    [shareRanges]uint64
	least    [shareRanges]uint64 // of a pin
	singles  [shareRanges]uint64 // bytes of pins that were taken singly

	tooLarge      int    // pins
	leastTooLarge uint64 // bytes of one
}

// of is what p counts for; false where it is too large, or no content.
func (z *sizes) of(p api.Pin) (uint64, bool) {
	size := max(p.Size, leastSize)
	if p.Size == 0 {
		size = z.mean
	}
	return size, p.Type != api.PinMeta && p.Size <= z.capacity
}

// measure weighs a pinset, of which t was taken.
func (t *taken) measure(ctx context.Context, pins iter.Seq2[api.Pin, error], capacity uint64) (*sizes, error) {
	z := &sizes{capacity: capacity}
	for r := range z.least {
		z.least[r] = math.MaxUint64
	}
	var unknown, unknownSingles [shareRanges]uint64
	var known, sum uint64
	for p, err := range pins {
		if err := cmp.Or(err, ctx.Err()); err != nil {
			return nil, err
		}
		size, ok := z.of(p)
		if !ok {
			if p.Type != api.PinMeta {
				if z.tooLarge++; z.tooLarge == 1 || p.Size < z.leastTooLarge {
					z.leastTooLarge = p.Size
				}
			}
			continue
		}
		r := rangeOf(p.Cid)
		z.pins[r]++
		single := len(t.Cids) > 0 && t.single(p.Cid)
		if size == 0 {
			unknown[r]++
			if single {
				unknownSingles[r]++
			}
			continue
		}
		z.bytes[r] += size
		z.least[r] = min(z.least[r], size)
		if single {
			z.singles[r] += size
		}
		known++
		sum += size
	}
	z.mean = min(unknownSize, capacity)
	if known > 0 {
		z.mean = sum / known
	}
	for r, n := range unknown {
		if n > 0 {
			z.bytes[r] += n * z.mean
			z.least[r] = min(z.least[r], z.mean)
			z.singles[r] += unknownSingles[r] * z.mean
		}
	}
	return z, nil
}

// ordinary is what a range weighs in which there are pins, on average.
func (z *sizes) ordinary() uint64 {
	sum, n := uint64(0), uint64(0)
	for r := range z.bytes {
		if z.pins[r] > 0 {
			sum, n = sum+z.bytes[r], n+1
		}
	}
	return sum / max(n, 1)
}

// fit gives the ranges to take whole after t, the first that does not fit, and the bytes
// that are left. What t has singly makes room for no range that is new.
func (t *taken) fit(z *sizes, wanted []int) (next taken, room uint64) {
	next, room = taken{Capacity: z.capacity, Part: -1}, z.capacity
	if room == 0 {
		return next, room
	}
	had, singles := uint64(0), uint64(0)
	for _, r := range t.Whole {
		had += z.bytes[r]
	}
	candidates := t.Whole
	if had <= z.capacity {
		for _, n := range z.singles {
			singles += n
		}
		if t.Part >= 0 {
			candidates = append(slices.Clone(candidates), t.Part)
		}
		candidates = append(slices.Clone(candidates), wanted...)
	} else { // what is wanted most stays
		candidates = slices.DeleteFunc(slices.Clone(wanted), func(r int) bool { return !t.whole.has(r) })
	}
	enough := roomForMore * z.ordinary()
	for _, r := range candidates {
		if next.whole.has(r) {
			continue
		}
		kept := singles - z.singles[r]
		if t.whole.has(r) {
			kept = 0
		}
		if z.bytes[r] > room-min(room, kept) {
			if next.Part < 0 {
				next.Part = r
			}
			if room < enough {
				break
			}
			continue
		}
		next.take(r)
		room -= z.bytes[r]
		singles -= min(singles, z.singles[r])
	}
	return next, room
}

// turns gives the ranges of which pins may be taken singly, by their turn: next.Part, and
// then in order of wanted those that have a pin for which there is room.
func (t *taken) turns(z *sizes, wanted []int, room uint64) map[int]int {
	turns := map[int]int{}
	looked := 0
	for _, r := range slices.Concat([]int{t.Part}, wanted) {
		if _, ok := turns[r]; ok || t.whole.has(r) || z.least[r] > room {
			continue
		}
		turns[r] = len(turns)
		if looked += z.pins[r]; looked >= singlesLooked {
			break
		}
	}
	return turns
}

// takeSingles fills the room with single pins: with those there already before others, and
// these by the turn of their range, then by the hash of peer and CID. It gives the room
// that is left.
func (s *Share) takeSingles(ctx context.Context, next *taken, pins iter.Seq2[api.Pin, error], z *sizes, turns map[int]int, room uint64) (left uint64, err error) {
	type candidate struct {
		cid  []byte
		size uint64
		new  bool
		turn int
		luck float64
	}
	var list []candidate
	for p, err := range pins {
		if err := cmp.Or(err, ctx.Err()); err != nil {
			return 0, err
		}
		size, ok := z.of(p)
		if !ok || size > room {
			continue
		}
		r := rangeOf(p.Cid)
		turn, listed := turns[r]
		had := s.now.whole.has(r) || s.now.single(p.Cid)
		if !next.whole.has(r) && (listed || s.now.single(p.Cid)) {
			list = append(list, candidate{p.Cid.Bytes(), size, !had, turn, luck(s.self, p.Cid.Bytes())[0]})
		}
	}
	slices.SortFunc(list, func(a, b candidate) int {
		if a.new != b.new {
			if b.new {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.turn, b.turn), cmp.Compare(a.luck, b.luck))
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
