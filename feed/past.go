package feed

import "sort"

// past is what members have told of the indexes that a follower came by: to know a
// contradiction, and for other followers.
type past struct {
	max      int
	messages []message // that were of use, in order of their indexes
	bytes    int
	points   map[uint64]point
}

// A point is what a member said of one index.
type point struct {
	digest [32]byte // of the pinset after it
	hash   [32]byte // of the batch; zero where it was no batch
	from   message
}

func newPast(max int) past { return past{max: max, points: map[uint64]point{}} }

// add remembers what m says of index. Messages come in order; that of a point may be the
// one before's. Only a beacon may have said too much: what then goes on before its index
// shows that.
func (p *past) add(m message, index uint64, digest, hash [32]byte) {
	n := len(p.messages)
	if n > 0 && &p.messages[n-1].raw[0] == &m.raw[0] {
		p.points[index] = point{digest, hash, m}
		return
	}
	for ; n > 0 && p.messages[n-1].last() > m.last(); n-- {
		if m.kind == kindBeacon {
			return
		}
		p.drop(n - 1)
	}
	p.points[index] = point{digest, hash, m}
	// One beacon is like the next: the last will do.
	if n > 1 && m.kind == kindBeacon && p.messages[n-1].kind == kindBeacon && p.messages[n-2].kind == kindBeacon {
		p.drop(n - 1)
	}
	p.messages = append(p.messages, m)
	p.bytes += len(m.raw)
	for p.bytes > p.max && len(p.messages) > 1 {
		p.drop(0)
	}
}

func (p *past) drop(i int) {
	m := p.messages[i]
	p.bytes -= len(m.raw)
	indexes := []uint64{m.last()}
	for _, b := range m.batches {
		indexes = append(indexes, b.index)
	}
	for _, index := range indexes {
		if at, ok := p.points[index]; ok && &at.from.raw[0] == &m.raw[0] {
			delete(p.points, index)
		}
	}
	p.messages = append(p.messages[:i], p.messages[i+1:]...)
}

// after gives the statements that lead on from a pinset at index. It is not ok where
// they do not.
func (p *past) after(index uint64, digest [32]byte) (list [][]byte, ok bool) {
	i := sort.Search(len(p.messages), func(i int) bool { return p.messages[i].last() > index })
	bytes := 0
	for _, m := range p.messages[i:] {
		if m.kind == kindRoot {
			return list, len(list) > 0 // a copy began here
		}
		if m.kind != kindBatches || m.last() <= index { // another has brought the rest of it
			continue
		}
		if len(list) == 0 && !leadsOn(m.batches, index, digest) {
			return nil, false
		}
		index = m.last()
		if bytes += len(m.raw); bytes > maxAnswer-maxStatement {
			break
		}
		list = append(list, m.raw)
	}
	return list, true
}

// leadsOn tells whether the batches past index begin at digest.
func leadsOn(batches []batch, index uint64, digest [32]byte) bool {
	for _, b := range batches {
		if b.index > index {
			return b.before == digest
		}
	}
	return false
}
