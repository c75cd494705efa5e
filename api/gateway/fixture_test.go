package gateway

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded"
	"github.com/pinfold-cluster/pinfold/ipfsconn/ipfsconntest"
)

var quiet = slog.New(slog.DiscardHandler)

// peers are the other peers of the cluster: each may hold anything.
type peers []peer.AddrInfo

func (p peers) Holders(context.Context, api.Cid) []peer.AddrInfo { return p }

// node is an embedded node on a host of its own.
type node struct {
	*embedded.Node
	host host.Host
}

func newNode(t testing.TB, others ...node) node {
	t.Helper()
	h, err := libp2p.New(libp2p.NoTransports, libp2p.Transport(tcp.NewTCPTransport), libp2p.Security(libp2ptls.ID, libp2ptls.New),
		libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableRelay())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	var known peers
	for _, o := range others {
		known = append(known, peer.AddrInfo{ID: o.host.ID(), Addrs: o.host.Addrs()})
	}
	n, err := embedded.New(h, t.TempDir(), embedded.Options{}, known, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return node{n, h}
}

// serve runs a gateway over n that waits long for content, and returns it.
func serve(t testing.TB, n Node, o Options) *Gateway {
	t.Helper()
	return serveFor(t, time.Minute, n, o)
}

func serveFor(t testing.TB, retrieval time.Duration, n Node, o Options) *Gateway {
	t.Helper()
	o.ListenMultiaddress = "/ip4/127.0.0.1/tcp/0"
	g, err := New(o, retrieval, n, quiet)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// client follows no redirects and asks nobody to compress.
var client = &http.Client{
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Transport:     &http.Transport{DisableCompression: true},
}

// response is an answer, read whole.
type response struct {
	*http.Response
	body []byte
}

// ask sends a request. The headers are names and values in turn; Host is the Host header.
func ask(t testing.TB, g *Gateway, method, target string, headers ...string) response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, g.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	path, query, _ := strings.Cut(target, "?")
	req.URL.Opaque, req.URL.RawQuery = path, query // as it stands, not cleaned
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
			continue
		}
		req.Header.Add(headers[i], headers[i+1])
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	return response{res, body}
}

// site is a directory with something of everything.
type site struct {
	tree  ipfsconntest.Tree
	big   []byte                       // content of big.bin
	part  map[string]ipfsconntest.Tree // by the name in the directory
	other []blocks.Block               // beside the directory: CBOR, JSON
	cbor  api.Cid
	json  api.Cid
}

func newSite(t testing.TB) site {
	t.Helper()
	s := site{part: map[string]ipfsconntest.Tree{
		"hello.txt": text(t, "hello\n"),
		"big.bin":   ipfsconntest.File(t, 1, 5, 10_000),
		"sub":       ipfsconntest.Directory(t, map[string]ipfsconntest.Tree{"two words.txt": text(t, "two\n"), "ünï": text(t, "x")}),
		"link":      symlink(t, "hello.txt"),
		"site": ipfsconntest.Directory(t, map[string]ipfsconntest.Tree{
			"index.html": text(t, "<!doctype html><title>index</title>"),
			"404.html":   text(t, "<!doctype html><title>lost</title>"),
			"_redirects": text(t, "/old /new.txt 301\n/app/* /index.html 200\n/gone/* /404.html 404\n"),
			"new.txt":    text(t, "new\n"),
		}),
	}}
	for _, b := range s.part["big.bin"].Blocks[:5] {
		s.big = append(s.big, b.RawData()...)
	}
	s.tree = ipfsconntest.Directory(t, s.part)
	cbor := ipfsconntest.Block(t, cid.DagCBOR, []byte{0xa1, 0x61, 'a', 0x01})
	json := ipfsconntest.Block(t, cid.DagJSON, []byte(`{"a":1}`))
	s.cbor, s.json = api.Cid{Cid: cbor.Cid()}, api.Cid{Cid: json.Cid()}
	s.other = []blocks.Block{cbor, json}
	return s
}

// add puts the site on n.
func (s site) add(t testing.TB, n node) {
	t.Helper()
	ipfsconntest.Add(t, n, s.tree)
	for _, b := range s.other {
		ipfsconntest.Add(t, n, ipfsconntest.Tree{Root: api.Cid{Cid: b.Cid()}, Blocks: []blocks.Block{b}})
	}
}

func (s site) path(below string) string { return "/ipfs/" + s.tree.Root.String() + below }

func text(t testing.TB, content string) ipfsconntest.Tree {
	t.Helper()
	b := ipfsconntest.Block(t, cid.Raw, []byte(content))
	return ipfsconntest.Tree{Root: api.Cid{Cid: b.Cid()}, Blocks: []blocks.Block{b}, Size: uint64(len(content))}
}

func symlink(t testing.TB, target string) ipfsconntest.Tree {
	t.Helper()
	data, err := unixfs.SymlinkData(target)
	if err != nil {
		t.Fatal(err)
	}
	nd := merkledag.NodeWithData(data)
	b := ipfsconntest.Block(t, cid.DagProtobuf, nd.RawData())
	return ipfsconntest.Tree{Root: api.Cid{Cid: b.Cid()}, Blocks: []blocks.Block{b}, Size: uint64(len(b.RawData()))}
}
