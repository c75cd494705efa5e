package kubo

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn/ipfsconntest"
)

// at returns a connector to a server whose answers the test writes: those that a real
// Kubo cannot be made to give.
func at(t *testing.T, o Options, answers map[string]http.HandlerFunc) *Node {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		command := strings.TrimPrefix(r.URL.Path, "/api/v0/")
		if r.Method != http.MethodPost || answers[command] == nil {
			t.Errorf("unexpected %s %s", r.Method, r.URL)
		}
		answers[command](w, r)
	}))
	t.Cleanup(srv.Close)
	host, port, err := net.SplitHostPort(srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	o.NodeMultiaddress = "/ip4/" + host + "/tcp/" + port
	n, err := New(o, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func say(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) }
}

func refuse(message string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		io.WriteString(w, `{"Message":"`+message+`","Code":0,"Type":"error"}`)
	}
}

const notPinned = "path 'x' is not pinned"

// A pin that fails once progress has begun has its error in a trailer, after a status
// of 200.
func TestD11_PinFailsByTrailer(t *testing.T) {
	c := ipfsconntest.File(t, 1, 1, 10).Root
	n := at(t, Options{}, map[string]http.HandlerFunc{
		"pin/ls":     refuse(notPinned),
		"block/stat": say(`{}`),
		"pin/add": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-Stream-Error")
			io.WriteString(w, `{"Progress":1,"Bytes":10}`+"\n")
			w.Header().Set("X-Stream-Error", "pin: write /data: no space left on device")
		},
	})
	var bytes uint64
	err := n.Pin(t.Context(), ipfsconntest.Pin(c), func(b uint64) { bytes = b })
	if api.CauseOf(err) != api.CauseDiskFull || api.KindOf(err) != api.Full {
		t.Fatalf("error %v of kind %q, cause %q", err, api.KindOf(err), api.CauseOf(err))
	}
	if bytes != 10 {
		t.Fatalf("%d bytes of progress, want 10", bytes)
	}
}

func TestPin_FailsWithoutAnEnd(t *testing.T) {
	c := ipfsconntest.File(t, 1, 1, 10).Root
	for name, body := range map[string]string{"nothing": "", "progress only": `{"Progress":1}`, "cut": `{"Progress":1}{"Pi`, "no JSON": "<html>"} {
		t.Run(name, func(t *testing.T) {
			n := at(t, Options{}, map[string]http.HandlerFunc{"pin/ls": refuse(notPinned), "block/stat": say(`{}`), "pin/add": say(body)})
			if err := n.Pin(t.Context(), ipfsconntest.Pin(c), nil); err == nil {
				t.Fatal("the pin succeeded")
			}
		})
	}
}

// Kubo sends a line each half second whether or not a block has come.
func TestPin_StallsWhileKuboRepeatsItself(t *testing.T) {
	c := ipfsconntest.File(t, 1, 1, 10).Root
	n := at(t, Options{PinTimeout: 100 * time.Millisecond}, map[string]http.HandlerFunc{
		"pin/ls":     refuse(notPinned),
		"block/stat": say(`{}`),
		"pin/add": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				io.WriteString(w, `{"Progress":3}`+"\n")
				w.(http.Flusher).Flush()
			}
		},
	})
	err := n.Pin(t.Context(), ipfsconntest.Pin(c), nil)
	if api.CauseOf(err) != api.CauseStalled || api.KindOf(err) != api.Unavailable {
		t.Fatalf("error %v of kind %q, cause %q", err, api.KindOf(err), api.CauseOf(err))
	}
}

// A list that breaks off is no list: what is not in it would be taken for unpinned.
func TestPinned_FailsByTrailer(t *testing.T) {
	c := ipfsconntest.File(t, 1, 1, 10).Root
	n := at(t, Options{}, map[string]http.HandlerFunc{"pin/ls": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Stream-Error")
		io.WriteString(w, `{"Cid":"`+c.String()+`","Type":"recursive"}`)
		w.Header().Set("X-Stream-Error", "broken")
	}})
	for _, err := range n.Pinned(t.Context(), api.CidUndef) {
		if err == nil {
			t.Fatal("part of a list was yielded")
		}
		return
	}
	t.Fatal("no error")
}

