package feed

import (
	"math/rand/v2"
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

// add remembers p. Where there are too many, any other is forgotten.
func (a *acquaintances) add(p Peer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.by[p.ID]; !known && len(a.by) >= maxAcquaintances {
		for id := range a.by {
			delete(a.by, id)
			break
		}
	}
	a.by[p.ID] = acquaintance{p, time.Now()}
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

// some picks peers for asker, who says h, to try.
func (a *acquaintances) some(asker api.PeerID, h hello) []neighbour {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []neighbour
	for id, p := range a.by {
		if time.Since(p.at) > rememberFor {
			delete(a.by, id)
		} else if id != asker && len(p.Addrs) > 0 {
			all = append(all, neighbour{ID: []byte(id), Addrs: p.Addrs})
		}
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	most := maxNeighbour
	if h.Enough {
		most = freshNeighbours
	}
	return all[:min(len(all), most)]
}
