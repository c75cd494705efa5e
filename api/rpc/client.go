package rpc

import (
	"context"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	dialTimeout = 10 * time.Second
	clientIdle  = 90 * time.Second
	idlePerPeer = 16
	// callsPerPeer are made at once to one peer; others wait. libp2p lets a peer open 64
	// streams of one protocol.
	callsPerPeer = 48
)

// Dialer opens a stream of protocol to a peer.
type Dialer interface {
	Dial(ctx context.Context, p api.PeerID, protocol string) (net.Conn, error)
}

// Client calls other peers. Every call takes as long as its context allows. Errors
// have the kind that the other peer gave them; where it gave no answer they are
// Unavailable if the request was not sent, Unknown if it may have been, and Unsupported
// if the other speaks another version of the calls.
type Client struct{ http *http.Client }

// NewClient returns a client. The caller closes it.
func NewClient(d Dialer) *Client {
	return &Client{http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			host, _, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			p, err := api.ParsePeerID(host)
			if err != nil {
				return nil, err
			}
			ctx, cancel := context.WithTimeout(ctx, dialTimeout)
			defer cancel()
			return d.Dial(ctx, p, api.RPCProtocol)
		},
		MaxIdleConnsPerHost:    idlePerPeer,
		MaxConnsPerHost:        callsPerPeer,
		IdleConnTimeout:        clientIdle,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true,
	}}}
}

// Close ends the streams that no call uses.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// Identify asks a peer what it is.
func (c *Client) Identify(ctx context.Context, to api.PeerID) (api.Peer, error) {
	return invoke(ctx, c, to, identify, struct{}{}, maxMessage)
}

// Join asks a member to let a peer in: this one, unless req names another.
func (c *Client) Join(ctx context.Context, to api.PeerID, req api.JoinRequest) (api.JoinAnswer, error) {
	return invoke(ctx, c, to, join, req, maxMessage)
}

// Standing asks a member whether this peer was removed. Whether the other is a member is
// the caller's to check.
func (c *Client) Standing(ctx context.Context, to api.PeerID) (api.Standing, error) {
	return invoke(ctx, c, to, standing, struct{}{}, maxMessage)
}

// RemovePeer asks the leader to remove a member, and returns the log index of that.
func (c *Client) RemovePeer(ctx context.Context, to, removed api.PeerID) (uint64, error) {
	res, err := invoke(ctx, c, to, removePeer, removed, maxMessage)
	return res.Index, err
}

// RevokePeer is RemovePeer, and renews the cluster's key.
func (c *Client) RevokePeer(ctx context.Context, to, removed api.PeerID) (uint64, error) {
	res, err := invoke(ctx, c, to, revokePeer, removed, maxMessage)
	return res.Index, err
}

// Revoke asks the leader to revoke the token with an ID, and returns the log index of
// that.
func (c *Client) Revoke(ctx context.Context, to api.PeerID, id string) (uint64, error) {
	res, err := invoke(ctx, c, to, revoke, tokenID{id}, maxMessage)
	return res.Index, err
}

// Links asks a peer whom it is connected with.
func (c *Client) Links(ctx context.Context, to api.PeerID) (api.PeerLinks, error) {
	return invoke(ctx, c, to, links, struct{}{}, maxMessage)
}

// RepoStat asks a peer for the room on its node.
func (c *Client) RepoStat(ctx context.Context, to api.PeerID) (api.RepoStat, error) {
	return invoke(ctx, c, to, repoStat, struct{}{}, maxMessage)
}

// RepoGC has a peer's node collect garbage, which may take long.
func (c *Client) RepoGC(ctx context.Context, to api.PeerID) (api.RepoGC, error) {
	return invoke(ctx, c, to, repoGC, struct{}{}, maxGCAnswer)
}

// Commit hands a batch of requests to the leader.
func (c *Client) Commit(ctx context.Context, to api.PeerID, b api.Batch) (api.Committed, error) {
	return invoke(ctx, c, to, commit, b, maxMessage)
}

// Repair asks the leader how repair is going.
func (c *Client) Repair(ctx context.Context, to api.PeerID) (api.RepairStatus, error) {
	return invoke(ctx, c, to, repair, struct{}{}, maxMessage)
}

// ReadIndex asks the leader for the log index that a linearizable read waits for.
func (c *Client) ReadIndex(ctx context.Context, to api.PeerID) (uint64, error) {
	res, err := invoke(ctx, c, to, readIndex, struct{}{}, maxMessage)
	return res.Index, err
}

