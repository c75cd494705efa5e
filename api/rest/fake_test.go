package rest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/boxo/files"
	blocks "github.com/ipfs/go-block-format"

	"github.com/pinfold-cluster/pinfold/adder"
	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/apitest"
	"github.com/pinfold-cluster/pinfold/api/web"
	"github.com/pinfold-cluster/pinfold/events"
)

const (
	p0   = apitest.Peer0
	p1   = apitest.Peer1
	cid0 = apitest.Cid0
	cid1 = apitest.Cid1
)

var quiet = slog.New(slog.DiscardHandler)

// cluster is every part behind the API: functions that a test may replace, and a
// count of the calls that could have changed something.
type cluster struct {
	pin        func(p api.Pin) (api.Pin, uint64, error)
	unpin      func(c api.Cid) (api.Pin, uint64, error)
	pinMany    func(reqs []api.Request) []api.Result
	get        func(c api.Cid) (api.Pin, error)
	all        iter.Seq2[api.Pin, error]
	status     func(c api.Cid) (api.GlobalPinInfo, error)
	list       func(f api.TrackerStatus) iter.Seq2[api.GlobalPinInfo, error]
	add        func(ctx context.Context, dir files.Directory, p api.AddParams, out func(api.AddedOutput) error) (api.Pin, error)
	place      error // of choosing peers for an add
	send       error // of opening one
	put        error // of sending it blocks
	resolve    func(path string) (api.Cid, error)
	removePeer func(p api.PeerID) error
	invite     func(ttl time.Duration) (string, error)
	peers      iter.Seq2[api.Peer, error]
	metrics    map[string][]api.Metric
	alertList  []api.Alert
	collected  api.GlobalRepoGC
	events     *events.Hub
	told       func(api.PinInfo)
	followers  []api.Follower
	link       error // of making a follow link
	behind     error // of bringing the copy of the pinset up to date
	await      func(ctx context.Context, c api.Cid) (api.GlobalPinInfo, bool, error)

	mu    sync.Mutex
	calls []string // of writes
}

func (c *cluster) called(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, what)
}

func (c *cluster) effects() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.calls, ",")
}

func (c *cluster) Pin(_ context.Context, p api.Pin) (api.Pin, uint64, error) {
	c.called("pin")
	if c.pin == nil {
		return p, 7, nil
	}
	return c.pin(p)
}

func (c *cluster) Unpin(_ context.Context, id api.Cid) (api.Pin, uint64, error) {
	c.called("unpin")
	if c.unpin == nil {
		return api.Pin{}, 0, api.NotFound.Errorf("pin is not part of the pinset")
	}
	return c.unpin(id)
}

// PinMany commits nothing once ctx has ended.
func (c *cluster) PinMany(ctx context.Context, reqs []api.Request) []api.Result {
	c.called("pinMany")
	results := c.pinMany(reqs)
	if err := ctx.Err(); err != nil {
		for i := range results {
			results[i] = api.Result{Fault: api.FaultOf(api.Unavailable.Errorf("%w", err))}
		}
	}
	return results
}

func (c *cluster) Get(_ context.Context, id api.Cid) (api.Pin, error) {
	if c.get == nil {
		return api.Pin{}, api.NotFound.Errorf("pin is not part of the pinset")
	}
	return c.get(id)
}

// Select lists in the order of all, as of index 7, and a cursor is a CID.
func (c *cluster) Select(_ context.Context, f api.PinFilter, cursor []byte, at func(uint64)) iter.Seq2[api.Pin, error] {
	return func(yield func(api.Pin, error) bool) {
		if at != nil {
			at(7)
		}
		past := cursor == nil
		for p, err := range c.all {
			if past && (err != nil || f.Match(p)) && !yield(p, err) {
				return
			}
			past = past || p.Cid.String() == string(cursor)
		}
	}
}

func (c *cluster) SelectCursor(_ api.PinFilter, p api.Pin) []byte { return []byte(p.Cid.String()) }

