package client

import (
	"context"
	"iter"
	"net/http"

	"github.com/pinfold-cluster/pinfold/api"
)

// FollowLink makes a link with which any number of peers can follow the cluster.
func (c *Client) FollowLink(ctx context.Context) (api.FollowLink, error) {
	var l api.FollowLink
	_, err := c.call(ctx, request{method: http.MethodPost, path: "/followers/link"}, &l)
	return l, err
}

// Followers lists the followers that peers know, or with local the asked one; on a
// follower, itself. They come by the bytes of their IDs.
func (c *Client) Followers(ctx context.Context, local bool) iter.Seq2[api.Follower, error] {
	return list[api.Follower](ctx, c, request{method: http.MethodGet, path: "/followers", query: localQuery(local)})
}

// Follower tells of one follower. The error is NotFound where no peer knows it.
func (c *Client) Follower(ctx context.Context, id api.PeerID, local bool) (api.Follower, error) {
	var f api.Follower
	_, err := c.call(ctx, request{method: http.MethodGet, path: "/followers/" + id.String(), query: localQuery(local)}, &f)
	return f, err
}
