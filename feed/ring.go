package feed

import (
	"slices"
	"sort"
	"sync"
)

// A ring keeps the last batches of the log, encoded, in as many bytes as it may take.
// They follow on each other without a gap.
type ring struct {
	mu      sync.Mutex
	max     int
	entries []entry
	bytes   int
}

type entry struct {
	index         uint64
	before, after [32]byte
	enc           []byte
}

// add puts e at the end. Where it does not follow on what there is, the state was
// replaced meanwhile: all before it is of no use.
func (r *ring) add(e entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.entries); n > 0 && r.entries[n-1].after != e.before {
		r.entries, r.bytes = nil, 0
	}
	r.entries = append(r.entries, e)
	r.bytes += len(e.enc)
	r.trim()
}

// limit sets how many bytes it may take.
func (r *ring) limit(max int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.max = max
	r.trim()
}

// trim lets go of the oldest. The caller holds mu.
func (r *ring) trim() {
	for r.bytes > r.max && len(r.entries) > 1 {
		r.bytes -= len(r.entries[0].enc)
		r.entries[0] = entry{}
		r.entries = r.entries[1:]
	}
}

// after gives the batches past index, at least one if there is any, else up to most
// bytes of them.
func (r *ring) after(index uint64, most int) []entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := sort.Search(len(r.entries), func(i int) bool { return r.entries[i].index > index })
	end, bytes := i, 0
	for end < len(r.entries) && (end == i || bytes+len(r.entries[end].enc) <= most) && end-i < maxBatches {
		bytes += len(r.entries[end].enc)
		end++
	}
	return slices.Clone(r.entries[i:end])
}

// last is the index of the last batch, 0 where there is none.
func (r *ring) last() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.entries) == 0 {
		return 0
	}
	return r.entries[len(r.entries)-1].index
}

// first is the first batch past index, if there is one.
func (r *ring) first(index uint64) (e entry, ok bool) {
	if next := r.after(index, 0); len(next) > 0 {
		return next[0], true
	}
	return e, false
}

func encodings(entries []entry) [][]byte {
	out := make([][]byte, len(entries))
	for i, e := range entries {
		out[i] = e.enc
	}
	return out
}