// Status asks a peer how far along the pin of cid is on it.
func (c *Client) Status(ctx context.Context, to api.PeerID, cid api.Cid) (api.PinInfo, error) {
	return invoke(ctx, c, to, status, cid, maxMessage)
}

// Statuses asks a peer for a page of statuses.
func (c *Client) Statuses(ctx context.Context, to api.PeerID, q api.StatusQuery) (api.StatusPage, error) {
	return invoke(ctx, c, to, statuses, q, maxMessage)
}

// Recover has a peer try the pin of cid again.
func (c *Client) Recover(ctx context.Context, to api.PeerID, cid api.Cid) (api.PinInfo, error) {
	return invoke(ctx, c, to, recoverPin, cid, maxMessage)
}

// RecoverAll has a peer try those pins of a page of statuses again that need it.
func (c *Client) RecoverAll(ctx context.Context, to api.PeerID, q api.StatusQuery) (api.StatusPage, error) {
	return invoke(ctx, c, to, recoverAll, q, maxMessage)
}

// News asks a peer what became of its pin operations, and waits some seconds for that.
func (c *Client) News(ctx context.Context, to api.PeerID, q api.NewsQuery) (api.NewsPage, error) {
	return invoke(ctx, c, to, news, q, maxMessage)
}

// Holds asks a peer which of the DAGs are whole on its node; the answer is in order.
func (c *Client) Holds(ctx context.Context, to api.PeerID, cids []api.Cid) ([]bool, error) {
	res, err := invoke(ctx, c, to, holds, cids, maxMessage)
	if err == nil && len(res) != len(cids) {
		return nil, api.Internal.Errorf("call %s of peer %s: asked about %d, answered about %d", holds, to, len(cids), len(res))
	}
	return res, err
}

// Followers asks a peer for followers that it knows.
func (c *Client) Followers(ctx context.Context, to api.PeerID, q api.FollowerQuery) ([]api.Follower, error) {
	return invoke(ctx, c, to, followers, q, maxMessage)
}

// Copies asks a peer what the followers connected with it say they hold of the CIDs.
func (c *Client) Copies(ctx context.Context, to api.PeerID, cids []api.Cid) ([]api.PinInfo, error) {
	return invoke(ctx, c, to, copies, cids, maxMessage)
}

// Proven has a peer's followers prove copies; the answer is in order.
func (c *Client) Proven(ctx context.Context, to api.PeerID, wanted []api.CopyQuery) ([][]api.PeerID, error) {
	res, err := invoke(ctx, c, to, proven, wanted, maxMessage)
	if err == nil && len(res) != len(wanted) {
		return nil, api.Internal.Errorf("call %s of peer %s: asked about %d, answered about %d", proven, to, len(wanted), len(res))
	}
	return res, err
}

// Questions asks a peer for a question about each of the DAGs, to be put to a follower;
// the answer is in order, with none for what it does not have whole.
func (c *Client) Questions(ctx context.Context, to api.PeerID, cids []api.Cid) ([]api.Question, error) {
	res, err := invoke(ctx, c, to, questions, cids, maxMessage)
	if err == nil && len(res) != len(cids) {
		return nil, api.Internal.Errorf("call %s of peer %s: asked about %d, answered about %d", questions, to, len(cids), len(res))
	}
	return res, err
}

// Claims tells a peer what this one knows of what followers claim.
func (c *Client) Claims(ctx context.Context, to api.PeerID, news api.ClaimNews) (api.ClaimsHeard, error) {
	return invoke(ctx, c, to, claims, news, maxMessage)
}

// invoke makes a call whose answer has at most limit bytes.
func invoke[Req, Res any](ctx context.Context, c *Client, to api.PeerID, p proc[Req, Res], req Req, limit int) (Res, error) {
	var none Res
	// Encoded here, as connect sends an empty request where it cannot encode one.
	message, err := codec{}.Marshal(req)
	if err != nil {
		return none, api.Internal.Errorf("call %s of peer %s: %w", p, to, err)
	}
	if len(message) > maxMessage {
		return none, api.TooLarge.Errorf("call %s of peer %s: a request of %d bytes is too large", p, to, len(message))
	}
	// Until its header is written a request cannot have been answered: a part of one
	// reaches no handler.
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }})
	cc := connect.NewClient[encoded, Res](c.http, "http://"+to.String()+string(p), connect.WithCodec(codec{long: limit > maxMessage}),
		connect.WithReadMaxBytes(limit), connect.WithAcceptCompression("gzip", nil, nil))
	res, err := cc.CallUnary(ctx, connect.NewRequest((*encoded)(&message)))
	if err != nil {
		return none, fromWire(to, string(p), err, sent.Load())
	}
	return *res.Msg, nil
}
