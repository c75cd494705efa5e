package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/pnet"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/multiformats/go-multiaddr"
)

// Every protocol that a full peer speaks stands here, with whether one may open it who
// knows what every follower does, and no more: the swarm secret and where the peer is.
var (
	clusterProtocols = map[protocol.ID]bool{
		"/ipfs/id/1.0.0":          true,  // libp2p's own, as the next two
		"/ipfs/id/push/1.0.0":     true,  //
		"/ipfs/ping/1.0.0":        true,  //
		"/pinfold/certificate/1":  true,  // who is a member shows it
		"/pinfold/renewals/1":     true,  // of the cluster's key: signed by it
		"/pinfold/rpc/1":          true,  // each call has its rule: see package rpc
		"/libp2p-http":            true,  // the REST API, with its credentials, else to read
		"/pinfold/feed/1":         true,  // bounded, and each question has its rule
		"/pinfold/feed/gossip/1":  true,  // what members sign
		"/pinfold/raft/1":         false, //
		"/meshsub/1.0.0":          false, // metrics, as the rest
		"/meshsub/1.1.0":          false, //
		"/meshsub/1.2.0":          false, //
		"/meshsub/1.3.0":          false, //
		"/floodsub/1.0.0":         false, //
		"/pinfold/data/members/1": false, //
	}
	dataProtocols = map[protocol.ID]bool{
		"/ipfs/id/1.0.0":          true,
		"/ipfs/id/push/1.0.0":     true,
		"/ipfs/ping/1.0.0":        true,
		"/pinfold/certificate/1":  true,
		"/pinfold/add/1":          false,
		"/pinfold/data/members/1": false, // to those admitted
		"/ipfs/bitswap":           false,
		"/ipfs/bitswap/1.0.0":     false,
		"/ipfs/bitswap/1.1.0":     false,
		"/ipfs/bitswap/1.2.0":     false,
	}
)

func TestStrangers_OpenWhatIsForThem(t *testing.T) {
	d := startCluster(t, 1)[0].daemon
	t.Run("cluster host", func(t *testing.T) {
		h := stranger(t, libp2p.PrivateNetwork(pnet.PSK(d.c.Cluster.Host.Secret)), libp2p.Security(noise.ID, noise.New))
		opensOnly(t, h, d.host.Addrs(), "/pinfold/raft/1", clusterProtocols)
	})
	t.Run("data host", func(t *testing.T) {
		addrs, err := peer.AddrInfoToP2pAddrs(&peer.AddrInfo{ID: d.data.ID(), Addrs: d.data.Addrs()})
		if err != nil {
			t.Fatal(err)
		}
		opensOnly(t, stranger(t, libp2p.Security(libp2ptls.ID, libp2ptls.New)), addrs, "/ipfs/bitswap/1.2.0", dataProtocols)
	})
}

// stranger is a host of nobody's.
func stranger(t *testing.T, o ...libp2p.Option) host.Host {
	t.Helper()
	h, err := libp2p.New(append(o, libp2p.NoListenAddrs, libp2p.Transport(tcp.NewTCPTransport), libp2p.DisableRelay())...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func opensOnly(t *testing.T, h host.Host, addrs []multiaddr.Multiaddr, among protocol.ID, table map[protocol.ID]bool) {
	t.Helper()
	infos, err := peer.AddrInfosFromP2pAddrs(addrs...)
	if err != nil {
		t.Fatal(err)
	}
	id := infos[0].ID
	connect := func() {
		t.Helper()
		eventually(t, patience, func() error { return h.Connect(t.Context(), infos[0]) })
	}
	var spoken []protocol.ID
	eventually(t, patience, func() error { // it may send us away before it has told
		connect()
		if spoken, err = h.Peerstore().GetProtocols(id); err != nil || !slices.Contains(spoken, among) {
			return fmt.Errorf("the peer tells that it speaks %v, want %s among them: %v", spoken, among, err)
		}
		return nil
	})
	for _, p := range spoken {
		open, known := table[p]
		if !known {
			t.Errorf("%s is not in the table", p)
			continue
		}
		if open {
			continue
		}
		connect() // it may have sent us away
		if err := closed(h, id, p); err != nil {
			t.Errorf("%s: %v", p, err)
		}
	}
}

// closed returns an error unless the stream is closed before it gives anything.
func closed(h host.Host, id peer.ID, p protocol.ID) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := h.NewStream(ctx, id, p)
	if err != nil {
		return nil
	}
	defer s.Reset()
	if err := s.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil // it is closed
	}
	if _, err := s.Write([]byte{4, 1, 2, 3, 4}); err != nil {
		return nil
	}
	switch n, err := s.Read(make([]byte, 1)); {
	case n > 0:
		return errors.New("it answers a stranger")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("it stays open to a stranger")
	}
	return nil
}
