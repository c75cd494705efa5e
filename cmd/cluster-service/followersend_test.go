package main

import (
	"context"
	"io"
	"os"
	"testing"
	"time"

	"github.com/ipfs/boxo/ipld/merkledag"
	blocks "github.com/ipfs/go-block-format"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/pnet"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/config"
	"github.com/pinfold-cluster/pinfold/transfer"
)

// runOpenFollower runs a follower of p in this process, until the test ends.
func runOpenFollower(t *testing.T, p *testPeer) *Follower {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	base, err := os.MkdirTemp("", "follow") // a socket's path is short
	must(err)
	t.Cleanup(func() { os.RemoveAll(base) })
	d, err := followedIn(base, "archive")
	must(err)
	environ := []string{"CLUSTER_PEERNAME=volunteer", "CLUSTER_LISTENMULTIADDRESS=/ip4/127.0.0.1/tcp/0", "CLUSTER_EMBEDDED_SWARMLISTENMULTIADDRESS=/ip4/127.0.0.1/tcp/0"}
	c, _, err := config.FollowerFromEnv(environ)
	must(err)
	must(d.init(t.Context(), p.followLink(), c, io.Discard))
	c, _, err = config.LoadFollower(string(d.directory), nil)
	must(err)
	f, err := openFollower(t.Context(), d, c, quiet)
	must(err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx, io.Discard) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// What a follower takes is the members' to send, and nobody else opens more on it than
// what followers ask each other.
func TestFollower_TakesBlocksFromMembersAlone(t *testing.T) {
	p := startCluster(t, 1)[0]
	f := runOpenFollower(t, p)
	data := peer.AddrInfo{ID: f.data.ID(), Addrs: f.data.Addrs()}
	block := func(text string) (blocks.Block, api.Cid) {
		n := merkledag.NewRawNode([]byte(text))
		return n, api.Cid{Cid: n.Cid()}
	}
	sent, root := block("from a member")
	send := func(ctx context.Context) error {
		if err := p.daemon.data.Connect(ctx, data); err != nil {
			return err
		}
		add, err := transfer.NewClient(p.daemon.data).Send(ctx, data.ID, 1<<10)
		if err != nil {
			return err
		}
		if err := add.Put(ctx, []blocks.Block{sent}); err != nil {
			return err
		}
		return add.Commit(ctx, root)
	}
	eventually(t, patience, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		return send(ctx)
	})
	if b, err := f.node.Reader(false).GetBlock(t.Context(), sent.Cid()); err != nil || string(b.RawData()) != "from a member" {
		t.Errorf("what a member sent is not there: %v", err)
	}

	other := stranger(t, libp2p.Security(libp2ptls.ID, libp2ptls.New))
	f.admitted.admit(admission{other.ID(), other.ID(), "127.0.0.1"}, false) // as followers are by each other
	if err := other.Connect(t.Context(), data); err != nil {
		t.Fatal(err)
	}
	foreign, _ := block("from a follower")
	add, err := transfer.NewClient(other).Send(t.Context(), data.ID, 1<<10)
	if err == nil {
		err = add.Put(t.Context(), []blocks.Block{foreign})
		_ = add.Abort()
	}
	if err == nil {
		t.Error("another follower may send blocks")
	}
	if ok, err := f.node.Reader(false).Blockstore().Has(t.Context(), foreign.Cid()); ok || err != nil {
		t.Errorf("what another follower sent is there: %t %v", ok, err)
	}
	t.Run("cluster host", func(t *testing.T) {
		h := stranger(t, libp2p.PrivateNetwork(pnet.PSK(f.link.Secret)), libp2p.Security(noise.ID, noise.New))
		opensOnly(t, h, f.host.Addrs(), "/pinfold/feed/1", map[protocol.ID]bool{
			"/ipfs/id/1.0.0":         true,
			"/ipfs/id/push/1.0.0":    true,
			"/ipfs/ping/1.0.0":       true,
			"/pinfold/certificate/1": true,
			"/pinfold/renewals/1":    true,
			"/pinfold/feed/1":        true, // bounded, and each question has its rule
			"/pinfold/feed/gossip/1": true, // what members sign
		})
	})
	t.Run("data host", func(t *testing.T) {
		addrs, err := peer.AddrInfoToP2pAddrs(&data)
		if err != nil {
			t.Fatal(err)
		}
		opensOnly(t, other, addrs, "/ipfs/bitswap/1.2.0", map[protocol.ID]bool{
			"/ipfs/id/1.0.0":         true,
			"/ipfs/id/push/1.0.0":    true,
			"/ipfs/ping/1.0.0":       true,
			"/pinfold/certificate/1": true,
			"/pinfold/add/1":         true, // with a refusal, as above
			"/ipfs/bitswap":          true, // it was let in to fetch
			"/ipfs/bitswap/1.0.0":    true,
			"/ipfs/bitswap/1.1.0":    true,
			"/ipfs/bitswap/1.2.0":    true,
		})
	})
}
