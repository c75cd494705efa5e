package feed

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	maxAcquaintances = 1024
	// rememberFor is how long others are told of a follower after its last hello.
	rememberFor = 30 * time.Minute
	// freshNeighbours are told to who has enough, to know somebody the next time.
	freshNeighbours = 2
	// heardEvery is the least time between two hellos of one peer that say anything new.
	heardEvery = 5 * time.Second
)

// acquaintances are the followers that have said hello lately.
type acquaintances struct {
	mu sync.Mutex
	by map[api.PeerID]acquaintance
}

type acquaintance struct {
	Peer
	at time.Time
}

func newAcquaintances() *acquaintances {
	return &acquaintances{by: map[api.PeerID]acquaintance{}}
}

// receive gives who says hello a place, if there is one. Its hello is news where it comes
// anew, or has said none just now: others are passed over, but for their answers.
func (a *acquaintances) receive(n Network, from api.PeerID, member bool) (admitted, news bool) {
	was := member || slices.Contains(n.Guests(), from)
	admitted = member || n.Welcome(from)
	return admitted, admitted && !was || a.due(from)
}

func (a *acquaintances) due(from api.PeerID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return time.Since(a.by[from].at) >= heardEvery
}

// add remembers p, who said hello. Where there are too many, the one is forgotten that
// said hello first, of the address that has most: to say hello as many costs nothing, and
// what they tell of themselves may be false.
func (a *acquaintances) add(p Peer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.by[p.ID]; !known && len(a.by) >= maxAcquaintances {
		a.forgetOne()
	}
	a.by[p.ID] = acquaintance{p, time.Now()}
}

func (a *acquaintances) forgetOne() {
	n, most := map[string]int{}, ""
	for _, p := range a.by {
		if n[p.From]++; n[p.From] > n[most] {
			most = p.From
		}
	}
	var first api.PeerID
	for id, p := range a.by {
		if p.From == most && (first == "" || p.at.Before(a.by[first].at)) {
			first = id
		}
	}
	delete(a.by, first)
}

// of gives what is known of the peers.
func (a *acquaintances) of(ids []api.PeerID) []Peer {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]Peer, 0, len(ids))
	for _, id := range ids {
		if p, ok := a.by[id]; ok {
			out = append(out, p.Peer)
		}
	}
	return out
}

// some picks peers for asker, who says h, to try: at random, and of each address as many.
func (a *acquaintances) some(asker api.PeerID, h hello) []neighbour {
	a.mu.Lock()
	defer a.mu.Unlock()
	type candidate struct {
		neighbour
		from string
		turn int // how many of its address go before
	}
	var all []candidate
	for id, p := range a.by {
		if time.Since(p.at) > rememberFor {
			delete(a.by, id)
		} else if id != asker && len(p.Addrs) > 0 {
			all = append(all, candidate{neighbour: neighbour{ID: []byte(id), Addrs: p.Addrs}, from: p.From})
		}
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	turns := map[string]int{}
	for i, c := range all {
		all[i].turn = turns[c.from]
		turns[c.from]++
	}
	slices.SortStableFunc(all, func(x, y candidate) int { return cmp.Compare(x.turn, y.turn) })
	most := maxNeighbour
	if h.Enough {
		most = freshNeighbours
	}
	var some []neighbour
	for _, c := range all[:min(len(all), most)] {
		some = append(some, c.neighbour)
	}
	return some
}