func TestBackendDown(t *testing.T) {
	n, err := New(Options{NodeMultiaddress: "/ip4/127.0.0.1/tcp/1"}, quiet) // where nothing listens
	if err != nil {
		t.Fatal(err)
	}
	c := ipfsconntest.File(t, 1, 1, 10).Root
	_, _, status := n.PinStatus(t.Context(), c)
	_, open := n.OpenAdd(t.Context(), 0)
	for name, err := range map[string]error{"find": n.Find(t.Context(), ipfsconntest.Pin(c)), "pin": n.Pin(t.Context(), ipfsconntest.Pin(c), nil),
		"unpin": n.Unpin(t.Context(), c), "status": status, "open": open} {
		if api.CauseOf(err) != api.CauseBackendDown || api.KindOf(err) != api.Unavailable {
			t.Errorf("%s: error %v of kind %q, cause %q", name, err, api.KindOf(err), api.CauseOf(err))
		}
	}
}

// What Kubo says it stored is compared with what it was sent.
func TestPut_ComparesHashes(t *testing.T) {
	b := ipfsconntest.Leaf(t, 1, 10)
	other := ipfsconntest.Leaf(t, 2, 10).Cid().String()
	for name, body := range map[string]string{"another": `{"Key":"` + other + `"}`, "none": "", "no CID": `{"Key":"x"}`,
		"too many": `{"Key":"` + b.Cid().String() + `"}{"Key":"` + b.Cid().String() + `"}`} {
		t.Run(name, func(t *testing.T) {
			n := at(t, Options{}, map[string]http.HandlerFunc{"repo/stat": say(`{"RepoSize":1,"StorageMax":1000}`),
				"block/put": func(w http.ResponseWriter, r *http.Request) {
					io.Copy(io.Discard, r.Body)
					io.WriteString(w, body)
				}})
			a, err := n.OpenAdd(t.Context(), 10)
			if err != nil {
				t.Fatal(err)
			}
			if err := a.Put(t.Context(), ipfsconntest.File(t, 1, 1, 10).Blocks[:1]); err == nil {
				t.Fatal("the put succeeded")
			}
		})
	}
}

func TestOpenAdd_WaitsForACollection(t *testing.T) {
	collecting, end := make(chan struct{}), make(chan struct{})
	goOn := sync.OnceFunc(func() { close(end) })
	defer goOn() // also where the test fails: the server waits for its answers
	n := at(t, Options{}, map[string]http.HandlerFunc{"repo/stat": say(`{"RepoSize":1,"StorageMax":1000}`),
		"repo/gc": func(http.ResponseWriter, *http.Request) { close(collecting); <-end }})
	collected := make(chan error, 1)
	go func() {
		for _, err := range n.GC(context.Background()) {
			collected <- err
		}
		close(collected)
	}()
	<-collecting
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := n.OpenAdd(ctx, 0); api.KindOf(err) != api.Unavailable {
		t.Fatalf("during a collection: %v", err)
	}
	goOn()
	a, err := n.OpenAdd(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-collected; err != nil {
		t.Fatal(err)
	}
	for _, err := range n.GC(t.Context()) {
		if api.KindOf(err) != api.Conflict {
			t.Fatalf("during an add: %v", err)
		}
	}
	if err := a.Abort(); err != nil {
		t.Fatal(err)
	}
	if st, err := n.RepoStat(t.Context()); err != nil || st.Free != 999 {
		t.Fatalf("%+v, %v: want 999 bytes free", st, err)
	}
}

func TestNew_Addresses(t *testing.T) {
	for addr, want := range map[string]string{
		"/ip4/127.0.0.1/tcp/5001":       "http://127.0.0.1:5001/api/v0/",
		"/ip6/::1/tcp/5001":             "http://[::1]:5001/api/v0/",
		"/dns4/example.com/tcp/443/tls": "https://example.com:443/api/v0/",
		"/dns/example.com/tcp/80/http":  "http://example.com:80/api/v0/",
		"":                              "",
		"127.0.0.1:5001":                "",
		"/ip4/127.0.0.1/udp/5001":       "",
		"/ip4/127.0.0.1":                "",
		"/unix/run/ipfs.sock":           "",
	} {
		n, err := New(Options{NodeMultiaddress: addr}, quiet)
		if want == "" {
			if api.KindOf(err) != api.Invalid {
				t.Errorf("%q: error %v, want one of kind %q", addr, err, api.Invalid)
			}
			continue
		}
		if err != nil || n.base != want {
			t.Errorf("%q: %v, %v; want %s", addr, n, err, want)
		}
	}
}
