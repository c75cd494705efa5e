package p2p

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// holdSilent keeps as many connections as it may from addresses of this machine, on which
// nothing is said, until the test ends: when one has ended, another comes after the pause.
// It returns once some have not been let in.
func holdSilent(t *testing.T, to multiaddr.Multiaddr, pause time.Duration, from ...string) {
	t.Helper()
	network, addr, err := manet.DialArgs(to)
	if err != nil {
		t.Fatal(err)
	}
	var ended atomic.Int64
	hold := func(ctx context.Context, ip string) {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
		c, err := dialer.DialContext(ctx, network, addr)
		if err != nil {
			return
		}
		defer c.Close()
		defer context.AfterFunc(ctx, func() { c.Close() })()
		_, _ = io.Copy(io.Discard, c) // until it is ended
		ended.Add(1)
	}
	for _, ip := range from {
		for range connsPerAddress {
			run(t, func(ctx context.Context) error {
				for ctx.Err() == nil {
					hold(ctx, ip)
					select {
					case <-ctx.Done():
					case <-time.After(pause):
					}
				}
				return nil
			})
		}
	}
	eventually(t, "they hold all that they get", func() bool { return ended.Load() > 0 })
}

// Who says nothing after connecting needs no secret, and may do so from many addresses.
// Members are reached all the same.
func TestArrivals_SilentOnesKeepNobodyOut(t *testing.T) {
	var addresses []string
	for i := range 8 {
		addresses = append(addresses, fmt.Sprintf("127.0.0.%d", 2+i))
	}
	t.Run("cluster host", func(t *testing.T) {
		c := newTestCluster(t)
		server := c.member()
		holdSilent(t, server.h.Addrs()[0], time.Second, addresses...)
		for range 5 {
			connect(t, c.member(), server)
		}
	})
	t.Run("data host", func(t *testing.T) {
		c := newTestCluster(t)
		server, _ := c.data(DataOptions{})
		run(t, server.Run)
		holdSilent(t, server.Addrs()[0], time.Second, addresses...)
		for range 5 {
			d, _ := c.data(DataOptions{})
			if err := ask(t, d, server); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("at their own address", func(t *testing.T) {
		c := newTestCluster(t)
		server, member := c.member(), c.member()
		// Some 75 a second: an address that is not of the same machine is let have ten.
		holdSilent(t, server.h.Addrs()[0], 10*time.Second, "127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5", "127.0.0.6")
		member.AddKnown(info(server))
		run(t, member.Run)
		eventually(t, "the member gets in", func() bool { return len(member.Connected()) > 0 })
	})
}
