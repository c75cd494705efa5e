package gateway

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/ipld/go-car/v2"

	"github.com/pinfold-cluster/pinfold/ipfsconn/ipfsconntest"
)

const immutable = "public, max-age=29030400, immutable"

// conforms is one case of the specifications on specs.ipfs.tech/http-gateways. Headers
// that are "" must be absent.
type conforms struct {
	method, target string // target below the site where it begins with a slash
	headers        []string
	code           int
	body           string // "": any
	want           map[string]string
}

func (c conforms) check(t *testing.T, g *Gateway, s site) {
	t.Helper()
	target := c.target
	if !strings.HasPrefix(target, "!") {
		target = s.path(target)
	}
	if c.method == "" {
		c.method = http.MethodGet
	}
	res := ask(t, g, c.method, strings.TrimPrefix(target, "!"), c.headers...)
	if res.StatusCode != c.code {
		t.Fatalf("%s, want %d: %.200q", res.Status, c.code, res.body)
	}
	if c.body != "" && string(res.body) != c.body {
		t.Fatalf("body %.200q, want %.200q", res.body, c.body)
	}
	for name, want := range c.want {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func (s site) cases() map[string]conforms {
	root, hello, big, page := s.tree.Root.String(), s.part["hello.txt"].Root.String(), s.part["big.bin"].Root.String(), s.part["site"].Root.String()
	origin := page + ".ipfs.localhost"
	return map[string]conforms{
		"file": {target: "/hello.txt", code: 200, body: "hello\n", want: map[string]string{"Content-Type": "text/plain; charset=utf-8", "Content-Length": "6",
			"Cache-Control": immutable, "Etag": `"` + hello + `"`, "X-Ipfs-Path": s.path("/hello.txt"), "X-Ipfs-Roots": root + "," + hello,
			"Access-Control-Allow-Origin": "*", "Last-Modified": ""}},
		"file of several blocks":    {target: "/big.bin", code: 200, body: string(s.big)},
		"name with a space":         {target: "/sub/two%20words.txt", code: 200, body: "two\n"},
		"name in UTF-8":             {target: "/sub/%C3%BCn%C3%AF", code: 200, body: "x"},
		"HEAD":                      {method: "HEAD", target: "/big.bin", code: 200, want: map[string]string{"Content-Length": "50000", "Etag": `"` + big + `"`, "Cache-Control": immutable}},
		"HEAD of what is not there": {method: "HEAD", target: "/none", code: 404},
		"OPTIONS":                   {method: "OPTIONS", target: "/hello.txt", code: 200, want: map[string]string{"Access-Control-Allow-Methods": "GET"}},
		"not changed":               {target: "/hello.txt", headers: []string{"If-None-Match", `"` + hello + `"`}, code: 304, want: map[string]string{"Etag": `"` + hello + `"`, "Cache-Control": immutable}},
		"not changed, one of them":  {target: "/hello.txt", headers: []string{"If-None-Match", `"x", W/"` + hello + `"`}, code: 304},
		"changed":                   {target: "/hello.txt", headers: []string{"If-None-Match", `"x"`}, code: 200},
		"filename":                  {target: "/hello.txt?filename=a%22b.html", code: 200, want: map[string]string{"Content-Disposition": `inline; filename="a%22b.html"; filename*=UTF-8''a%22b.html`}},
		"download":                  {target: "/hello.txt?filename=a&download=true", code: 200, want: map[string]string{"Content-Disposition": `attachment; filename="a"; filename*=UTF-8''a`}},
		"not there":                 {target: "/none", code: 404},
		"below a file":              {target: "/hello.txt/x", code: 404},
		"identity CID":              {target: "!/ipfs/bafkqablimvwgy3y", code: 200, body: "hello"},
		"symbolic link":             {target: "/link", code: 200, body: "hello.txt", want: map[string]string{"Content-Type": "inode/symlink"}},

		"range":                   {target: "/big.bin", headers: []string{"Range", "bytes=9990-20009"}, code: 206, body: string(s.big[9990:20010]), want: map[string]string{"Content-Range": "bytes 9990-20009/50000", "Content-Length": "10020"}},
		"range to the end":        {target: "/big.bin", headers: []string{"Range", "bytes=49990-"}, code: 206, body: string(s.big[49990:])},
		"range of the last bytes": {target: "/big.bin", headers: []string{"Range", "bytes=-10"}, code: 206, body: string(s.big[49990:])},
		"range of more than all":  {target: "/big.bin", headers: []string{"Range", "bytes=-99999"}, code: 206, body: string(s.big), want: map[string]string{"Content-Range": "bytes 0-49999/50000"}},
		"range over the end":      {target: "/big.bin", headers: []string{"Range", "bytes=49990-99999"}, code: 206, body: string(s.big[49990:])},
		"range behind the end":    {target: "/big.bin", headers: []string{"Range", "bytes=50000-"}, code: 416, want: map[string]string{"Content-Range": "bytes */50000"}},
		"range of nothing":        {target: "/big.bin", headers: []string{"Range", "bytes=-0"}, code: 416},
		"range in a strange unit": {target: "/hello.txt", headers: []string{"Range", "items=0-1"}, code: 200, body: "hello\n"},
		"range of a block":        {target: "/hello.txt?format=raw", headers: []string{"Range", "bytes=1-2"}, code: 206, body: "el"},

		"directory":                  {target: "/sub", code: 301, want: map[string]string{"Location": s.path("/sub/")}},
		"directory, query kept":      {target: "/sub?a=b", code: 301, want: map[string]string{"Location": s.path("/sub/?a=b")}},
		"index.html":                 {target: "/site/", code: 200, body: "<!doctype html><title>index</title>", want: map[string]string{"Content-Type": "text/html", "Cache-Control": immutable}},
		"_redirects not on a path":   {target: "/site/old", code: 404},
		"superfluous /ipfs":          {target: "!/ipfs/ipfs/" + root, code: 301, want: map[string]string{"Location": "/ipfs/" + root}},
		"protocol handler":           {target: "!/ipfs/?uri=ipfs%3A%2F%2F" + root + "%2Fhello.txt", code: 301, want: map[string]string{"Location": s.path("/hello.txt")}},
		"service worker of the root": {target: "", headers: []string{"Service-Worker", "script"}, code: 400},

		"only if cached, and it is":  {target: "/hello.txt", headers: []string{"Cache-Control", "only-if-cached"}, code: 200, body: "hello\n"},
		"only if cached, and is not": {target: "!/ipfs/bafkreibghldxlevdd5iryzhtwvs637erxescddbrnh24tgc6fl2j2zfr6u", headers: []string{"Cache-Control", "only-if-cached"}, code: 412},

		"raw block": {target: "/hello.txt?format=raw", code: 200, body: "hello\n", want: map[string]string{"Content-Type": "application/vnd.ipld.raw", "X-Content-Type-Options": "nosniff",
			"Etag": `"` + hello + `.raw"`, "Content-Disposition": `attachment; filename="` + hello + `.bin"; filename*=UTF-8''` + hello + `.bin`, "Cache-Control": immutable}},
		"raw block by Accept":      {target: "/hello.txt", headers: []string{"Accept", "application/vnd.ipld.raw"}, code: 200, body: "hello\n", want: map[string]string{"Content-Location": s.path("/hello.txt?format=raw")}},
		"raw block of a file":      {target: "/big.bin?format=raw", code: 200, body: string(s.block("big.bin"))},
		"format before Accept":     {target: "/hello.txt?format=raw", headers: []string{"Accept", "application/vnd.ipld.car"}, code: 200, want: map[string]string{"Content-Type": "application/vnd.ipld.raw"}},
		"raw block, not changed":   {target: "/hello.txt?format=raw", headers: []string{"If-None-Match", `"` + hello + `.raw"`}, code: 304},
		"DAG-CBOR":                 {target: "!/ipfs/" + s.cbor.String(), code: 200, body: "\xa1aa\x01", want: map[string]string{"Content-Type": "application/vnd.ipld.dag-cbor"}},
		"DAG-JSON":                 {target: "!/ipfs/" + s.json.String(), code: 200, body: `{"a":1}`},
		"DAG-JSON as JSON":         {target: "!/ipfs/" + s.json.String() + "?format=json", code: 200, body: `{"a":1}`},
		"CBOR as JSON":             {target: "!/ipfs/" + s.cbor.String() + "?format=dag-json", code: 406},
		"UnixFS as JSON":           {target: "/hello.txt?format=dag-json", code: 406},
		"inside CBOR":              {target: "!/ipfs/" + s.cbor.String() + "/a", code: 501},
		"not inside CBOR":          {target: "!/ipfs/" + s.cbor.String() + "/b", code: 404},
		"CAR, headers":             {method: "GET", target: "/big.bin?format=car", code: 200, want: map[string]string{"Content-Type": "application/vnd.ipld.car; version=1; order=dfs; dups=n", "Accept-Ranges": "none", "X-Content-Type-Options": "nosniff", "Cache-Control": immutable}},
		"CAR of a path to nowhere": {target: "/none?format=car", code: 200},

		"to the subdomain":        {target: "/hello.txt?a=b", headers: []string{"Host", "localhost:8080"}, code: 301, want: map[string]string{"Location": "http://" + root + ".ipfs.localhost:8080/hello.txt?a=b"}},
		"to the subdomain, https": {target: "", headers: []string{"Host", "localhost", "X-Forwarded-Proto", "https"}, code: 301, want: map[string]string{"Location": "https://" + root + ".ipfs.localhost/"}},
		"a host of ours":          {target: "/hello.txt", headers: []string{"Host", "gw.example.org"}, code: 301, want: map[string]string{"Location": "http://" + root + ".ipfs.gw.example.org/hello.txt"}},
		"a host behind a proxy":   {target: "/hello.txt", headers: []string{"X-Forwarded-Host", "gw.example.org"}, code: 301, want: map[string]string{"Location": "http://" + root + ".ipfs.gw.example.org/hello.txt"}},
		"another host is a path":  {target: "/hello.txt", headers: []string{"Host", "other.example.org"}, code: 200, body: "hello\n"},
		"subdomain":               {target: "!/", headers: []string{"Host", origin}, code: 200, body: "<!doctype html><title>index</title>"},
		"subdomain, with a port":  {target: "!/new.txt", headers: []string{"Host", origin + ":8080"}, code: 200, body: "new\n"},
		"subdomain of a host":     {target: "!/new.txt", headers: []string{"Host", page + ".ipfs.gw.example.org"}, code: 200, body: "new\n"},
		"subdomain, raw":          {target: "!/new.txt?format=raw", headers: []string{"Host", origin}, code: 200, body: "new\n"},
		"subdomain, no CID":       {target: "!/", headers: []string{"Host", "none.ipfs.localhost"}, code: 400},
		"_redirects, 301":         {target: "!/old", headers: []string{"Host", origin}, code: 301, want: map[string]string{"Location": "/new.txt"}},
		"_redirects, 200":         {target: "!/app/x", headers: []string{"Host", origin}, code: 200, body: "<!doctype html><title>index</title>"},
		"_redirects, 404":         {target: "!/gone/x", headers: []string{"Host", origin}, code: 404, body: "<!doctype html><title>lost</title>"},
	}
}

// block is the root block of an entry.
func (s site) block(name string) []byte {
	blocks := s.part[name].Blocks
	return blocks[len(blocks)-1].RawData()
}

// The specifications hold whether the content is here or on another node, and what was
// fetched for it is not kept.
func TestGateway_Conforms(t *testing.T) {
	s := newSite(t)
	holder := newNode(t)
	s.add(t, holder)
	here := newNode(t)
	s.add(t, here)
	for where, n := range map[string]node{"here": here, "on another node": newNode(t, holder)} {
		t.Run(where, func(t *testing.T) {
			before, err := n.RepoStat(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for name, c := range s.cases() {
				t.Run(name, func(t *testing.T) {
					g := serve(t, n, Options{Hosts: []string{"gw.example.org"}})
					if where != "here" && c.code == 200 && slices.Contains(c.headers, "only-if-cached") {
						c.code, c.body = 412, "" // unless another case has fetched it
						if res := ask(t, g, "GET", s.path("/hello.txt"), c.headers...); res.StatusCode == 200 {
							return
						}
					}
					c.check(t, g, s)
				})
			}
			if after, err := n.RepoStat(t.Context()); err != nil || after.RepoSize != before.RepoSize {
				t.Errorf("readers left %d bytes on the disk, %v", after.RepoSize-before.RepoSize, err)
			}
		})
	}
}

func TestGateway_DirectoryListing(t *testing.T) {
	s := newSite(t)
	n := newNode(t)
	s.add(t, n)
	g := serve(t, n, Options{})
	res := ask(t, g, "GET", s.path("/"))
	etag := res.Header.Get("Etag")
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/html" || !strings.HasPrefix(etag, `"DirIndex-`) {
		t.Fatalf("%s, %v", res.Status, res.Header)
	}
	for name := range s.part {
		if link := `href="` + s.path("/"+name) + `"`; !bytes.Contains(res.body, []byte(link)) {
			t.Errorf("no %s", link)
		}
	}
	if res := ask(t, g, "GET", s.path("/"), "If-None-Match", etag); res.StatusCode != 304 {
		t.Errorf("not changed: %s", res.Status)
	}
}

// readCAR returns the root of a CAR and its blocks in order, each checked by its hash.
func readCAR(t *testing.T, data []byte) (root cid.Cid, blocks []cid.Cid) {
	t.Helper()
	r, err := car.NewBlockReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if r.Version != 1 || len(r.Roots) != 1 {
		t.Fatalf("version %d, roots %v", r.Version, r.Roots)
	}
	for {
		b, err := r.Next()
		if err == io.EOF {
			return r.Roots[0], blocks
		}
		if err != nil {
			t.Fatal(err)
		}
		blocks = append(blocks, b.Cid())
	}
}

func TestGateway_CAR(t *testing.T) {
	s := newSite(t)
	n := newNode(t)
	s.add(t, n)
	g := serve(t, n, Options{})
	ids := func(tree ipfsconntest.Tree) (all []cid.Cid) { // the root first, as in the order of a depth-first walk
		for _, b := range tree.Blocks[:len(tree.Blocks)-1] {
			all = append(all, b.Cid())
		}
		return append([]cid.Cid{tree.Root.Cid}, all...)
	}
	dir, big := s.tree.Root.Cid, ids(s.part["big.bin"])
	below := func(cs ...cid.Cid) []cid.Cid { return append([]cid.Cid{dir}, cs...) }
	for name, tt := range map[string]struct {
		query  string
		accept string
		want   []cid.Cid
	}{
		"all":              {"/big.bin?format=car", "", below(big...)},
		"all, by Accept":   {"/big.bin", "application/vnd.ipld.car; version=1; order=dfs; dups=n", below(big...)},
		"block":            {"/big.bin?format=car&dag-scope=block", "", below(big[0])},
		"entity":           {"/big.bin?format=car&dag-scope=entity", "", below(big...)},
		"directory":        {"/sub?format=car&dag-scope=entity", "", below(s.part["sub"].Root.Cid)},
		"first bytes":      {"/big.bin?format=car&dag-scope=entity&entity-bytes=0:9999", "", below(big[0], big[1])},
		"bytes within":     {"/big.bin?format=car&dag-scope=entity&entity-bytes=15000:25000", "", below(big[0], big[2], big[3])},
		"last bytes":       {"/big.bin?format=car&dag-scope=entity&entity-bytes=-1:*", "", below(big[0], big[5])},
		"up to before end": {"/big.bin?format=car&dag-scope=entity&entity-bytes=40000:-1", "", below(big[0], big[5])},
	} {
		t.Run(name, func(t *testing.T) {
			var headers []string
			if tt.accept != "" {
				headers = []string{"Accept", tt.accept}
			}
			res := ask(t, g, "GET", s.path(tt.query), headers...)
			if res.StatusCode != 200 {
				t.Fatalf("%s: %.200q", res.Status, res.body)
			}
			root, got := readCAR(t, res.body)
			if last := tt.want[1]; root != last || !slices.Equal(got, tt.want) {
				t.Fatalf("root %s, blocks %v, want %s and %v", root, got, last, tt.want)
			}
		})
	}
}

// A CAR reads ahead of its walk, which leaves out what it has seen, unless asked not to.
func TestGateway_CAROfRepeatedBlocks(t *testing.T) {
	part := ipfsconntest.File(t, 5, 40, 100) // more blocks than are read ahead
	twice := part.Over(t, append(slices.Clone(part.Blocks[:40]), part.Blocks[:40]...)...)
	dir := ipfsconntest.Directory(t, map[string]ipfsconntest.Tree{"a": part, "b": twice, "c": part})
	holder := newNode(t)
	ipfsconntest.Add(t, holder, dir)
	g := serve(t, newNode(t, holder), Options{})
	leaves := make([]cid.Cid, 40)
	for i := range leaves {
		leaves[i] = part.Blocks[i].Cid()
	}
	once := append(append([]cid.Cid{dir.Root.Cid, part.Root.Cid}, leaves...), twice.Root.Cid)
	every := slices.Concat([]cid.Cid{dir.Root.Cid, part.Root.Cid}, leaves, []cid.Cid{twice.Root.Cid}, leaves, leaves, []cid.Cid{part.Root.Cid}, leaves)
	for dups, want := range map[string][]cid.Cid{"n": once, "y": every} {
		res := ask(t, g, "GET", "/ipfs/"+dir.Root.String()+"?format=car&car-dups="+dups)
		if root, got := readCAR(t, res.body); root != dir.Root.Cid || !slices.Equal(got, want) {
			t.Errorf("dups=%s: root %s, %d blocks, want %d", dups, root, len(got), len(want))
		}
	}
}

// A CAR that cannot be whole does not end as if it were.
func TestGateway_CAROfMissingBlocks(t *testing.T) {
	file := ipfsconntest.File(t, 3, 4, 1000)
	n := newNode(t)
	for name, o := range map[string]Options{"waits": {}, "does not fetch": {NoFetch: true}} {
		t.Run(name, func(t *testing.T) {
			ipfsconntest.Put(t, n, append(slices.Clone(file.Blocks[:2]), file.Blocks[4])...)
			g := serveFor(t, 200*time.Millisecond, n, o)
			res, err := client.Get(g.URL() + "/ipfs/" + file.Root.String() + "?format=car")
			if err != nil {
				return // cut before its head was sent
			}
			defer res.Body.Close()
			if body, err := io.ReadAll(res.Body); err == nil {
				t.Fatalf("%s, and the end of a whole answer after %d bytes", res.Status, len(body))
			}
		})
	}
}
