package main

import (
	"context"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/config"
	"github.com/pinfold-cluster/pinfold/p2p"
)

// linkMark is revoked like a token when the first follow link is made: so all full peers
// know, for as long as tokens are known, that the swarm's secret is out and makes no
// member any more.
const linkMark = "follow-link"

// Link makes a link for followers: from then on knowing the swarm's secret lets nobody
// join. The error is Conflict where it does by this peer's settings.
func (f followers) Link(ctx context.Context) (api.FollowLink, error) {
	p := f.p
	switch {
	case p.c.Followers.Disable:
		return api.FollowLink{}, api.Conflict.Errorf("this peer serves no followers: followers.disable is true")
	case p.c.Cluster.JoinPolicy == config.JoinBySecret:
		return api.FollowLink{}, api.Conflict.Errorf("a follow link holds the swarm's secret, and here that alone makes a member: set cluster.join_policy to %q on every peer first", config.JoinByToken)
	}
	if !p.members.linkMade() {
		if _, err := p.tokens.Revoke(ctx, linkMark); err != nil {
			return api.FollowLink{}, err
		}
	}
	addresses, err := p.members.addresses()
	if err != nil {
		return api.FollowLink{}, err
	}
	c := p.cluster.get()
	link := p2p.Link{Name: c.Name, Key: c.Key, Incarnation: c.Incarnation, Secret: p.c.Cluster.Host.Secret,
		Addresses: addresses, Hold: p.c.Followers.Hold, Renewals: c.Renewals}
	text, err := link.Encode()
	return api.FollowLink{Link: text, Document: link}, err
}

// linkMade tells whether a follow link was made, on whatever peer.
func (m *membership) linkMade() bool {
	mark, err := api.RevokedToken(linkMark)
	return err == nil && m.pins.Used(mark)
}
