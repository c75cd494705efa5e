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

// Followers lists the followers connected with the asked peer; on a follower, itself.
func (c *Client) Followers(ctx context.Context) iter.Seq2[api.Follower, error] {
	return list[api.Follower](ctx, c, request{method: http.MethodGet, path: "/followers"})
}
