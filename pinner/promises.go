package pinner

import (
	"slices"
	"sort"
	"sync"

	"github.com/pinfold-cluster/pinfold/api"
)

// promises is what the log has given to each peer, by index, so that what a peer's
// metric does not count yet can be taken off it. Every peer keeps it from the same
// entries, so a new leader knows it too.
type promises struct {
	mu    sync.Mutex
	peers map[api.PeerID]*given // "" is for pins everywhere
}

// given are running totals of what one peer was given up to an index. The first point
// is only there to count from.
type given struct{ points []point }

type point struct {
	index uint64
	bytes int64
	pins  int
}

// maxPoints bounds what is kept of a peer whose metrics stopped. Beyond it the
// oldest half is forgotten: the peer then seems to have more room than it has.
const maxPoints = 1 << 14

func newPromises() *promises { return &promises{peers: map[api.PeerID]*given{}} }

// track counts what an applied record gives to its holders.
func (p *promises) track(pin api.Pin, mean func() uint64) {
	if pin.Type == api.PinMeta {
		return
	}
	to := pin.Allocations
	if pin.Everywhere() {
		to = []api.PeerID{""}
	}
	p.add(to, pin, pin.Revision, 1, mean)
}

// kept takes back what an applied record gave to holders that had the pin before.
// Only the leader that decided it can tell.
func (p *promises) kept(d verdict, index uint64, mean func() uint64) {
	var again []api.PeerID
	if d.pin.Everywhere() {
		if d.old.Cid.Defined() && d.old.Everywhere() {
			again = []api.PeerID{""}
		}
	} else {
		for _, id := range d.pin.Allocations {
			if slices.Contains(d.had, id) {
				again = append(again, id)
			}
		}
	}
	p.add(again, d.pin, index, -1, mean)
}

func (p *promises) add(to []api.PeerID, pin api.Pin, index uint64, sign int, mean func() uint64) {
	if len(to) == 0 {
		return
	}
	size := int64(pin.Size)
	if size == 0 {
		size = int64(mean())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range to {
		g := p.peers[id]
		if g == nil {
			g = &given{points: make([]point, 1)}
			p.peers[id] = g
		}
		g.add(index, int64(sign)*size, sign)
	}
}

func (g *given) add(index uint64, bytes int64, pins int) {
	last := &g.points[len(g.points)-1]
	sum := point{index: index, bytes: last.bytes + bytes, pins: last.pins + pins}
	if last.index >= index {
		last.bytes, last.pins = sum.bytes, sum.pins
		return
	}
	if len(g.points) >= maxPoints {
		g.points = slices.Clone(g.points[maxPoints/2:])
	}
	g.points = append(g.points, sum)
}

// since returns what peer was given after index.
func (p *promises) since(peer api.PeerID, index uint64) (bytes int64, pins int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range [...]api.PeerID{peer, ""} {
		if g := p.peers[id]; g != nil {
			b, n := g.since(index)
			bytes, pins = bytes+b, pins+n
		}
	}
	return max(bytes, 0), max(pins, 0)
}

func (g *given) since(index uint64) (int64, int) {
	later := sort.Search(len(g.points), func(i int) bool { return g.points[i].index > index })
	base, last := g.points[max(later-1, 0)], g.points[len(g.points)-1]
	return last.bytes - base.bytes, last.pins - base.pins
}
