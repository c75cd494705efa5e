package embedded

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	bsfetcher "github.com/ipfs/boxo/fetcher/impl/blockservice"
	"github.com/ipfs/boxo/gateway"
	"github.com/ipfs/boxo/path/resolver"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/ipfs/go-unixfsnode"
	dagpb "github.com/ipld/go-codec-dagpb"
	prime "github.com/ipld/go-ipld-prime"
	"github.com/ipld/go-ipld-prime/datamodel"
	"github.com/ipld/go-ipld-prime/node/basicnode"
	"github.com/ipld/go-ipld-prime/schema"
	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn"
)

// Run serves the gateway, where there is one, until ctx ends.
func (n *Node) Run(ctx context.Context) error {
	if n.gateway == nil {
		<-ctx.Done()
		return nil
	}
	h, err := n.Gateway()
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := srv.Serve(n.gateway); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve gateway: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer cancel()
		if err := srv.Shutdown(grace); err != nil {
			return srv.Close()
		}
		return nil
	})
	return g.Wait()
}

// GatewayURL is where Run serves the gateway, "" nowhere.
func (n *Node) GatewayURL() string {
	if n.gateway == nil {
		return ""
	}
	return "http://" + n.gateway.Addr().String()
}

// Gateway serves GET and HEAD of /ipfs/CID/path, as files and in the trustless forms.
// What it has to fetch for that it does not keep. It may be called once.
func (n *Node) Gateway() (http.Handler, error) {
	backend, err := gateway.NewBlocksBackend(n.service)
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	return gateway.NewHandler(gateway.Config{
		DeserializedResponses: true,
		NoDNSLink:             true,
		RetrievalTimeout:      n.o.RetrievalTimeout,
		MaxConcurrentRequests: n.o.GatewayRequests,
		MetricsRegistry:       n.metrics,
	}, backend), nil
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
	cfg := bsfetcher.NewFetcherConfig(n.service)
	cfg.PrototypeChooser = dagpb.AddSupportToChooser(func(_ prime.Link, lc prime.LinkContext) (prime.NodePrototype, error) {
		if n, ok := lc.LinkNode.(schema.TypedLinkNode); ok {
			return n.LinkTargetNodePrototype(), nil
		}
		return basicnode.Prototype.Any, nil
	})
	c, rest, err := resolver.NewBasicResolver(cfg.WithReifier(unixfsnode.Reify)).ResolveToLastNode(ctx, parsed)
	if err != nil {
		return api.CidUndef, found(ctx, fmt.Errorf("resolve %s: %w", p, err))
	}
	if len(rest) > 0 {
		return api.CidUndef, api.NotFound.Errorf("resolve %s: %s is inside block %s, not a CID", p, strings.Join(rest, "/"), c)
	}
	return api.Cid{Cid: c}, nil
}

// found gives err its kind where it says that something is not there: NotFound where
// it does not exist or cannot, Unavailable where it did not come in time.
func found(ctx context.Context, err error) error {
	var wrongKind datamodel.ErrWrongKind // a path that goes on where there are no links, such as in a file
	switch {
	case ctx.Err() != nil:
		return api.Unavailable.Errorf("%w", err)
	case ipld.IsNotFound(err), errors.Is(err, &resolver.ErrNoLink{}), errors.As(err, &wrongKind):
		return api.NotFound.Errorf("%w", err)
	}
	return err
}
