package main

import (
	"context"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	version = "0.1.0"
	// peerTimeout bounds how long one peer may take to say who it is.
	peerTimeout = 15 * time.Second
)

// peers tells who the peers of the cluster are, this one and the others.
type peers struct {
	*membership
	ipfs    func(context.Context) (api.IPFSID, error)
	gateway string // URL of this peer's gateway, "" without one
}

// Self tells who this peer is.
func (p *peers) Self(ctx context.Context) (api.Peer, error) {
	self := api.Peer{ID: p.ids.cluster.ID, Addresses: p.host.Addrs(), Version: version, RPCProtocolVersion: api.RPCProtocol,
		PeerName: p.c.Cluster.PeerName, Gateway: p.gateway, Role: p.cons.Role(p.ids.cluster.ID)}
	d := p.pins.Digest()
	self.Index, self.Digest = d.Index, d.String() // not Applied, which may be ahead by now
	members, err := p.pins.Members()
	if err != nil {
		return self, err
	}
	for _, m := range members {
		self.ClusterPeers = append(self.ClusterPeers, m.ID)
		if m.ID != self.ID {
			self.ClusterPeersAddresses = append(self.ClusterPeersAddresses, withPeer(m)...)
		}
	}
	slices.Sort(self.ClusterPeers)
	if self.IPFS, err = p.ipfs(ctx); err != nil {
		self.IPFS.Error = err.Error()
	}
	return self, nil
}

// Peers yields this peer and the others as they answer. One that does not is there
// with its Error.
func (p *peers) Peers(ctx context.Context) iter.Seq2[api.Peer, error] {
	return func(yield func(api.Peer, error) bool) {
		members, err := p.pins.Members()
		if err != nil {
			yield(api.Peer{}, err)
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		answers := make(chan api.Peer)
		var asked sync.WaitGroup
		defer asked.Wait()
		defer cancel()
		for _, m := range members {
			asked.Go(func() {
				select {
				case answers <- p.ask(ctx, m):
				case <-ctx.Done():
				}
			})
		}
		for range members {
			select {
			case a := <-answers:
				if !yield(a, nil) {
					return
				}
			case <-ctx.Done():
				yield(api.Peer{}, ctx.Err())
				return
			}
		}
	}
}

func (p *peers) ask(ctx context.Context, m api.Member) api.Peer {
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	var a api.Peer
	var err error
	if m.ID == p.ids.cluster.ID {
		a, err = p.Self(ctx)
	} else if err = p.host.Check(ctx, m.ID); err == nil { // strangers are told who a peer is too
		a, err = p.calls.Identify(ctx, m.ID)
	}
	if err != nil {
		return api.Peer{ID: m.ID, PeerName: m.Name, Error: err.Error()}
	}
	return a
}

// Peer tells who one peer is.
func (p *peers) Peer(ctx context.Context, id api.PeerID) (api.Peer, error) {
	members, err := p.pins.Members()
	if err != nil {
		return api.Peer{}, err
	}
	i := slices.IndexFunc(members, func(m api.Member) bool { return m.ID == id })
	if i < 0 {
		return api.Peer{}, api.NotFound.Errorf("%s is not a peer of this cluster", id)
	}
	return p.ask(ctx, members[i]), nil
}

// Remove takes a peer out of the cluster, by the log index that it returns; with revoke
// the cluster's key is renewed.
func (p *peers) Remove(ctx context.Context, id api.PeerID, revoke bool) (uint64, error) {
	return p.remove(ctx, id, revoke)
}

// Invite makes a token.
func (p *peers) Invite(_ context.Context, ttl time.Duration) (string, error) { return p.invite(ttl) }
