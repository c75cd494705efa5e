package embedded

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ipfs/boxo/blockservice"
	bsfetcher "github.com/ipfs/boxo/fetcher/impl/blockservice"
	"github.com/ipfs/boxo/path/resolver"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/ipfs/go-unixfsnode"
	dagpb "github.com/ipld/go-codec-dagpb"
	prime "github.com/ipld/go-ipld-prime"
	"github.com/ipld/go-ipld-prime/datamodel"
	"github.com/ipld/go-ipld-prime/node/basicnode"
	"github.com/ipld/go-ipld-prime/schema"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn"
)

// Reader gives blocks to readers, such as the HTTP gateway: those on the node and, with
// fetch, those of other peers, which it does not keep.
func (n *Node) Reader(fetch bool) blockservice.BlockService {
	if fetch {
		return n.service
	}
	return n.here
}

// Block implements ipfsconn.Connector. A block of another peer is not kept.
func (n *Node) Block(ctx context.Context, c api.Cid) ([]byte, error) {
	if err := n.use.begin(); err != nil {
		return nil, err
	}
	defer n.use.end()
	b, err := n.service.GetBlock(ctx, c.Cid)
	if err != nil {
		return nil, found(ctx, fmt.Errorf("get block %s: %w", c, err))
	}
	return b.RawData(), nil
}

// Resolve implements ipfsconn.Connector.
func (n *Node) Resolve(ctx context.Context, p string) (api.Cid, error) {
	if err := n.use.begin(); err != nil {
		return api.CidUndef, err
	}
	defer n.use.end()
	parsed, err := ipfsconn.ParsePath(p)
	if err != nil {
		return api.CidUndef, err
	}
	fixed, err := n.withoutNames(parsed)
	if err != nil {
		return api.CidUndef, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, n.o.RetrievalTimeout, errNotRetrieved)
	defer cancel()
	cfg := bsfetcher.NewFetcherConfig(n.service)
	cfg.PrototypeChooser = dagpb.AddSupportToChooser(func(_ prime.Link, lc prime.LinkContext) (prime.NodePrototype, error) {
		if n, ok := lc.LinkNode.(schema.TypedLinkNode); ok {
			return n.LinkTargetNodePrototype(), nil
		}
		return basicnode.Prototype.Any, nil
	})
	c, rest, err := resolver.NewBasicResolver(cfg.WithReifier(unixfsnode.Reify)).ResolveToLastNode(ctx, fixed)
	if err != nil {
		return api.CidUndef, found(ctx, fmt.Errorf("resolve %s: %w", p, err))
	}
	if len(rest) > 0 {
		return api.CidUndef, api.NotFound.Errorf("resolve %s: %s is inside block %s, not a CID", p, strings.Join(rest, "/"), c)
	}
	return api.Cid{Cid: c}, nil
}

// errNotRetrieved is the cause of the end of a wait of Options.RetrievalTimeout.
var errNotRetrieved = errors.New("no peer of the cluster gave the content in time")

// found gives err its kind where it says that something is not there: NotFound where
// it does not exist or cannot, Unavailable where it did not come in time.
func found(ctx context.Context, err error) error {
	var wrongKind datamodel.ErrWrongKind // a path that goes on where there are no links, such as in a file
	switch {
	case errors.Is(context.Cause(ctx), errNotRetrieved):
		return api.Unavailable.Errorf("%w: %w", err, errNotRetrieved)
	case ctx.Err() != nil:
		return api.Unavailable.Errorf("%w", err)
	case ipld.IsNotFound(err), errors.Is(err, &resolver.ErrNoLink{}), errors.As(err, &wrongKind):
		return api.NotFound.Errorf("%w", err)
	}
	return err
}
