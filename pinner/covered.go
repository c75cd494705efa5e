package pinner

import (
	"context"
	"slices"

	"github.com/pinfold-cluster/pinfold/api"
)

// copiesAsked is how many pins one question about copies at followers is about at most.
const copiesAsked = 64

// covered finds out which pins of a page need no other holders for now, although wants
// says so: copies at followers make up for the holders that are dead, and a holder that
// lives has confirmed its own. Holders that were removed do not come back: their pins are
// placed anew whatever followers have.
func (r *repair) covered(ctx context.Context, page []api.Pin, v *view) map[api.Cid]bool {
	var lack []api.CopyQuery
	pins := map[api.Cid]api.Pin{}
	for _, pin := range page {
		missing := pin.ReplicationFactorMin - len(v.kept(pin.Allocations))
		removed := len(v.only(pin.Allocations)) < len(pin.Allocations)
		if r.wants(pin, v) && !removed && missing > 0 && missing < pin.ReplicationFactorMin {
			lack = append(lack, api.CopyQuery{Cid: pin.Cid, Need: missing})
			pins[pin.Cid] = pin
		}
	}
	ask := map[api.PeerID][]api.Cid{}
	for some := range slices.Chunk(lack, copiesAsked) {
		copies := r.p.fwd.Copies(ctx, some)
		for i, q := range some {
			if i >= len(copies) || copies[i] < q.Need {
				continue
			}
			for _, p := range v.kept(pins[q.Cid].Allocations) {
				if slices.Contains(v.alive, p) {
					ask[p] = append(ask[p], q.Cid)
				}
			}
		}
	}
	out := map[api.Cid]bool{}
	for _, confirmed := range r.ask(ctx, ask) {
		for c, yes := range confirmed {
			out[c] = out[c] || yes
		}
	}
	return out
}
