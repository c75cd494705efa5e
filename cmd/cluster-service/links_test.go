package main

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/pinfold-cluster/pinfold/p2p"
)

// A data host that could not be reached is connected with at the first try after it
// can be: libp2p by itself would wait, the longer the more tries had failed.
func TestLinks_ConnectOnceReachable(t *testing.T) {
	var cut atomic.Bool
	cut.Store(true)
	o := p2p.DataOptions{Listen: []multiaddr.Multiaddr{multiaddr.StringCast("/ip4/127.0.0.1/tcp/0")},
		Dial: func(ctx context.Context, kind, address string) (net.Conn, error) {
			if cut.Load() {
				return nil, errors.New("cut")
			}
			return new(net.Dialer).DialContext(ctx, kind, address)
		}}
	var hosts []*p2p.DataHost
	for range 2 {
		id, err := p2p.NewIdentity()
		if err != nil {
			t.Fatal(err)
		}
		h, err := p2p.NewDataHost(id, &p2p.Cluster{}, p2p.Roster{}, o, quiet)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.Close() })
		if err := h.Listen(); err != nil {
			t.Fatal(err)
		}
		hosts = append(hosts, h)
	}
	l, other := &links{data: hosts[0], log: quiet}, hosts[1]
	info := peer.AddrInfo{ID: other.ID(), Addrs: other.Addrs()}
	for range 3 {
		l.connect(t.Context(), info)
	}
	cut.Store(false)
	l.connect(t.Context(), info)
	if got := l.data.Network().Connectedness(other.ID()); got != network.Connected {
		t.Errorf("it is %s after the cut", got)
	}
}
