package gateway

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/pinfold-cluster/pinfold/ipfsconn/ipfsconntest"
)

// No request is answered with 500, whatever is asked for; each at once.
func TestGateway_BadInput(t *testing.T) {
	s := newSite(t)
	n := newNode(t)
	s.add(t, n)
	md5, err := cid.V1Builder{Codec: cid.Raw, MhType: multihash.MD5}.Sum([]byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	codec := ipfsconntest.Block(t, 0x99999, []byte("x"))
	pb := ipfsconntest.Block(t, cid.DagProtobuf, []byte{0xff, 0xff, 0x01})
	notFS := ipfsconntest.Block(t, cid.DagProtobuf, []byte{0x0a, 0x01, 0x42}) // dag-pb that is not UnixFS
	cbor := ipfsconntest.Block(t, cid.DagCBOR, []byte{0xff, 0xff, 0x01})
	ipfsconntest.Put(t, n, codec, pb, notFS, cbor)
	g := serve(t, n, Options{})
	key := "k51qzi5uqu5dhkdbjdsauuyk2iyq82mzxo1jtjj5e0zrkl6nvnvpxzxs6hjeqe"

	for _, tt := range []struct {
		code    int
		target  string
		headers []string
	}{
		{404, "/", nil}, {404, "/ipfs", nil}, {404, "/ipld/" + s.tree.Root.String(), nil}, {404, "/api/v0/id", nil}, {404, "/favicon.ico", nil},
		{400, "/ipfs/", nil}, {400, "/ipfs/notacid", nil}, {400, "/ipfs/notacid/path", nil}, {400, "/ipfs/Qm", nil}, {400, "/ipfs/b", nil}, {400, "/ipfs/%00", nil},
		{400, "/ipfs/" + md5.String(), nil}, {400, "/ipfs/" + md5.String() + "?format=raw", nil}, {400, "/ipfs/" + md5.String() + "?format=car", nil},

		// Names that lead nowhere.
		{400, "/ipns/", nil}, {400, "/ipns/foo", nil}, {400, "/ipns/foo-bar", nil}, {400, "/ipns/" + s.tree.Root.String(), nil}, {400, "/ipns/foo?format=ipns-record", nil}, {400, "/ipns/foo?format=car", nil},
		{404, "/ipns/" + key, nil}, {404, "/ipns/" + key + "/path", nil}, {404, "/ipns/" + key + "?format=ipns-record", nil}, {404, "/ipns/" + key + "?format=car", nil},
		{404, "/ipns/example.org", nil}, {412, "/ipns/example.org", []string{"Cache-Control", "only-if-cached"}},
		{400, "/", []string{"Host", "foo.ipns.localhost"}}, {404, "/", []string{"Host", key + ".ipns.localhost"}}, {400, "/ipns/" + key + "/path?format=ipns-record", nil},

		// Content that cannot be read.
		{400, "/ipfs/" + codec.Cid().String(), nil}, {400, "/ipfs/" + codec.Cid().String() + "/a", nil}, {400, "/ipfs/" + codec.Cid().String() + "?format=car", nil}, {400, "/ipfs/" + codec.Cid().String() + "?format=tar", nil}, {406, "/ipfs/" + codec.Cid().String() + "?format=dag-json", nil},
		{400, "/ipfs/" + pb.Cid().String(), nil}, {400, "/ipfs/" + pb.Cid().String() + "/a", nil}, {400, "/ipfs/" + pb.Cid().String() + "?format=car", nil}, {400, "/ipfs/" + pb.Cid().String() + "?format=tar", nil}, {400, "/ipfs/" + pb.Cid().String(), []string{"Range", "bytes=0-1"}},
		{400, "/ipfs/" + notFS.Cid().String(), nil}, {404, "/ipfs/" + notFS.Cid().String() + "/a", nil}, {400, "/ipfs/" + notFS.Cid().String() + "?format=tar", nil},
		{400, "/ipfs/" + cbor.Cid().String(), nil}, {400, "/ipfs/" + cbor.Cid().String() + "/a", nil}, {400, "/ipfs/" + cbor.Cid().String() + "?format=car", nil},
		{400, "/ipfs/" + s.cbor.String() + "?format=tar", nil},

		// Formats, ranges, parameters.
		{400, s.path("/hello.txt"), []string{"Accept", "application/vnd.ipld.bogus"}}, {400, s.path("/hello.txt"), []string{"Accept", "application/vnd.ipld.car;;;="}}, {400, s.path("?format=ipns-record"), nil},
		{400, s.path("?format=car&dag-scope=x"), nil}, {400, s.path("?format=car&car-version=2"), nil}, {400, s.path("?format=car&car-order=x"), nil}, {400, s.path("?format=car&car-dups=x"), nil},
		{400, s.path("/big.bin?format=car&entity-bytes=x"), nil}, {400, s.path("/big.bin?format=car&entity-bytes=1:2:3"), nil}, {400, s.path("/big.bin?format=car&entity-bytes=9:1"), nil},
		{400, s.path("/big.bin?format=car&dag-scope=entity&entity-bytes=10:-99999"), nil}, {400, s.path("/big.bin?format=car&dag-scope=entity&entity-bytes=99999999999999999999:*"), nil},
		{400, s.path("/big.bin"), []string{"Range", "bytes=5-1"}}, {400, s.path("/big.bin"), []string{"Range", "bytes=x"}}, {400, s.path("/big.bin"), []string{"Range", "bytes=99999999999999999999-"}}, {416, s.path("/big.bin"), []string{"Range", "bytes=99999-"}},
		{400, "/ipfs/?uri=http%3A%2F%2Fevil.example", nil}, {400, "/ipfs/?uri=%3A%3A", nil},

		// Path tricks: nothing leads out of the content of a subdomain's origin.
		{400, s.path("/../../etc/passwd"), nil}, {400, s.path("/%2e%2e/x"), nil}, {400, s.path("/./x"), nil}, {400, s.path("/a/..%2f..%2fx"), nil}, {400, s.path("/a%00b"), nil}, {404, s.path("/%ff%fe"), nil}, {404, s.path("/a%0d%0aX-Evil:%201"), nil},
		{400, "/..%2f" + s.cbor.String(), []string{"Host", s.part["site"].Root.String() + ".ipfs.localhost"}},
		{400, s.path("/%zz"), nil}, {414, s.path("/" + strings.Repeat("a", 5000)), nil}, {400, s.path(strings.Repeat("/a", 200)), nil},

		// Host tricks.
		{400, s.path(""), []string{"X-Forwarded-Host", "localhost:x@evil.example"}}, {400, s.path(""), []string{"X-Forwarded-Host", "localhost/evil"}}, {400, "/", []string{"Host", ".ipfs.localhost"}}, {400, "/", []string{"Host", "a.b.ipfs.localhost"}},
		{404, "/", []string{"Host", "x.ipld.localhost"}}, {404, "/", []string{"Host", "x.example.org"}},

		{431, s.path(""), []string{"X-Large", strings.Repeat("a", 100<<10)}},
	} {
		start := time.Now()
		res := ask(t, g, "GET", tt.target, tt.headers...)
		if res.StatusCode != tt.code {
			t.Errorf("%.200s %v: %s, want %d: %.200q", tt.target, tt.headers, res.Status, tt.code, res.body)
		}
		if res.Header.Get("X-Evil") != "" || len(res.body) == 0 || len(res.body) > 8<<10 {
			t.Errorf("%.200s: %d bytes, %v", tt.target, len(res.body), res.Header)
		}
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("%.200s took %v", tt.target, took)
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "TRACE", "FROB"} {
		if res := ask(t, g, method, s.path("/hello.txt")); res.StatusCode != 405 || res.Header.Get("Allow") == "" {
			t.Errorf("%s: %s", method, res.Status)
		}
	}
}

// A request whose body never comes is answered at once.
func TestGateway_RefusesBodies(t *testing.T) {
	g := serve(t, newNode(t), Options{})
	for head, want := range map[string]int{
		"GET /ipfs/bafkqaaa HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n":           400,
		"GET /ipfs/bafkqaaa HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n":     400,
		"POST /ipfs/bafkqaaa HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999\r\n\r\n":   405,
		"GET /ipfs/bafkqaaa HTTP/1.1\r\nHost: localhost:80@evil.example\r\n\r\n":           400,
		"GET http://evil.example/ipfs/bafkqaaa HTTP/1.1\r\nHost: h\r\n\r\n":                200,
		"GET /ipfs/bafkqaaa HTTP/1.1\r\nHost: h\r\nX: a\x00b\r\n\r\n":                      400,
		"GET /ipfs/bafkqaaa HTTP/1.1\r\n\r\n":                                              400,
		"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03 is how TLS begins\r\n\r\n\r\n\r\n\r": 400,
	} {
		conn := dial(t, g)
		if _, err := io.WriteString(conn, head); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%.60q: %v", head, err)
		}
		if res.StatusCode != want {
			t.Errorf("%.60q: %s, want %d", head, res.Status, want)
		}
	}
}

func dial(t testing.TB, g *Gateway) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

func TestNew_BadAddress(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:80", "/ip4/127.0.0.1", "/ip4/127.0.0.1/tcp/99999"} {
		if _, err := New(Options{ListenMultiaddress: addr}, time.Second, newNode(t), quiet); err == nil {
			t.Errorf("%s was taken", addr)
		}
	}
}

func TestCheckHost(t *testing.T) {
	for host, ok := range map[string]bool{"localhost": true, "gw.example.org": true, "a-b.c9": true,
		"": false, "Example.org": false, "127.0.0.1": false, "a..b": false, "-a.b": false, "*.example.org": false, "a:80": false, "::1": false, "a/b": false, strings.Repeat("a.", 100) + "b": false} {
		if err := CheckHost(host); (err == nil) != ok {
			t.Errorf("%q: %v", host, err)
		}
	}
}
