package main

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"

	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/pinsvc"
	"github.com/pinfold-cluster/pinfold/api/web"
	"github.com/pinfold-cluster/pinfold/monitor"
)

// openPinSvc opens the door of the Pinning Service API.
func (p *Daemon) openPinSvc() (err error) {
	h := pinsvc.New(pinsvc.Parts{Pins: p.pinner, Pinset: p.state, Tracker: p.global, Peers: delegates{p},
		Credentials: p.c.API.PinSvc.BasicAuthCredentials, Tokens: p.tokens.Tokens}, p.component("pinsvc"))
	if p.pinsvc, err = web.New(p.c.API.PinSvc, h, p.component("pinsvc")); err != nil {
		return err
	}
	p.closes(p.pinsvc.Close)
	return p.listenLibp2p(p.pinsvc, p.c.API.PinSvc, false)
}

// servePinSvc answers the Pinning Service API, as serveREST does the REST API.
func (p *Daemon) servePinSvc(ctx context.Context) error {
	p.awaitCurrent(ctx)
	return p.pinsvc.Run(ctx)
}

// delegates knows where the nodes of the peers can be dialled.
type delegates struct{ p *Daemon }

func (d delegates) Health() []api.PeerHealth { return d.p.monitor.Health() }

// Delegates are what each peer tells of its node in its metrics; of this peer, what is so now.
func (d delegates) Delegates() map[api.PeerID][]api.Multiaddr {
	out := map[api.PeerID][]api.Multiaddr{}
	for _, m := range d.p.monitor.Latest(monitor.PingMetric) {
		var told monitor.PingValue
		if json.Unmarshal([]byte(m.Value), &told) == nil && len(told.Addresses) > 0 {
			out[m.Peer] = dialable(told.Addresses)
		}
	}
	if id := d.p.ipfsID(); len(id.Addresses) > 0 {
		out[d.p.ids.cluster.ID] = dialable(id.Addresses)
	}
	return out
}

// dialable gives addresses in the order in which a client elsewhere does best to try
// them. Loopback is of use only where there is nothing else: all is on one machine then.
func dialable(addrs []api.Multiaddr) []api.Multiaddr {
	rank := func(a api.Multiaddr) int {
		switch {
		case isLoopback(a):
			return 2
		case manet.IsPrivateAddr(a):
			return 1
		}
		return 0
	}
	sorted := slices.Clone(addrs)
	slices.SortStableFunc(sorted, func(a, b api.Multiaddr) int { return cmp.Compare(rank(a), rank(b)) })
	if i := slices.IndexFunc(sorted, isLoopback); i > 0 {
		sorted = sorted[:i]
	}
	return sorted
}

func isLoopback(a multiaddr.Multiaddr) bool { return manet.IsIPLoopback(a) }
