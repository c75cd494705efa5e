package kubo

import (
	"context"

	"github.com/pinfold-cluster/pinfold/api"
)

// Swarm tells whom the node is connected with.
func (n *Node) Swarm(ctx context.Context) ([]api.PeerID, error) {
	var answer struct {
		Peers []struct{ Peer string }
	}
	if err := n.call(ctx, &answer, "swarm/peers", nil); err != nil {
		return nil, err
	}
	var ids []api.PeerID
	for _, p := range answer.Peers {
		id, err := api.ParsePeerID(p.Peer)
		if err != nil {
			return nil, api.Internal.Errorf("swarm/peers: %w", err)
		}
		ids = append(ids, id)
	}
	return ids, nil
}
