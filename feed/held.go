package feed

import "maps"

const (
	heldBatches = 4096     // at most,
	heldBytes   = 16 << 20 // of batches that came early, about
)

// held are batches that came before those that lead up to them.
type held struct {
	by    map[uint64]heldBatch
	bytes int
}

type heldBatch struct {
	batch
	hash32 [32]byte
	size   int
	from   message
}

func newHeld() held { return held{by: map[uint64]heldBatch{}} }

// add keeps b, and lets go of the furthest where there are too many.
func (h *held) add(b heldBatch) {
	for _, r := range b.rows {
		b.size += len(r.Value) + r.Cid.ByteLen()
	}
	h.by[b.index] = b
	h.bytes += b.size
	for len(h.by) > heldBatches || h.bytes > heldBytes && len(h.by) > 1 {
		last := uint64(0)
		for index := range maps.Keys(h.by) {
			last = max(last, index)
		}
		h.remove(last)
	}
}

func (h *held) remove(index uint64) {
	h.bytes -= h.by[index].size
	delete(h.by, index)
}

// next gives the first batch past index, and drops those that are not.
func (h *held) next(index uint64) (b heldBatch, ok bool) {
	for i, e := range h.by {
		if i <= index {
			h.remove(i)
		} else if !ok || i < b.index {
			b, ok = e, true
		}
	}
	return b, ok
}