func (c *cluster) Count(f api.PinFilter) (uint64, bool) { return 42, f.All() }

func (c *cluster) Current(ctx context.Context) error {
	c.called("current")
	return c.behind
}

func (c *cluster) WaitApplied(ctx context.Context, index uint64) error {
	c.called(fmt.Sprint("index ", index))
	return c.behind
}

// tracker is the whole cluster's, or one peer's.
type tracker struct {
	*cluster
	local bool
}

func (t tracker) name(s string) string {
	if t.local {
		return "local " + s
	}
	return s
}

func (t tracker) Status(_ context.Context, c api.Cid) (api.GlobalPinInfo, error) {
	g, err := t.status(c)
	g.Name += t.name("")
	return g, err
}

func (t tracker) ListAfter(_ context.Context, f api.TrackerStatus, after api.Cid) iter.Seq2[api.GlobalPinInfo, error] {
	return func(yield func(api.GlobalPinInfo, error) bool) {
		past := !after.Defined()
		for g, err := range t.list(f) {
			if past && !yield(g, err) {
				return
			}
			past = past || g.Cid == after
		}
	}
}

func (t tracker) Recover(_ context.Context, c api.Cid) (api.GlobalPinInfo, error) {
	t.called(t.name("recover"))
	return t.status(c)
}

func (t tracker) RecoverAll(context.Context) iter.Seq2[api.GlobalPinInfo, error] {
	t.called(t.name("recover all"))
	return t.list(api.StatusUndefined)
}

// Add is the real adder's unless a test has its own.
func (c *cluster) Add(ctx context.Context, dir files.Directory, p api.AddParams, out func(api.AddedOutput) error) (api.Pin, error) {
	if c.add == nil {
		return adder.New("me", c, c, adder.Options{}, quiet).Add(ctx, dir, p, out)
	}
	c.called("add")
	return c.add(ctx, dir, p, out)
}

func (c *cluster) Place(_ context.Context, _ api.PinOptions, _ uint64) (api.Placement, error) {
	if c.place != nil {
		return api.Placement{}, c.place
	}
	return api.Placement{Peers: []api.PeerID{"me"}, Min: 1}, nil
}

func (c *cluster) Send(context.Context, api.PeerID, uint64) (adder.Destination, error) {
	if c.send != nil {
		return nil, c.send
	}
	return destination{c}, nil
}

// destination takes blocks and keeps none.
type destination struct{ *cluster }

func (d destination) Put(context.Context, []blocks.Block) error { return d.put }
func (d destination) Commit(context.Context, api.Cid) error {
	d.called("commit")
	return nil
}
func (destination) Abort() error { return nil }

func (c *cluster) Self(context.Context) (api.Peer, error) { return api.Peer{PeerName: "me"}, nil }
func (c *cluster) Peers(context.Context) iter.Seq2[api.Peer, error] {
	return c.peers
}
func (c *cluster) Peer(_ context.Context, id api.PeerID) (api.Peer, error) {
	for p, err := range c.peers {
		if err == nil && p.ID == id {
			return p, nil
		}
	}
	return api.Peer{}, api.NotFound.Errorf("%s is none", id)
}
func (c *cluster) Remove(_ context.Context, p api.PeerID, revoke bool) (uint64, error) {
	c.called(map[bool]string{false: "remove peer", true: "revoke peer"}[revoke])
	if c.removePeer == nil {
		return 45, nil
	}
	return 45, c.removePeer(p)
}
func (c *cluster) Invite(_ context.Context, ttl time.Duration) (string, error) {
	c.called("invite")
	if c.invite == nil {
		return "token", nil
	}
	return c.invite(ttl)
}

func (c *cluster) Names() []string {
	var names []string
	for n := range c.metrics {
		names = append(names, n)
	}
	return names
}
func (c *cluster) Latest(name string) []api.Metric { return c.metrics[name] }
func (c *cluster) Alerts() []api.Alert             { return c.alertList }

