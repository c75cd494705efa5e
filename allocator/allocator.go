// Package allocator chooses the peers that shall hold a pin.
//
// Allocate is a pure function of its Request: the same request gives the same
// peers on every machine, in whatever order the peers are listed. It keeps no
// promises and reads no clock; whoever calls it says how much room is left on each
// peer, net of what is promised already.
//
// See DESIGN.md for why "most free space" is a class and not a number.
package allocator

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"

	"github.com/pinfold-cluster/pinfold/api"
)

// A Peer is one that can be asked to hold a pin: it is alive, or it holds the pin
// already and is not given up yet.
type Peer struct {
	ID   api.PeerID
	Tags map[string]string
	// Free is the room left for pins in bytes, net of what is promised.
	Free int64
	// Pending is how many pins wait there.
	Pending int
	// ReadOnly peers keep what they hold and are given nothing new.
	ReadOnly bool
}

// A Request says what is wanted of whom.
type Request struct {
	// Min and Max bound the number of copies: 1 <= Min <= Max.
	Min, Max int
	// Size is the bytes of the pin, 0 where nobody knows.
	Size uint64
	// Seed tells equal peers apart; the bytes of the CID, say. Requests with different
	// seeds share equal peers evenly.
	Seed string
	// Holders hold the pin now. They are kept while there are no more than Max, but
	// for those that Prefer displaces.
	Holders []api.PeerID
	// Prefer are the peers that the user names, wanted most first.
	Prefer []api.PeerID
	// Exclude are never chosen: dead or draining.
	Exclude []api.PeerID
	// Peers are those to choose from. A holder that is not among them is lost.
	Peers []Peer
	// SpreadBy names the tags over whose values copies are spread, the most important first.
	SpreadBy []string
	// Members is how many full peers the cluster has, living or not; it only decides the
	// kind of an error. 0 means as many as Peers.
	Members int
}

// Allocate returns between r.Min and r.Max peers, sorted, as many as can be had. The
// first are those of Prefer, then the holders, then whoever makes the spread over
// tag values widest; among these the ones with most room.
//
// The error is Invalid where the cluster can never hold that many copies, Full where
// only room is missing, and Unavailable where peers are.
func Allocate(r Request) ([]api.PeerID, error) {
	if r.Min < 1 || r.Max < r.Min {
		return nil, api.Invalid.Errorf("cannot allocate between %d and %d copies", r.Min, r.Max)
	}
	c := newChoice(r)
	for _, p := range r.Prefer {
		c.takeID(p)
	}
	for c.takeNext(isHolder) {
	}
	for c.takeNext(isAny) {
	}
	if len(c.chosen) < r.Min {
		return nil, c.shortage()
	}
	slices.Sort(c.chosen)
	return c.chosen, nil
}

// choice is an allocation in the making.
type choice struct {
	r      Request
	chosen []api.PeerID
	left   []candidate // best first, but for the spread
	near   []int       // len(SpreadBy) numbers a candidate: chosen peers with its values of the first tags
	full   int         // peers passed over only for want of room
	most   int64       // bytes free on the roomiest of those
}

type candidate struct {
	*Peer
	holder bool
	taken  bool
	class  int    // of free space, 0 the most
	queue  int    // of pins waiting, 0 the fewest
	rank   uint64 // the last tie break
}

func isHolder(c *candidate) bool { return c.holder }
func isAny(*candidate) bool      { return true }

func newChoice(r Request) *choice {
	c := &choice{r: r, chosen: make([]api.PeerID, 0, min(r.Max, len(r.Peers))), left: make([]candidate, 0, len(r.Peers))}
	var most int64
	for i := range r.Peers {
		p := &r.Peers[i]
		if slices.Contains(r.Exclude, p.ID) {
			continue
		}
		holder := slices.Contains(r.Holders, p.ID)
		if !holder && p.ReadOnly {
			continue
		}
		if !holder && !fits(p.Free, r.Size) {
			c.most = max(c.most, p.Free)
			c.full++
			continue
		}
		most = max(most, p.Free)
		c.left = append(c.left, candidate{Peer: p, holder: holder, rank: rank(r.Seed, p.ID)})
	}
	for i := range c.left {
		p := &c.left[i]
		p.class = spaceClass(p.Free, most)
		p.queue = bits.Len(uint(max(p.Pending, 0)) / pendingStep)
	}
	slices.SortFunc(c.left, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.class, b.class), cmp.Compare(a.queue, b.queue),
			cmp.Compare(a.rank, b.rank), cmp.Compare(a.ID, b.ID))
	})
	c.near = make([]int, len(c.left)*len(r.SpreadBy))
	return c
}

