// Package gateway is the HTTP gateway of a peer: it serves what the peer's node and the
// other peers hold, as files (http://HOST/ipfs/CID/path and, each in an origin of its
// own, http://CID.ipfs.localhost/path) and in forms that a client can verify (raw
// blocks, CARs, IPNS records). What it does is that of boxo/gateway, by the
// specifications on specs.ipfs.tech/http-gateways; this package puts boxo over the node
// and bounds what a stranger can make it do.
//
// It only reads. What is fetched for a reader is not kept, and nobody outside of the
// cluster is asked: neither other IPFS nodes nor DNS.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/gateway"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
)

const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = time.Minute
	// maxHeaderBytes bounds a request's head; net/http answers 431 above it.
	maxHeaderBytes = 64 << 10
	// shutdownGrace is how long requests in progress may take to end after Run's context
	// has.
	shutdownGrace = 3 * time.Second
)

// Node is what the gateway reads from.
type Node interface {
	// Reader gives blocks: those on the node and, with fetch, those of other peers, which
	// it does not keep.
	Reader(fetch bool) blockservice.BlockService
	// GetName returns the signed record of an IPNS name. The error is NotFound where none
	// is known.
	GetName(id peer.ID) ([]byte, error)
}

// Gateway is the door.
type Gateway struct {
	o        Options
	log      *slog.Logger
	listener net.Listener
	handler  http.Handler
	metrics  *prometheus.Registry
}

// New binds the address of o, which must not be Off, and returns a Gateway there. It
// answers nobody before Run. A request that moves no byte for as long as retrieval ends:
// with 504 where nothing was sent yet.
func New(o Options, retrieval time.Duration, n Node, log *slog.Logger) (*Gateway, error) {
	o = o.WithDefaults()
	g := &Gateway{o: o, log: log, metrics: prometheus.NewRegistry()}
	h, err := g.newHandler(retrieval, n)
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	g.handler = h
	ma, err := multiaddr.NewMultiaddr(o.ListenMultiaddress)
	if err != nil {
		return nil, api.Invalid.Errorf("gateway address %q: %w", o.ListenMultiaddress, err)
	}
	l, err := manet.Listen(ma)
	if err != nil {
		return nil, fmt.Errorf("listen for the gateway: %w", err)
	}
	g.listener = manet.NetListener(l)
	return g, nil
}

// newHandler puts the checks of this package before boxo's handlers.
func (g *Gateway) newHandler(retrieval time.Duration, n Node) (http.Handler, error) {
	backend, err := newBackend(n, !g.o.NoFetch)
	if err != nil {
		return nil, err
	}
	hosts := map[string]*gateway.PublicGateway{}
	for _, h := range append([]string{"localhost"}, g.o.Hosts...) {
		hosts[h] = &gateway.PublicGateway{Paths: []string{"/ipfs", "/ipns"}, UseSubdomains: true, NoDNSLink: true, DeserializedResponses: true}
	}
	c := gateway.Config{
		DeserializedResponses: true,
		NoDNSLink:             true,
		PublicGateways:        hosts,
		RetrievalTimeout:      retrieval,
		MetricsRegistry:       g.metrics,
	}
	content := onlyContent(gateway.NewHandler(c, backend))
	bySubdomain := gateway.NewHostnameHandler(c, backend, content)
	return bound(newSlots(g.o.Requests), check(gateway.NewHeaders(nil).ApplyCors().Wrap(bySubdomain)), g.log), nil
}

// onlyContent answers 404 outside of the two namespaces.
func onlyContent(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/ipfs/") && !strings.HasPrefix(r.URL.Path, "/ipns/") {
			http.Error(w, "this is an IPFS gateway: content is at /ipfs/CID/path", http.StatusNotFound)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// URL is where Run serves.
func (g *Gateway) URL() string { return "http://" + g.listener.Addr().String() }

// Metrics are the gateway's, for Prometheus.
func (g *Gateway) Metrics() prometheus.Gatherer { return g.metrics }

// Run answers requests until ctx ends. Those in progress may then take three seconds.
func (g *Gateway) Run(ctx context.Context) error {
	all := newConns(g.o.Connections)
	srv := &http.Server{
		Handler:           all.mark(g.handler),
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ConnContext:       all.context,
		ConnState:         all.state,
		ErrorLog:          web.ErrorLog(g.log),
	}
	return web.Serve(ctx, srv, shutdownGrace, func() {}, func() error {
		if err := srv.Serve(listener{g.listener}); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve the gateway: %w", err)
		}
		return nil
	})
}

// Close releases the address. Run must have returned, or never have been called.
func (g *Gateway) Close() error {
	if err := g.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
