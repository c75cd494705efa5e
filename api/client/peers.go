package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// ID tells who the asked peer is.
func (c *Client) ID(ctx context.Context) (api.Peer, error) {
	var p api.Peer
	_, err := c.call(ctx, request{method: http.MethodGet, path: "/id"}, &p)
	return p, err
}

// Version tells the asked peer's version.
func (c *Client) Version(ctx context.Context) (api.Version, error) {
	var v api.Version
	_, err := c.call(ctx, request{method: http.MethodGet, path: "/version"}, &v)
	return v, err
}

// Peers lists the cluster's peers. One that could not be asked has its Error set.
func (c *Client) Peers(ctx context.Context) iter.Seq2[api.Peer, error] {
	return list[api.Peer](ctx, c, request{method: http.MethodGet, path: "/peers"})
}

// RemovePeer removes id from the cluster.
func (c *Client) RemovePeer(ctx context.Context, id api.PeerID) error {
	_, err := c.call(ctx, request{method: http.MethodDelete, path: "/peers/" + id.String()}, nil)
	return err
}

// RevokePeer removes id from the cluster, unless it was removed before, and has the
// cluster go on under a key that it does not know. Unused invitations and all tokens are
// void then.
func (c *Client) RevokePeer(ctx context.Context, id api.PeerID) error {
	q := url.Values{"revoke": {"true"}}
	_, err := c.call(ctx, request{method: http.MethodDelete, path: "/peers/" + id.String(), query: q}, nil)
	return err
}

// Invite returns a token by which one peer may join within ttl; 0 is the server's
// default.
func (c *Client) Invite(ctx context.Context, ttl time.Duration) (string, error) {
	q := url.Values{}
	if ttl != 0 {
		q.Set("ttl", ttl.String())
	}
	var inv api.Invitation
	_, err := c.call(ctx, request{method: http.MethodPost, path: "/peers/invite", query: q}, &inv)
	return inv.Token, err
}

// NewToken makes a token for the user of this Client, good for life; 0 is the server's
// default.
func (c *Client) NewToken(ctx context.Context, life time.Duration) (api.Token, error) {
	q := url.Values{}
	if life != 0 {
		q.Set("ttl", life.String())
	}
	var t api.Token
	_, err := c.call(ctx, request{method: http.MethodPost, path: "/token", query: q}, &t)
	return t, err
}

// RevokeToken revokes the token with that ID on every peer.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	_, err := c.call(ctx, request{method: http.MethodDelete, path: "/token/" + url.PathEscape(id)}, nil)
	return err
}

// Health returns nil where the peer answers.
func (c *Client) Health(ctx context.Context) error {
	_, err := c.call(ctx, request{method: http.MethodGet, path: "/health"}, nil)
	return err
}

// Graph tells who is connected with whom.
func (c *Client) Graph(ctx context.Context) (api.ConnectGraph, error) {
	var g api.ConnectGraph
	_, err := c.call(ctx, request{method: http.MethodGet, path: "/health/graph"}, &g)
	return g, err
}

// Bandwidth tells what the asked peer's protocols have carried.
func (c *Client) Bandwidth(ctx context.Context) (map[string]api.Bandwidth, error) {
	var b map[string]api.Bandwidth
	_, err := c.call(ctx, request{method: http.MethodGet, path: "/health/bandwidth"}, &b)
	return b, err
}

// Alerts lists the metrics that ran out, latest first.
func (c *Client) Alerts(ctx context.Context) ([]api.Alert, error) {
	var a []api.Alert
	_, err := c.call(ctx, request{method: http.MethodGet, path: "/health/alerts"}, &a)
	return a, err
}

// MetricNames lists the names of the metrics heard of.
func (c *Client) MetricNames(ctx context.Context) ([]string, error) {
	var n []string
	_, err := c.call(ctx, request{method: http.MethodGet, path: "/monitor/metrics"}, &n)
	return n, err
}

// Metrics lists the valid metrics of that name, one a peer.
func (c *Client) Metrics(ctx context.Context, name string) ([]api.Metric, error) {
	var m []api.Metric
	_, err := c.call(ctx, request{method: http.MethodGet, path: "/monitor/metrics/" + url.PathEscape(name)}, &m)
	return m, err
}

// GC has unpinned blocks removed, on all peers or on the asked one.
func (c *Client) GC(ctx context.Context, local bool) (api.GlobalRepoGC, error) {
	var gc api.GlobalRepoGC
	_, err := c.call(ctx, request{method: http.MethodPost, path: "/ipfs/gc", query: localQuery(local)}, &gc)
	return gc, err
}

// Repair tells how repair is going, as the leader knows it.
func (c *Client) Repair(ctx context.Context) (api.RepairStatus, error) {
	var s api.RepairStatus
	_, err := c.call(ctx, request{method: http.MethodGet, path: "/repair"}, &s)
	return s, err
}