// takeID takes the candidate p, where it is one.
func (c *choice) takeID(p api.PeerID) {
	for i := range c.left {
		if c.left[i].ID == p {
			c.take(i)
			return
		}
	}
}

// takeNext takes the best of the candidates that pass. It returns false where none
// does, or no more are wanted.
func (c *choice) takeNext(pass func(*candidate) bool) bool {
	best := -1
	for i := range c.left {
		if c.left[i].taken || !pass(&c.left[i]) {
			continue
		}
		if best < 0 || slices.Compare(c.nearOf(i), c.nearOf(best)) < 0 {
			best = i
		}
	}
	return best >= 0 && c.take(best)
}

func (c *choice) nearOf(i int) []int {
	n := len(c.r.SpreadBy)
	return c.near[i*n : (i+1)*n]
}

func (c *choice) take(i int) bool {
	p := &c.left[i]
	if p.taken || len(c.chosen) == c.r.Max {
		return false
	}
	p.taken = true
	c.chosen = append(c.chosen, p.ID)
	for j := range c.left {
		for k, tag := range c.r.SpreadBy {
			if c.left[j].Tags[tag] != p.Tags[tag] {
				break
			}
			c.nearOf(j)[k]++
		}
	}
	return true
}

func (c *choice) shortage() error {
	kind := api.Unavailable
	switch members := max(c.r.Members, len(c.r.Peers)); {
	case c.r.Min > members:
		kind = api.Invalid
	case len(c.chosen)+c.full >= c.r.Min:
		kind = api.Full
	}
	// The incumbent's words, which clients know, then ours.
	return kind.Errorf("not enough peers to allocate CID. Needed at least: %d. Wanted at most: %d. Available candidates: %d.%s",
		c.r.Min, c.r.Max, len(c.left), c.why(kind))
}

// why tells the reason of a shortage and what to do about it.
func (c *choice) why(kind api.Kind) string {
	members := max(c.r.Members, len(c.r.Peers))
	switch kind {
	case api.Invalid:
		return fmt.Sprintf(" The cluster has %d: lower the replication factor or add peers.", members)
	case api.Unavailable:
		return fmt.Sprintf(" Of the cluster's %d the others are down, leaving, read-only, not measured yet or full: try again later, or lower the replication factor.", members)
	}
	size := "of a size not known yet"
	if c.r.Size > 0 {
		size = fmt.Sprintf("of %d bytes", c.r.Size)
	}
	return fmt.Sprintf(" Of %d peers asked, %d have no room for a pin %s; the roomiest of these has %d bytes free above what it keeps in reserve and has promised."+
		" Free space, add a peer, or lower the replication factor or embedded.disk_reserve.", len(c.left)+c.full, c.full, size, c.most)
}

// fits tells whether a pin of size bytes, 0 unknown, goes into free.
func fits(free int64, size uint64) bool {
	return free > 0 && uint64(free) >= size
}

const (
	spaceClasses = 16  // peers within a sixteenth of the roomiest count as equal
	pendingStep  = 128 // fewer pins waiting than this count as none
)

// spaceClass tells in which sixteenth of the roomiest peer's space free lies, the
// uppermost being 0.
func spaceClass(free, most int64) int {
	if most <= 0 {
		return 0
	}
	return min(int(float64(most-max(free, 0))/float64(most)*spaceClasses), spaceClasses-1)
}

// rank orders peers differently, and evenly, for each seed (FNV-1a, then the
// finaliser of splitmix64).
func rank(seed string, p api.PeerID) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(seed) {
		h = (h ^ uint64(seed[i])) * 1099511628211
	}
	for i := range len(p) {
		h = (h ^ uint64(p[i])) * 1099511628211
	}
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}
