package main

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/ipfsconn/kubo"
	"github.com/pinfold-cluster/pinfold/monitor"
)

// swarmPeriod is between looks at whom the Kubo daemon is connected with.
const swarmPeriod = 5 * time.Second

// connectSwarm keeps this peer's Kubo daemon connected with those of the other peers,
// until ctx ends: what one of them holds the others can then fetch, without the DHT.
func (p *Daemon) connectSwarm(ctx context.Context, node *kubo.Node) error {
	tick := time.NewTicker(swarmPeriod)
	defer tick.Stop()
	for {
		if err := p.connectSwarmOnce(ctx, node); err != nil && ctx.Err() == nil {
			p.component("kubo").Debug("the IPFS nodes of other peers are not all connected", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (p *Daemon) connectSwarmOnce(ctx context.Context, node *kubo.Node) error {
	ctx, cancel := context.WithTimeout(ctx, linkTimeout)
	defer cancel()
	others := p.otherNodes()
	if len(others) == 0 {
		return nil
	}
	connected, err := node.Swarm(ctx)
	if err != nil {
		return err
	}
	var dials errgroup.Group
	dials.SetLimit(linksAtOnce)
	for _, info := range others {
		if !slices.Contains(connected, info.ID) {
			dials.Go(func() error { return node.Connect(ctx, info) })
		}
	}
	return dials.Wait()
}

// otherNodes are the IPFS nodes that the other peers tell of.
func (p *Daemon) otherNodes() []peer.AddrInfo {
	var all []peer.AddrInfo
	for _, m := range p.monitor.Latest(monitor.PingMetric) {
		var told monitor.PingValue
		if m.Peer == p.ids.cluster.ID || json.Unmarshal([]byte(m.Value), &told) != nil {
			continue
		}
		infos, err := peer.AddrInfosFromP2pAddrs(told.Addresses...)
		if err != nil {
			p.component("kubo").Debug("addresses of an IPFS node not understood", "peer", m.Peer, "err", err)
			continue
		}
		all = append(all, infos...)
	}
	return all
}
