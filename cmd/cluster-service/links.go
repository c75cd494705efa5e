package main

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/p2p"
	"github.com/pinfold-cluster/pinfold/state"
)

// links keeps the data host connected with those of the other members, and tells which
// of them hold a CID. Bitswap asks only connected peers.
type links struct {
	self api.PeerID
	data *p2p.DataHost
	pins *state.State
	log  *slog.Logger
}

const (
	linkPeriod  = 2 * time.Second
	linkTimeout = 10 * time.Second
	linksAtOnce = 32
)

// run keeps connecting until ctx ends.
func (l *links) run(ctx context.Context) error {
	tick := time.NewTicker(linkPeriod)
	defer tick.Stop()
	for {
		var dials errgroup.Group // one that cannot be reached holds up no other
		dials.SetLimit(linksAtOnce)
		for _, info := range l.others(nil) {
			dials.Go(func() error { l.connect(ctx, info); return nil })
		}
		_ = dials.Wait()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (l *links) connect(ctx context.Context, info peer.AddrInfo) {
	if l.data.Network().Connectedness(info.ID) == network.Connected {
		return
	}
	// Where it listens now is what its record says now: forget older addresses.
	l.data.Peerstore().ClearAddrs(info.ID)
	l.data.Peerstore().AddAddrs(info.ID, info.Addrs, peerstore.PermanentAddrTTL)
	// Nor for how long it could not be reached: libp2p would not dial it for up to 5 min.
	if sw, ok := l.data.Network().(*swarm.Swarm); ok {
		sw.Backoff().Clear(info.ID)
	}
	ctx, cancel := context.WithTimeout(ctx, linkTimeout)
	defer cancel()
	if err := l.data.Connect(ctx, info); err != nil {
		l.log.Debug("data host not reached", "peer", info.ID, "err", err)
	}
}

// others are the data hosts of the other members, or of those of them in only.
func (l *links) others(only []api.PeerID) []peer.AddrInfo {
	members, err := l.pins.Members()
	if err != nil {
		l.log.Error("members cannot be read", "err", err)
		return nil
	}
	out := make([]peer.AddrInfo, 0, len(members))
	for _, m := range members {
		if m.ID == l.self || (only != nil && !slices.Contains(only, m.ID)) {
			continue
		}
		out = append(out, peer.AddrInfo{ID: m.DataID, Addrs: m.DataAddresses})
	}
	return out
}

// Holders are the data hosts of the members that are to hold c. For a CID that is not
// in the pinset itself, such as a block inside a DAG, it is all members.
func (l *links) Holders(ctx context.Context, c api.Cid) []peer.AddrInfo {
	p, err := l.pins.Get(ctx, c)
	if err != nil || p.Everywhere() {
		return l.others(nil)
	}
	return l.others(append(slices.Clone(p.Allocations), p.Leaving...))
}
