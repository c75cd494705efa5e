// Package kubo makes an external Kubo daemon a peer's IPFS node, over its HTTP RPC.
//
// Kubo keeps no leases and no marks, so the connector adds what it can. Collections
// asked for through it wait for no add: they are refused while one is open; those that
// Kubo starts by itself it cannot hold off. Marks of adds are small files in the node's
// MFS, below /pinfold/adds: they live and die with the node's pins. What Kubo has
// fsynced when it answers is up to its own settings.
package kubo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn"
)

// Options tune a Node; the zero value of a field means its default.
type Options struct {
	// NodeMultiaddress is where Kubo's RPC listens, such as /ip4/127.0.0.1/tcp/5001;
	// with /https or /tls at its end it is reached over TLS.
	NodeMultiaddress string `json:"node_multiaddress"`
	// IPFSRequestTimeout bounds a request that has no other bound; 5m.
	IPFSRequestTimeout time.Duration `json:"ipfs_request_timeout"`
	// PinTimeout is for how long a pin waits for the next block before it gives up; 2m.
	PinTimeout time.Duration `json:"pin_timeout"`
	// UnpinTimeout bounds an unpin; 3h.
	UnpinTimeout time.Duration `json:"unpin_timeout"`
	// RepoGCTimeout bounds a garbage collection; 24h.
	RepoGCTimeout time.Duration `json:"repogc_timeout"`
}

// WithDefaults returns o with the defaults for what it leaves out.
func (o Options) WithDefaults() Options {
	o.IPFSRequestTimeout = cmp.Or(o.IPFSRequestTimeout, 5*time.Minute)
	o.PinTimeout = cmp.Or(o.PinTimeout, 2*time.Minute)
	o.UnpinTimeout = cmp.Or(o.UnpinTimeout, 3*time.Hour)
	o.RepoGCTimeout = cmp.Or(o.RepoGCTimeout, 24*time.Hour)
	return o
}

var _ ipfsconn.Connector = (*Node)(nil)

// Node is a Kubo daemon. It keeps the contract of ipfsconn.Connector.
type Node struct {
	o    Options
	log  *slog.Logger
	base string // URL of the RPC, up to /api/v0/
	http *http.Client
	pins listing

	mu         sync.Mutex
	adds       int    // open
	collecting bool   // a collection runs
	granted    uint64 // bytes set aside for adds and not yet used
	collected  chan struct{}
}

// New returns the Kubo daemon at o.NodeMultiaddress. It does not speak to it yet. The
// error is Invalid for an address that cannot be one.
func New(o Options, log *slog.Logger) (*Node, error) {
	o = o.WithDefaults()
	base, err := baseURL(o.NodeMultiaddress)
	if err != nil {
		return nil, err
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy = nil
	t.MaxIdleConnsPerHost = 32
	return &Node{o: o, log: log, base: base, http: &http.Client{Transport: t}}, nil
}

func baseURL(addr string) (string, error) {
	ma, err := multiaddr.NewMultiaddr(addr)
	if err != nil {
		return "", api.Invalid.Errorf("address %q of the IPFS node: %w", addr, err)
	}
	network, hostport, err := manet.DialArgs(ma)
	if err != nil || network != "tcp" && network != "tcp4" && network != "tcp6" {
		return "", api.Invalid.Errorf("address %q of the IPFS node is not one of TCP", addr)
	}
	scheme := "http"
	for _, p := range ma.Protocols() {
		if p.Code == multiaddr.P_TLS || p.Code == multiaddr.P_HTTPS {
			scheme = "https"
		}
	}
	return scheme + "://" + hostport + "/api/v0/", nil
}

// Close closes idle connections.
func (n *Node) Close() error {
	n.http.CloseIdleConnections()
	return nil
}

// ID implements ipfsconn.Connector.
func (n *Node) ID(ctx context.Context) (api.IPFSID, error) {
	ctx, cancel := context.WithTimeout(ctx, n.o.IPFSRequestTimeout)
	defer cancel()
	var id struct {
		ID        string
		Addresses []string
	}
	if err := n.call(ctx, &id, "id", nil); err != nil {
		return api.IPFSID{}, err
	}
	p, err := api.ParsePeerID(id.ID)
	if err != nil {
		return api.IPFSID{}, fmt.Errorf("id: %w", err)
	}
	out := api.IPFSID{ID: p}
	for _, a := range id.Addresses {
		ma, err := multiaddr.NewMultiaddr(a)
		if err != nil {
			n.log.Debug("address of the IPFS node not understood", "address", a, "err", err)
			continue
		}
		out.Addresses = append(out.Addresses, ma)
	}
	return out, nil
}

// Connect implements ipfsconn.Connector.
func (n *Node) Connect(ctx context.Context, p peer.AddrInfo) error {
	ctx, cancel := context.WithTimeout(ctx, n.o.IPFSRequestTimeout)
	defer cancel()
	addrs, err := peer.AddrInfoToP2pAddrs(&p)
	if err != nil {
		return api.Invalid.Errorf("address of %s: %w", p.ID, err)
	}
	args := url.Values{}
	for _, a := range addrs {
		args.Add("arg", a.String())
	}
	if len(addrs) == 0 {
		args.Add("arg", "/p2p/"+p.ID.String())
	}
	return n.call(ctx, nil, "swarm/connect", args)
}

// Block implements ipfsconn.Connector.
func (n *Node) Block(ctx context.Context, c api.Cid) ([]byte, error) {
	body, err := n.post(ctx, "block/get", arg(c), nil)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, maxAnswer))
	if err := errors.Join(err, body.fault()); err != nil {
		return nil, fmt.Errorf("block/get %s: %w", c, err)
	}
	return data, nil
}

