package p2p

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/gostream"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/multiformats/go-multiaddr"
)

// HTTPProtocol carries HTTP/1.1, a connection in a stream, as IPFS Cluster does.
const HTTPProtocol = "/libp2p-http"

// ListenClients is ListenOpen for clients, whose streams may be long: who knows the
// secret gets in, members or not.
func (h *Host) ListenClients(proto string) (net.Listener, error) {
	h.openTo(protocol.ID(proto))
	return h.listen(proto, func(ctx context.Context, s network.Stream) (network.Stream, error) {
		s, err := h.admitAny(ctx, s)
		if guest, ok := s.(*strangerStream); ok {
			guest.timer.Stop()
		}
		return s, err
	})
}

// ListenDoor returns a listener for HTTP of anybody on a host of its own, which ends
// with it.
func ListenDoor(id Identity, listen []multiaddr.Multiaddr) (net.Listener, error) {
	h, err := libp2p.New(
		libp2p.Identity(id.Key),
		libp2p.ListenAddrs(listen...),
		libp2p.Transport(tcp.NewTCPTransport, tcp.DisableReuseport()),
		libp2p.Security(libp2ptls.ID, libp2ptls.New),
		libp2p.Security(noise.ID, noise.New),
		libp2p.Muxer(yamux.ID, muxer()),
		libp2p.UserAgent("pinfold"),
		libp2p.DisableRelay(),
		libp2p.DisableMetrics(),
		libp2p.DisableIdentifyAddressDiscovery(),
		libp2p.ForceReachabilityPublic())
	if err != nil {
		return nil, fmt.Errorf("listen for HTTP over libp2p: %w", err)
	}
	l, err := gostream.Listen(h, HTTPProtocol)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen for HTTP over libp2p: %w", err), h.Close())
	}
	return door{listener{l}, h}, nil
}

// door is a listener with a host.
type door struct {
	listener
	host host.Host
}

func (d door) Close() error { return errors.Join(d.listener.Close(), d.host.Close()) }
