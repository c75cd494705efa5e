package feed

import (
	"bytes"
	"slices"

	"github.com/pinfold-cluster/pinfold/state"
)

// Agrees compares a digest that somebody has at a log index with that of the log, where
// this peer knows it: at its own index, as far back as it keeps batches, and at the
// indexes at which states keep digests.
func (p *Publisher) Agrees(index uint64, digest []byte) (agrees, known bool) {
	own := p.st.Digest()
	if index == 0 || index > own.Index {
		return false, false
	}
	same := bytes.Equal(own.Pins[:], digest)
	if index == own.Index {
		return same, true
	}
	next, changed := p.ring.first(index)
	if !changed && same {
		return true, true
	}
	if changed && p.ring.oldest() <= index {
		return bytes.Equal(next.before[:], digest), true
	}
	kept := p.st.Digests()
	if i := slices.IndexFunc(kept, func(d state.Digest) bool { return d.Index == index }); i >= 0 {
		return bytes.Equal(kept[i].Pins[:], digest), true
	}
	return false, false
}

// oldest is the index of the first batch kept, 0 where there is none.
func (r *ring) oldest() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.entries) == 0 {
		return 0
	}
	return r.entries[0].index
}
