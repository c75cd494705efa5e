package client

import (
	"context"
	"fmt"
	"net"
	"net/http"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	p2ppeer "github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/pnet"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/gostream"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/multiformats/go-multiaddr"

	"github.com/pinfold-cluster/pinfold/api"
)

// httpProtocol carries HTTP/1.1, a connection in a stream.
const httpProtocol = "/libp2p-http"

// overLibp2p makes tr dial the peer of m over libp2p, from an identity made for this
// Client: the peer's is proven, and all is encrypted. The caller closes the host.
func overLibp2p(m multiaddr.Multiaddr, secret []byte, tr *http.Transport) (base string, h host.Host, err error) {
	info, err := p2ppeer.AddrInfoFromP2pAddr(m)
	if err == nil && len(info.Addrs) == 0 {
		err = fmt.Errorf("want an address before /p2p")
	}
	if err != nil {
		return "", nil, api.Invalid.Errorf("address %q: %w", m, err)
	}
	opts := []libp2p.Option{
		libp2p.NoListenAddrs,
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
		libp2p.Security(noise.ID, noise.New),
		libp2p.UserAgent("pinfold"),
		libp2p.DisableRelay(),
		libp2p.DisableMetrics(),
	}
	if len(secret) == 0 {
		opts = append(opts, libp2p.Security(libp2ptls.ID, libp2ptls.New))
	} else {
		if len(secret) != 32 {
			return "", nil, api.Invalid.Errorf("the secret has %d bytes, not 32", len(secret))
		}
		opts = append(opts, libp2p.PrivateNetwork(pnet.PSK(secret)))
	}
	if h, err = libp2p.New(opts...); err != nil {
		return "", nil, fmt.Errorf("address %q: %w", m, err)
	}
	tr.Proxy, tr.TLSClientConfig = nil, nil
	tr.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		err := h.Connect(ctx, *info)
		if err == nil {
			var c net.Conn
			if c, err = gostream.Dial(ctx, h, info.ID, httpProtocol); err == nil {
				return c, nil
			}
		}
		return nil, &net.OpError{Op: "dial", Net: "libp2p", Err: err} // what tells that nothing was sent
	}
	return "http://" + info.ID.String(), h, nil
}
