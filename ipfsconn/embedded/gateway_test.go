package embedded

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn/ipfsconntest"
)

// serve runs a node with a gateway that knows of the others, and returns the gateway's
// URL.
func serve(t *testing.T, n *Node) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return n.GatewayURL()
}

func get(t *testing.T, url string, header ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, body
}

var gatewayOptions = Options{GatewayListenMultiaddress: "/ip4/127.0.0.1/tcp/0", RetrievalTimeout: 500 * time.Millisecond}

func TestGateway(t *testing.T) {
	file := ipfsconntest.File(t, 1, 5, 10000)
	var content []byte
	for _, b := range file.Blocks[:5] {
		content = append(content, b.RawData()...)
	}
	dir := ipfsconntest.Directory(t, map[string]ipfsconntest.Tree{"file.bin": file})
	missing := ipfsconntest.File(t, 2, 1, 10)

	holder := onLine(t, Options{})
	ipfsconntest.Add(t, holder, dir)
	local := onLine(t, gatewayOptions)
	ipfsconntest.Add(t, local, dir)
	for name, n := range map[string]*Node{"local": local, "fetched": onLine(t, gatewayOptions, holder)} {
		t.Run(name, func(t *testing.T) {
			url := serve(t, n) + "/ipfs/" + dir.Root.String()
			before, err := n.RepoStat(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if res, body := get(t, url+"/file.bin"); res.StatusCode != 200 || !bytes.Equal(body, content) {
				t.Fatalf("file: %s, %d bytes", res.Status, len(body))
			}
			if res, body := get(t, url+"/file.bin", "Range", "bytes=9990-20009"); res.StatusCode != 206 || !bytes.Equal(body, content[9990:20010]) {
				t.Fatalf("range: %s, %d bytes", res.Status, len(body))
			}
			if res, body := get(t, url+"/"); res.StatusCode != 200 || !bytes.Contains(body, []byte("file.bin")) {
				t.Fatalf("directory: %s", res.Status)
			}
			if res, body := get(t, url+"?format=raw"); res.StatusCode != 200 || !bytes.Equal(body, dir.Blocks[len(dir.Blocks)-1].RawData()) {
				t.Fatalf("raw block: %s, %d bytes", res.Status, len(body))
			}
			if res, body := get(t, url+"?format=car"); res.StatusCode != 200 || uint64(len(body)) < dir.Size {
				t.Fatalf("CAR: %s, %d bytes", res.Status, len(body))
			}
			if res, _ := get(t, url+"/none"); res.StatusCode != 404 {
				t.Fatalf("a name that is not there: %s", res.Status)
			}
			if res, _ := get(t, n.GatewayURL()+"/ipfs/bafkqablimvwgy3y"); res.StatusCode != 200 { // "hello"
				t.Fatalf("identity: %s", res.Status)
			}
			if res, _ := get(t, n.GatewayURL()+"/ipfs/notacid"); res.StatusCode != 400 {
				t.Fatalf("no CID: %s", res.Status)
			}
			start := time.Now()
			if res, _ := get(t, n.GatewayURL()+"/ipfs/"+missing.Root.String()); res.StatusCode != 504 && res.StatusCode != 404 {
				t.Fatalf("missing content: %s", res.Status)
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Fatalf("missing content took %v", took)
			}
			after, err := n.RepoStat(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if after.RepoSize != before.RepoSize {
				t.Fatalf("readers left %d bytes on the disk", after.RepoSize-before.RepoSize)
			}
			got, err := n.Metrics().Gather()
			if err != nil || len(got) == 0 {
				t.Fatalf("%d metrics, %v", len(got), err)
			}
		})
	}
}

func TestBlock_FetchesAndResolves(t *testing.T) {
	file := ipfsconntest.File(t, 1, 2, 1000)
	dir := ipfsconntest.Directory(t, map[string]ipfsconntest.Tree{"f": file})
	holder := onLine(t, Options{})
	ipfsconntest.Add(t, holder, dir)
	n := onLine(t, Options{}, holder)
	got, err := n.Block(within(t, 10*time.Second), api.Cid{Cid: file.Blocks[0].Cid()})
	if err != nil || !bytes.Equal(got, file.Blocks[0].RawData()) {
		t.Fatal(err)
	}
	c, err := n.Resolve(within(t, 10*time.Second), "/ipfs/"+dir.Root.String()+"/f")
	if err != nil || c != file.Root {
		t.Fatalf("%v, %v", c, err)
	}
	for _, inFile := range []api.Cid{file.Root, {Cid: file.Blocks[0].Cid()}} { // a path that goes on inside a file
		if _, err := n.Resolve(within(t, 10*time.Second), "/ipfs/"+inFile.String()+"/f"); api.KindOf(err) != api.NotFound {
			t.Fatalf("error %v of kind %q", err, api.KindOf(err))
		}
	}
	_, err = n.Block(within(t, 100*time.Millisecond), ipfsconntest.File(t, 9, 1, 10).Root)
	if api.KindOf(err) != api.Unavailable {
		t.Fatalf("error %v of kind %q", err, api.KindOf(err))
	}
}

// What is fetched for readers takes bounded memory.
func TestRecent_IsBounded(t *testing.T) {
	r := newRecent(offLine(t, Options{}).local)
	for i := range 40 {
		if err := r.Put(t.Context(), ipfsconntest.Leaf(t, uint64(i), 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if r.bytes > recentBytes || r.bytes < recentBytes-1<<20 || r.lru.Len() != r.bytes>>20 {
		t.Fatalf("%d bytes in %d blocks", r.bytes, r.lru.Len())
	}
	last := ipfsconntest.Leaf(t, 39, 1<<20)
	if ok, err := r.Has(t.Context(), last.Cid()); err != nil || !ok {
		t.Fatal("the last is not there", err)
	}
	if ok, err := r.Has(t.Context(), ipfsconntest.Leaf(t, 0, 1<<20).Cid()); err != nil || ok {
		t.Fatal("the first is still there", err)
	}
}

func TestNew_BadGatewayAddress(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:80", "/ip4/127.0.0.1"} {
		if _, err := New(nil, t.TempDir(), Options{GatewayListenMultiaddress: addr}, nil, quiet); err == nil {
			t.Fatalf("%s was taken", addr)
		}
	}
}
