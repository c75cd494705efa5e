package p2p

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/libp2p/go-libp2p/x/rate"
	"github.com/multiformats/go-multiaddr"
)

// Limits by IP address. libp2p's own are for the open internet, where many peers of
// one address are an attack; here they are containers behind one.
const (
	connsPerAddress = 128
	newConnsRate    = 10 // a second, of one address
	connsPerSite    = 4  // times as much of the 65,536 addresses of an IPv6 /48
)

// tcpOnly leaves out what this package does not listen on.
func tcpOnly(listen []multiaddr.Multiaddr, log *slog.Logger) ([]multiaddr.Multiaddr, error) {
	listen = slices.DeleteFunc(slices.Clone(listen), func(a multiaddr.Multiaddr) bool {
		if _, err := a.ValueForProtocol(multiaddr.P_TCP); err == nil {
			return false
		}
		log.Warn("not listening: only TCP is spoken", "address", a)
		return true
	})
	if len(listen) == 0 {
		return nil, errors.New("no TCP address to listen on")
	}
	return listen, nil
}

// common are the options that both hosts share: TCP and yamux, and none of libp2p's
// helpers for home networks: no relay, no hole punching, no guesses at one's own
// address from what others see. Neither listens before what answers is in place. Up to
// guests peers stay of which isMember says no. Address is that of a connected peer.
func common(id Identity, announce, noAnnounce []multiaddr.Multiaddr, cm ConnectionManager, rm ResourceManager, dial Dialer, guests int, isMember func(peer.ID) bool, address func(peer.ID) string, mux network.Multiplexer) ([]libp2p.Option, error) {
	conns, err := connmgr.NewConnManager(cm.LowWater, cm.HighWater, connmgr.WithGracePeriod(cm.GracePeriod))
	if err != nil {
		return nil, fmt.Errorf("connection manager: %w", err)
	}
	resources, err := rm.manager(guests, isMember, address)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("resource manager: %w", err), conns.Close())
	}
	// With SO_REUSEPORT two peers set to one port would share it in silence.
	sockets := []tcp.Option{tcp.DisableReuseport()}
	if dial != nil {
		sockets = append(sockets, tcp.WithDialerForAddr(func(multiaddr.Multiaddr) (tcp.ContextDialer, error) { return dial, nil }))
	}
	return []libp2p.Option{
		libp2p.Identity(id.Key),
		libp2p.NoListenAddrs,
		libp2p.AddrsFactory(func(own []multiaddr.Multiaddr) []multiaddr.Multiaddr {
			if len(announce) > 0 {
				own = announce
			}
			return slices.DeleteFunc(slices.Clone(own), func(a multiaddr.Multiaddr) bool {
				return slices.ContainsFunc(noAnnounce, a.Equal)
			})
		}),
		libp2p.Transport(newArrivals().tcp(sockets...)),
		libp2p.Muxer(yamux.ID, arrivalsMuxer{mux}),
		libp2p.ConnectionManager(conns),
		libp2p.ResourceManager(resources),
		libp2p.UserAgent("pinfold"),
		libp2p.DisableRelay(),
		libp2p.PrometheusRegisterer(Figures),
		libp2p.DisableIdentifyAddressDiscovery(),
		libp2p.ForceReachabilityPublic(),
	}, nil
}

// muxer is libp2p's yamux, but one that sees within 20 s that a machine has gone
// without a word.
func muxer() *yamux.Transport {
	t := *yamux.DefaultTransport
	t.KeepAliveInterval = 10 * time.Second
	return &t
}

// Connections with those that are no members may be many, and what keeps them would cost
// more than what they carry. On the cluster host they have messages now and then; on the
// data host there may be nothing for hours.
const (
	strangersAlive     = time.Minute
	strangersDataAlive = 2 * time.Minute
)

// strangersMuxer is for those: it looks whether the other is there after alive, sees that it is
// not 10 s later, and measures seldom how long the way is.
func strangersMuxer(alive time.Duration) *yamux.Transport {
	t := *yamux.DefaultTransport
	t.KeepAliveInterval = alive
	t.MeasureRTTInterval = 10 * time.Minute
	return &t
}

func (o ResourceManager) manager(guests int, isMember func(peer.ID) bool, address func(peer.ID) string) (network.ResourceManager, error) {
	if o.Enabled != nil && !*o.Enabled {
		return &network.NullResourceManager{}, nil
	}
	limits := rcmgr.DefaultLimits
	// A peer may use its streams for one protocol: an add is a stream, and so is a call.
	limits.ProtocolPeerBaseLimit.StreamsInbound = limits.PeerBaseLimit.StreamsInbound
	limits.ProtocolPeerBaseLimit.StreamsOutbound = limits.PeerBaseLimit.StreamsOutbound
	limits.ProtocolPeerBaseLimit.Streams = limits.PeerBaseLimit.Streams
	streams, strangers := makeRoom(&limits, guests)
	whole := rcmgr.ResourceLimits{}
	if o.MemoryLimitBytes > 0 {
		whole.Memory = rcmgr.LimitVal64(o.MemoryLimitBytes + strangers)
	}
	if o.FileDescriptorsLimit > 0 {
		whole.FD = rcmgr.LimitVal(o.FileDescriptorsLimit)
	}
	scaled := rcmgr.PartialLimitConfig{System: whole}.Build(limits.AutoScale())
	rm, err := rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(scaled),
		rcmgr.WithMetricsDisabled(),
		rcmgr.WithLimitPerSubnet(
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: connsPerAddress}},
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 64, ConnCount: connsPerAddress}, {PrefixLength: 48, ConnCount: connsPerSite * connsPerAddress}}),
		rcmgr.WithConnRateLimiters(connRate()))
	if err != nil {
		return nil, err
	}
	return newApart(rm.(manager), streams, isMember, address), nil
}

func connRate() *rate.Limiter {
	each := rate.Limit{RPS: newConnsRate, Burst: connsPerAddress}
	site := rate.Limit{RPS: connsPerSite * newConnsRate, Burst: connsPerSite * connsPerAddress}
	unlimited := rate.Limit{}
	return &rate.Limiter{
		NetworkPrefixLimits: []rate.PrefixLimit{
			{Prefix: netip.MustParsePrefix("127.0.0.0/8"), Limit: unlimited},
			{Prefix: netip.MustParsePrefix("::1/128"), Limit: unlimited},
		},
		SubnetRateLimiter: rate.SubnetLimiter{
			IPv4SubnetLimits: []rate.SubnetLimit{{PrefixLength: 32, Limit: each}},
			IPv6SubnetLimits: []rate.SubnetLimit{{PrefixLength: 64, Limit: each}, {PrefixLength: 48, Limit: site}},
		},
	}
}
