package main

import (
	"context"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pinfold-cluster/pinfold/feed"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded"
	"github.com/pinfold-cluster/pinfold/p2p"
)

// guests is how many followers may stay connected with this peer.
func (p *Daemon) guests() int {
	if p.c.Followers.Disable {
		return 0
	}
	return p.c.Followers.MaxConnections
}

// openPublisher makes this peer's part in the feed that followers read.
func (p *Daemon) openPublisher() {
	if p.guests() == 0 {
		return
	}
	o := feed.PublisherOptions{
		Name:      p.c.Cluster.PeerName,
		Version:   version,
		Data:      func() peer.AddrInfo { return peer.AddrInfo{ID: p.ids.data.ID, Addrs: p.data.Addrs()} },
		Leads:     p.leads,
		InTouch:   func() bool { _, ok := p.cons.Leader(); return ok },
		Removed:   p.state.Removed,
		Met:       func(f feed.Peer) { p.admitting.meet(f); p.audience.met(f) },
		Coverage:  func() ([]byte, bool) { return p.audience.coverage(time.Now()) },
		Bandwidth: p.c.Followers.MaxBandwidth,
	}
	p.publisher = feed.NewPublisher(feed.Over(p.host), p.verifier, p.sign, p.state, o, p.component("feed"))
	p.audience = newAudience(p.publisher, p.admitting.has, p.c.Followers.AskInterval, p.component("followers"))
	var own ownNode
	if node, ok := p.node.(*embedded.Node); ok {
		own = embeddedNode{node, ownBlocks{node}}
	} else {
		p.audience.least = feed.Said
		p.log.Info("followers are not challenged by this peer: its node is a Kubo daemon")
	}
	p.challenger = newChallenger(p.audience, p.state, own, followers{p}.fromHolders, p.c.Followers.ChallengeInterval,
		p.c.Cluster.Pinner.WithDefaults().Grace)
}

func (p *Daemon) leads() bool {
	leader, ok := p.cons.Leader()
	return ok && leader == p.ids.cluster.ID
}

// sign makes a statement of this member, for followers.
func (p *Daemon) sign(kind string, body []byte) ([]byte, error) {
	return p2p.SignStatement(p.ids.cluster, p.cluster.get().Certificate, kind, body)
}

// publish runs the publisher, where there is one, until ctx ends.
func (p *Daemon) publish(ctx context.Context) error {
	if p.publisher == nil {
		<-ctx.Done()
		return nil
	}
	return p.publisher.Run(ctx)
}

// attend asks followers, where they are served, until ctx ends.
func (p *Daemon) attend(ctx context.Context) error {
	if p.audience == nil {
		<-ctx.Done()
		return nil
	}
	return p.audience.run(ctx)
}

// challenge has followers prove copies, where they are served, until ctx ends.
func (p *Daemon) challenge(ctx context.Context) error {
	if p.challenger == nil {
		<-ctx.Done()
		return nil
	}
	return p.challenger.run(ctx)
}
