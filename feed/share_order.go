package feed

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"

	"github.com/pinfold-cluster/pinfold/api"
)

// shareRanges is into how many ranges the pinset falls, by the first bits of the SHA-256
// of a CID. Followers take them whole: were each pin picked by itself, copies would be
// spread as luck has it, and no table could tell which lack.
const shareRanges = 1 << 12

// rangeOf is the range of a pin.
func rangeOf(c api.Cid) int {
	sum := sha256.Sum256([]byte(c.KeyString()))
	return int(binary.BigEndian.Uint16(sum[:])) >> 4
}

// luck is what hashes give a peer for something: four numbers from (0, 1).
func luck(self api.PeerID, of []byte) (l [4]float64) {
	b := append(make([]byte, 0, 128), "pinfold share"...)
	b = append(binary.AppendUvarint(b, uint64(len(self))), self...)
	sum := sha256.Sum256(append(b, of...))
	for i := range l {
		l[i] = (float64(binary.BigEndian.Uint64(sum[8*i:])>>11) + 0.5) / (1 << 53)
	}
	return l
}

// waits are how long each range waits for its turn with that peer, were they all wanted
// alike: exponentially distributed.
func waits(self api.PeerID) *[shareRanges]float64 {
	list := new([shareRanges]float64)
	for r := 0; r < shareRanges; r += 4 {
		for i, l := range luck(self, binary.BigEndian.AppendUint16(nil, uint16(r))) {
			list[r+i] = -math.Log(l)
		}
	}
	return list
}

// preference lists the ranges in the order in which a peer takes them: a draw without
// replacement by weights.
func preference(waits, weights *[shareRanges]float64) []int {
	type turn struct {
		at float64
		r  int
	}
	var turns [shareRanges]turn
	for r := range turns {
		turns[r] = turn{waits[r] / weights[r], r}
	}
	slices.SortFunc(turns[:], func(a, b turn) int { return cmp.Compare(a.at, b.at) })
	list := make([]int, shareRanges)
	for i, t := range turns {
		list[i] = t.r
	}
	return list
}

const (
	// What followers are taken to add before the next table is out, so that all who read
	// this one do not take the same ranges: copies of each range, and of those counted
	// above the thinnest range.
	addedCopies  = 0.5
	addedPerCopy = 0.1

	leastWeight = 1. / 64 // of a range that has enough, that of the thinnest being 1
)

// weights says how much a range is wanted: by as much as it lacks to the level to which
// the copies about to be added would fill up the thinnest ones. What all ranges have
// alike counts for nothing: it would hide what is thin, and is all that somebody who
// claims everything can add.
func weights(t *Coverage) (w [shareRanges]float64) {
	if t == nil || len(t.Counts) != 2*shareRanges {
		for r := range w {
			w[r] = 1
		}
		return w
	}
	sorted := make([]float64, shareRanges)
	sum := 0.
	for r := range sorted {
		sorted[r] = float64(t.count(r))
		sum += sorted[r]
	}
	slices.Sort(sorted)
	thinnest := sorted[0]
	level := thinnest
	left := shareRanges*addedCopies + (sum-shareRanges*thinnest)*addedPerCopy
	for i := 1; i < shareRanges; i++ {
		step := (sorted[i] - level) * float64(i)
		if step >= left {
			level += left / float64(i)
			left = 0
			break
		}
		left -= step
		level = sorted[i]
	}
	level += left / shareRanges
	for r := range w {
		w[r] = max((level-float64(t.count(r)))/(level-thinnest), leastWeight)
	}
	return w
}

// raised is how many times a range may weigh what it would by the table.
const raised = 20

// raise has heavy ranges weigh more: they find room only in the first part of a share, the
// smaller the heavier they are, and shall be in as many shares as others.
func (z *sizes) raise(w *[shareRanges]float64) {
	for r, n := range z.bytes {
		if n <= z.capacity {
			w[r] /= max(1-float64(n)/float64(z.capacity), 1./raised)
		}
	}
}
