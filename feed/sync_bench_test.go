package feed

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

const benchProtocol protocol.ID = "/bench/pages"

func benchHost(t testing.TB) host.Host {
	t.Helper()
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"))
	check(t, err)
	t.Cleanup(func() { check(t, h.Close()) })
	return h
}

// overStreams serves tree's pages on one host and gets them on another, each page on a
// stream of its own.
func overStreams(t testing.TB, tree *Tree) GetPage {
	t.Helper()
	from, to := benchHost(t), benchHost(t)
	from.SetStreamHandler(benchProtocol, func(s network.Stream) {
		defer s.Close()
		var h Hash
		if _, err := io.ReadFull(s, h[:]); err != nil {
			return
		}
		if page, err := tree.Page(context.Background(), h); err == nil {
			s.Write(page)
		}
	})
	check(t, to.Connect(t.Context(), peer.AddrInfo{ID: from.ID(), Addrs: from.Addrs()}))
	return func(ctx context.Context, h Hash) ([]byte, error) {
		s, err := to.NewStream(ctx, from.ID(), benchProtocol)
		if err != nil {
			return nil, err
		}
		defer s.Close()
		if _, err := s.Write(h[:]); err != nil {
			return nil, err
		}
		return io.ReadAll(io.LimitReader(s, MaxPage+1))
	}
}

// BenchmarkSync is a first copy of 100,000 pins between two libp2p hosts (TCP) on this
// machine, with the server's building of the tree.
func BenchmarkSync(b *testing.B) {
	const pins = 100_000
	from := pageState(b)
	fillPages(b, from, 0, pins)
	check(b, from.Sync())
	var build, fetch, whole time.Duration
	for b.Loop() {
		begin := time.Now()
		tree := buildTree(b, from)
		build += time.Since(begin)

		b.StopTimer()
		get := overStreams(b, tree)
		alone := time.Now() // what fetching takes by itself
		for _, n := range tree.levels[0] {
			if _, err := get(b.Context(), n.hash); err != nil {
				b.Fatal(err)
			}
		}
		fetch += time.Since(alone)
		to := pageState(b)
		b.StartTimer()

		check(b, Sync(b.Context(), to, tree.Root(), newServers([]GetPage{get}, nil).page))
		whole += time.Since(begin)
		b.StopTimer()
		sameRows(b, from, to)
		bytes := 0
		for _, n := range tree.levels[0] {
			bytes += n.size
		}
		b.ReportMetric(float64(len(tree.where)), "pages")
		b.ReportMetric(float64(bytes)/pins, "B/pin")
		b.StartTimer()
	}
	b.ReportMetric(build.Seconds()/float64(b.N), "s-build")
	b.ReportMetric(fetch.Seconds()/float64(b.N), "s-fetch-alone")
}

// BenchmarkSync_LittleChange is a copy of 100,000 pins of which 100 changed.
func BenchmarkSync_LittleChange(b *testing.B) {
	from, to := pageState(b), pageState(b)
	fillPages(b, from, 0, 100_000)
	tree := buildTree(b, from)
	check(b, Sync(b.Context(), to, tree.Root(), tree.Page))
	n := 0
	for b.Loop() {
		b.StopTimer()
		for range 100 {
			n++
			change(b, from, nil, pageCid(n))
		}
		tree := buildTree(b, from)
		b.StartTimer()
		check(b, Sync(b.Context(), to, tree.Root(), tree.Page))
	}
}
