package proxy_test

import (
	"context"
	"io"
	"iter"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/metrics"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pinfold-cluster/pinfold/adder"
	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/proxy"
	"github.com/pinfold-cluster/pinfold/api/rest"
	"github.com/pinfold-cluster/pinfold/ipfsconn"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded"
)

var quiet = slog.New(slog.DiscardHandler)

// cluster stands for a cluster of one peer: its pinset is a map, and what is pinned
// is pinned on the node at once.
type cluster struct {
	node ipfsconn.Connector

	mu   sync.Mutex
	pins map[string]api.Pin
}

func (c *cluster) Pin(ctx context.Context, p api.Pin) (api.Pin, uint64, error) {
	if err := c.node.Pin(ctx, p, nil); err != nil {
		return api.Pin{}, 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p.MaxDepth = p.Mode.MaxDepth()
	c.pins[p.Cid.KeyString()] = p
	return p, 1, nil
}

func (c *cluster) Unpin(ctx context.Context, x api.Cid) (api.Pin, uint64, error) {
	p, err := c.Get(ctx, x)
	if err != nil {
		return p, 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pins, x.KeyString())
	return p, 1, c.node.Unpin(ctx, x)
}

func (c *cluster) Get(_ context.Context, x api.Cid) (api.Pin, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.pins[x.KeyString()]
	if !ok {
		return p, api.NotFound.Errorf("pin is not part of the pinset")
	}
	return p, nil
}

func (c *cluster) All(context.Context) iter.Seq2[api.Pin, error] {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []api.Pin
	for _, p := range c.pins {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b api.Pin) int { return strings.Compare(a.Cid.KeyString(), b.Cid.KeyString()) })
	return func(yield func(api.Pin, error) bool) {
		for _, p := range all {
			if !yield(p, nil) {
				return
			}
		}
	}
}

func (c *cluster) Status(ctx context.Context, x api.Cid) (g api.GlobalPinInfo, err error) {
	_, pinned, err := c.node.PinStatus(ctx, x)
	info := api.PinInfo{Cid: x, PinInfoShort: api.PinInfoShort{Status: api.StatusUnpinned, Timestamp: time.Now()}}
	if pinned {
		info.Status, info.Bytes = api.StatusPinned, 1
	}
	g.Merge(info)
	return g, err
}

func (c *cluster) GCEach(ctx context.Context, f func(api.RepoGC) error) error {
	for k, err := range c.node.GC(ctx) {
		if err != nil {
			return err
		}
		if err := f(api.RepoGC{PeerName: "one", Keys: []api.RepoGCKey{k}}); err != nil {
			return err
		}
	}
	return f(api.RepoGC{PeerName: "two", Error: "not reached"})
}

func (c *cluster) RepoStats(ctx context.Context) ([]api.RepoStat, error) {
	s, err := c.node.RepoStat(ctx)
	return []api.RepoStat{s}, err
}

func (c *cluster) Place(context.Context, api.PinOptions, uint64) (api.Placement, error) {
	return api.Placement{Peers: []api.PeerID{"self"}, Min: 1}, nil
}

func (c *cluster) Send(ctx context.Context, _ api.PeerID, size uint64) (adder.Destination, error) {
	return c.node.OpenAdd(ctx, size)
}

// dry is a cluster that nothing is added to.
type dry struct{ *cluster }

func (d dry) Send(ctx context.Context, _ api.PeerID, size uint64) (adder.Destination, error) {
	a, err := d.node.OpenAdd(ctx, size)
	return dropped{a}, err
}

type dropped struct{ adder.Destination }

func (d dropped) Commit(context.Context, api.Cid) error { return d.Abort() }

func (c *cluster) parts() proxy.Parts {
	return proxy.Parts{Version: "test", Self: "self", Pins: c, Pinset: c, Tracker: c, GC: c, Room: c, Resolver: c.node,
		Adder: adder.New("self", c, c, adder.Options{}, quiet), Hasher: adder.New("self", c, dry{c}, adder.Options{}, quiet),
		Holders: nobody{}, Logs: &journal{levels: map[string]slog.Level{"": slog.LevelInfo, "one": slog.LevelInfo}},
		PinOptions: rest.PinOptions, Traffic: metrics.NewBandwidthCounter()}
}

// journal stands for a peer's log: every record is one line.
type journal struct {
	mu     sync.Mutex
	levels map[string]slog.Level
}

func (j *journal) Levels() map[string]slog.Level {
	j.mu.Lock()
	defer j.mu.Unlock()
	return maps.Clone(j.levels)
}

func (j *journal) SetLevel(component string, l slog.Level) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for name := range j.levels {
		if component == "" || name == component {
			j.levels[name] = l
		}
	}
}

func (j *journal) Tail(_ context.Context, l slog.Level, f func([]byte) error) error {
	return f([]byte(`{"level":"` + l.String() + "\"}\n"))
}

type nobody struct{}

func (nobody) Holders(context.Context, api.Cid) []peer.AddrInfo { return nil }

// open serves the proxy over an embedded node and returns its URL.
func open(t testing.TB) (string, *cluster) {
	t.Helper()
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"))
	if err != nil {
		t.Fatal(err)
	}
	n, err := embedded.New(h, t.TempDir(), embedded.Options{RetrievalTimeout: 200 * time.Millisecond}, nobody{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	c := &cluster{node: n, pins: map[string]api.Pin{}}
	p := c.parts()
	p.Node = n
	return serve(t, p, proxy.Options{}), c
}

func serve(t testing.TB, p proxy.Parts, o proxy.Options) string {
	t.Helper()
	h, err := proxy.New(p, o, quiet)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// answer is what came for a request.
type answer struct {
	status  int
	header  http.Header
	trailer string // X-Stream-Error
	body    string
}

// send sends a request as it is.
func send(t testing.TB, r *http.Request) answer {
	t.Helper()
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, res.Trailer.Get(api.StreamErrorTrailer), string(body)}
}

// upload is a multipart body: pairs of names and contents. A name that ends in a
// slash is a directory's, and a content that begins with -> a link's. After a ? in a
// name come the mode and time that the client gives.
func upload(pairs ...string) (contentType, body string) {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		kind, content := "application/octet-stream", pairs[i+1]
		name, meta, _ := strings.Cut(pairs[i], "?")
		if meta != "" {
			meta = "?" + meta
		}
		if strings.HasSuffix(name, "/") {
			kind = "application/x-directory"
		} else if target, ok := strings.CutPrefix(content, "->"); ok {
			kind, content = "application/symlink", target
		}
		b.WriteString("--xx\r\nContent-Disposition: form-data; name=\"file" + meta + "\"; filename=\"" + strings.ReplaceAll(strings.TrimSuffix(name, "/"), "/", "%2F") +
			"\"\r\nContent-Type: " + kind + "\r\n\r\n" + content + "\r\n")
	}
	return "multipart/form-data; boundary=xx", b.String() + "--xx--\r\n"
}

// post sends a command.
func post(t testing.TB, url, command string, pairs ...string) answer {
	t.Helper()
	contentType, body := "", ""
	if pairs != nil {
		contentType, body = upload(pairs...)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/api/v0/"+command, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return send(t, r)
}