func (c *cluster) Resolve(_ context.Context, path string) (api.Cid, error) {
	if c.resolve == nil {
		return api.CidUndef, api.NotFound.Errorf("no link named %q", path)
	}
	return c.resolve(path)
}

func (c *cluster) GC(_ context.Context, local bool) (api.GlobalRepoGC, error) {
	c.called(tracker{c, local}.name("gc"))
	return c.collected, nil
}

func (c *cluster) AwaitPinned(ctx context.Context, id api.Cid) (api.GlobalPinInfo, bool, error) {
	if c.await == nil {
		<-ctx.Done()
		return api.GlobalPinInfo{Cid: id, PeerMap: map[string]api.PinInfoShort{p0: {Status: api.StatusPinning}}}, false, nil
	}
	return c.await(ctx, id)
}

func (c *cluster) Repair(context.Context) (api.RepairStatus, error) {
	return api.RepairStatus{Running: true, Below: 3}, nil
}

func (c *cluster) Graph(context.Context) (api.ConnectGraph, error) {
	return api.ConnectGraph{ClusterLinks: map[string][]api.PeerID{p0: {}}}, nil
}

func (c *cluster) Bandwidth() map[string]api.Bandwidth {
	return map[string]api.Bandwidth{"/x": {TotalIn: 1, RateOut: 0.5}}
}

// tokens gives out tokens that are nobody's.
type tokens struct{ *cluster }

func (tokens) New(user, _ string, scope api.Scope, life time.Duration) (api.Token, error) {
	return api.Token{Token: "of " + user, ID: "ID", Scope: scope, Expires: time.Unix(0, 0).Add(life).UTC()}, nil
}

func (t tokens) Revoke(_ context.Context, id string) (uint64, error) {
	if _, err := api.RevokedToken(id); err != nil {
		return 0, err
	}
	t.called("revoke")
	return 44, nil
}

func (c *cluster) handler() http.Handler { return c.handlerWith(web.Options{}) }

func (c *cluster) handlerWith(o web.Options) http.Handler {
	h := New(Parts{Version: "9.9.9", Pins: c, Pinset: c, Tracker: tracker{c, false}, Local: tracker{c, true}, Adder: c,
		Peers: c, Monitor: c, Resolver: c, GC: c, Repairs: c, Tokens: tokens{c}, Followers: followers{c}, Network: c, Guarded: true, Feed: c, Log: c, Events: c.listen, Metrics: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}, quiet)
	return web.Wrap(o, h, quiet, nil)
}

// listen opens a stream of the cluster's events, of which the test tells.
func (c *cluster) listen(after uint64, resume bool) (EventStream, error) {
	if c.events == nil {
		return nil, api.Unavailable.Errorf("too many clients listen already")
	}
	return c.events.Open(after, resume)
}

func (c *cluster) Follow(f func(api.PinInfo)) func() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told = f
	return func() {}
}

// serve answers on a real connection.
func (c *cluster) serve(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(c.handler())
	t.Cleanup(s.Close)
	return s.URL
}

// do sends a request and returns the answer and its whole body, which are to be as the
// OpenAPI document has them.
func do(t *testing.T, method, url string, body io.Reader, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := conforms(method, req.URL, res, string(b)); err != nil {
		t.Errorf("not as /openapi.json has it: %v", err)
	}
	return res, string(b)
}

// seq yields items, then err where it is not nil.
func seq[T any](err error, items ...T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, item := range items {
			if !yield(item, nil) {
				return
			}
		}
		if err != nil {
			var zero T
			yield(zero, err)
		}
	}
}

// failingWriter is a client that has gone.
type failingWriter struct{ http.ResponseWriter }

func (failingWriter) Write([]byte) (int, error) { return 0, errors.New("gone") }

func (w failingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func listenLocal(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}