// has tells whether the node has a block, without asking others.
func (n *Node) has(ctx context.Context, c api.Cid) (bool, error) {
	args := arg(c)
	args.Set("offline", "true")
	err := n.call(ctx, nil, "block/stat", args)
	if api.KindOf(err) == api.NotFound {
		return false, nil
	}
	return err == nil, err
}

// RepoStat implements ipfsconn.Connector. It is Kubo's word: the disk may hold less.
func (n *Node) RepoStat(ctx context.Context) (api.RepoStat, error) {
	ctx, cancel := context.WithTimeout(ctx, n.o.IPFSRequestTimeout)
	defer cancel()
	var st struct{ RepoSize, StorageMax uint64 }
	if err := n.call(ctx, &st, "repo/stat", url.Values{"size-only": {"true"}}); err != nil {
		return api.RepoStat{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	free := st.StorageMax - min(st.StorageMax, st.RepoSize)
	return api.RepoStat{RepoSize: st.RepoSize, StorageMax: st.StorageMax, Free: free - min(free, n.granted)}, nil
}

// GC implements ipfsconn.Connector. It is refused, as a Conflict, while an add is open.
func (n *Node) GC(ctx context.Context) iter.Seq2[api.RepoGCKey, error] {
	return func(yield func(api.RepoGCKey, error) bool) {
		if err := n.beginGC(); err != nil {
			yield(api.RepoGCKey{}, err)
			return
		}
		defer n.endGC()
		ctx, cancel := context.WithTimeout(ctx, n.o.RepoGCTimeout)
		defer cancel()
		type removed struct {
			Key struct {
				Cid string `json:"/"`
			}
			Error string
		}
		for r, err := range stream[removed](ctx, n, "repo/gc", url.Values{"stream-errors": {"true"}}, nil) {
			key := api.RepoGCKey{Error: r.Error}
			if err == nil && r.Key.Cid != "" {
				key.Key, err = api.ParseCid(r.Key.Cid)
			}
			if !yield(key, err) || err != nil {
				return
			}
		}
	}
}

func (n *Node) beginGC() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.collecting {
		return api.Conflict.Errorf("garbage collection is already running")
	}
	if n.adds > 0 {
		return api.Conflict.Errorf("garbage is not collected while %d adds go on", n.adds)
	}
	n.collecting, n.collected = true, make(chan struct{})
	return nil
}

func (n *Node) endGC() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.collecting = false
	close(n.collected)
}

// Resolve implements ipfsconn.Connector.
func (n *Node) Resolve(ctx context.Context, p string) (api.Cid, error) {
	parsed, err := ipfsconn.ParsePath(p)
	if err != nil {
		return api.CidUndef, err
	}
	ctx, cancel := context.WithTimeout(ctx, n.o.IPFSRequestTimeout)
	defer cancel()
	var out struct {
		Cid struct {
			Cid string `json:"/"`
		}
		RemPath string
	}
	if err := n.call(ctx, &out, "dag/resolve", url.Values{"arg": {parsed.String()}}); err != nil {
		if ctx.Err() != nil {
			return api.CidUndef, api.Unavailable.Errorf("resolve %s: the IPFS node has not found where it leads in time: %w", p, context.Cause(ctx))
		}
		return api.CidUndef, err
	}
	if out.RemPath != "" {
		return api.CidUndef, api.NotFound.Errorf("resolve %s: %s is inside block %s, not a CID", p, out.RemPath, out.Cid.Cid)
	}
	c, err := cid.Decode(out.Cid.Cid)
	if err != nil {
		return api.CidUndef, fmt.Errorf("dag/resolve %s: %w", p, err)
	}
	return api.Cid{Cid: c}, nil
}

func arg(c api.Cid) url.Values { return url.Values{"arg": {c.String()}} }
