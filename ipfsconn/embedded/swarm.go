package embedded

import (
	"context"

	"github.com/pinfold-cluster/pinfold/api"
)

// Swarm tells whom the node is connected with: nobody, off line.
func (n *Node) Swarm(context.Context) ([]api.PeerID, error) {
	if n.host == nil {
		return nil, nil
	}
	return n.host.Network().Peers(), nil
}
