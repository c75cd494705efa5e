package feed

import (
	"fmt"
	"testing"

	"github.com/multiformats/go-multiaddr"

	"github.com/pinfold-cluster/pinfold/api"
)

// One machine that says hello as thousands of peers, and tells false addresses, neither
// has others forgotten nor hides them from who asks.
func TestAcquaintances_OneAddressHidesNobody(t *testing.T) {
	a := newAcquaintances()
	say := func(id, from string) {
		a.add(Peer{ID: api.PeerID(id), From: from, Addrs: []api.Multiaddr{multiaddr.StringCast("/ip4/192.0.2.1/tcp/9096")}})
	}
	var honest []api.PeerID
	is := map[string]bool{}
	for n := range 2 * maxNeighbour {
		id := fmt.Sprint("honest ", n)
		say(id, id)
		honest = append(honest, api.PeerID(id))
		is[id] = true
	}
	for n := range maxAcquaintances + 200 {
		say(fmt.Sprint("false ", n), "one machine")
	}
	if got := len(a.of(honest)); got != len(honest) || len(a.by) != maxAcquaintances {
		t.Errorf("%d of %d are known, of %d", got, len(honest), len(a.by))
	}
	for range 20 {
		list := a.some("asker", hello{})
		n := 0
		for _, p := range list {
			if !is[string(p.ID)] {
				n++
			}
		}
		if n > 1 || len(list) != maxNeighbour {
			t.Fatalf("of %d that are told %d are of one machine", len(list), n)
		}
	}
	say("honest 0", "honest 0") // again
	if len(a.by) != maxAcquaintances {
		t.Errorf("%d are known", len(a.by))
	}
}
