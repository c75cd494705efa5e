package main

import (
	"context"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/metrics"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	// linksTimeout bounds how long one peer may take to tell of its connections.
	linksTimeout = 10 * time.Second
	// swarmTimeout bounds how long its node may.
	swarmTimeout = 5 * time.Second
	// maxSwarm is how many peers of its node one tells of.
	maxSwarm = 10_000
)

// traffic tells what goes on between peers.
type traffic struct{ p *Daemon }

// Graph implements rest.Network.
func (n traffic) Graph(ctx context.Context) (api.ConnectGraph, error) {
	self := n.p.ids.cluster.ID
	g := api.ConnectGraph{ClusterID: self, IDToPeerName: map[string]string{}, IPFSLinks: map[string][]api.PeerID{},
		ClusterLinks: map[string][]api.PeerID{}, ClusterTrustLinks: map[string]bool{}, ClusterToIPFS: map[string]api.PeerID{}}
	members, err := n.p.state.Members()
	if err != nil {
		return g, err
	}
	type answer struct {
		api.PeerLinks
		err error
	}
	answers := parallel(members, func(m api.Member) (a answer) {
		ctx, cancel := context.WithTimeout(ctx, linksTimeout)
		defer cancel()
		if m.ID == self {
			a.PeerLinks = n.p.peerLinks(ctx)
		} else {
			a.PeerLinks, a.err = n.p.calls.Links(ctx, m.ID)
		}
		return a
	})
	known := make(map[api.PeerID]bool, len(members))
	for _, m := range members {
		known[m.ID] = true
	}
	for i, m := range members {
		id, a := m.ID.String(), answers[i]
		g.ClusterLinks[id] = []api.PeerID{}
		if a.err != nil {
			n.p.log.Debug("a peer tells of no connections", "peer", m.ID, "err", a.err)
			continue
		}
		g.IDToPeerName[id], g.ClusterTrustLinks[id] = m.Name, true
		for _, other := range a.Cluster {
			if known[other] {
				g.ClusterLinks[id] = append(g.ClusterLinks[id], other)
			}
		}
		slices.Sort(g.ClusterLinks[id])
		if a.IPFS != "" {
			g.ClusterToIPFS[id] = a.IPFS
			slices.Sort(a.Swarm)
			g.IPFSLinks[a.IPFS.String()] = append([]api.PeerID{}, a.Swarm...)
		}
	}
	return g, nil
}

// swarmer is a node that tells whom it is connected with.
type swarmer interface {
	Swarm(ctx context.Context) ([]api.PeerID, error)
}

// peerLinks are this peer's.
func (p *Daemon) peerLinks(ctx context.Context) api.PeerLinks {
	links := api.PeerLinks{Cluster: p.host.Connected()}
	ctx, cancel := context.WithTimeout(ctx, swarmTimeout)
	defer cancel()
	id, err := p.node.ID(ctx)
	if err == nil {
		links.IPFS = id.ID
		if node, ok := p.node.(swarmer); ok {
			links.Swarm, err = node.Swarm(ctx)
		}
	}
	if err != nil {
		p.log.Debug("the node tells of no connections", "err", err)
	}
	links.Swarm = links.Swarm[:min(len(links.Swarm), maxSwarm)]
	return links
}

// Bandwidth implements rest.Network: of the cluster host and the data host together.
func (n traffic) Bandwidth() map[string]api.Bandwidth {
	return bandwidth(n.p.host.Traffic, n.p.data.Traffic)
}

// bandwidth is what several hosts have carried together, by protocol.
func bandwidth(hosts ...metrics.Reporter) map[string]api.Bandwidth {
	out := map[string]api.Bandwidth{}
	for _, counted := range hosts {
		for proto, s := range counted.GetBandwidthByProtocol() {
			b := out[string(proto)]
			out[string(proto)] = api.Bandwidth{TotalIn: b.TotalIn + s.TotalIn, TotalOut: b.TotalOut + s.TotalOut,
				RateIn: b.RateIn + s.RateIn, RateOut: b.RateOut + s.RateOut}
		}
	}
	return out
}
