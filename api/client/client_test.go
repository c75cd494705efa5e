package client

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
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/boxo/files"
	"github.com/multiformats/go-multiaddr"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/apitest"
	"github.com/pinfold-cluster/pinfold/api/rest"
	"github.com/pinfold-cluster/pinfold/api/web"
)

const (
	p0   = apitest.Peer0
	p1   = apitest.Peer1
	cid0 = apitest.Cid0
	cid1 = apitest.Cid1
)

var me, _ = api.ParsePeerID(p0)

var quiet = slog.New(slog.DiscardHandler)

// peer is what the real server is a door to here: it keeps pins in a map.
type peer struct {
	pins  map[string]api.Pin
	index uint64
	local bool
	// revoked tells whether the last peer removed was to be revoked.
	revoked bool
	broken  error // ends every list
	added   func(ctx context.Context, dir files.Directory, p api.AddParams, out func(api.AddedOutput) error) error
}

func (p *peer) Pin(_ context.Context, pin api.Pin) (api.Pin, uint64, error) {
	if pin.Name == "unlucky" {
		return api.Pin{}, 0, api.Conflict.Errorf("cannot repin")
	}
	p.index++
	pin.Revision = p.index
	p.pins[pin.Cid.String()] = pin
	return pin, p.index, nil
}

func (p *peer) Unpin(_ context.Context, c api.Cid) (api.Pin, uint64, error) {
	pin, ok := p.pins[c.String()]
	if !ok {
		return pin, 0, api.NotFound.Errorf("pin is not part of the pinset")
	}
	p.index++
	delete(p.pins, c.String())
	return pin, p.index, nil
}

func (p *peer) PinMany(ctx context.Context, reqs []api.Request) []api.Result {
	var results []api.Result
	for _, r := range reqs {
		do := p.Unpin
		if r.Type == api.RequestPin {
			do = func(ctx context.Context, _ api.Cid) (api.Pin, uint64, error) { return p.Pin(ctx, r.Pin) }
		}
		pin, index, err := do(ctx, r.Pin.Cid)
		results = append(results, api.Result{Pin: pin, Index: index, Fault: api.FaultOf(err)})
	}
	return results
}

func (p *peer) Get(_ context.Context, c api.Cid) (api.Pin, error) {
	pin, ok := p.pins[c.String()]
	if !ok {
		return pin, api.NotFound.Errorf("pin is not part of the pinset")
	}
	return pin, nil
}

func (p *peer) Select(_ context.Context, f api.PinFilter, _ []byte, at func(uint64)) iter.Seq2[api.Pin, error] {
	return func(yield func(api.Pin, error) bool) {
		if at != nil {
			at(7)
		}
		for _, pin := range p.pins {
			if f.Match(pin) && !yield(pin, nil) {
				return
			}
		}
		if p.broken != nil {
			yield(api.Pin{}, p.broken)
		}
	}
}

func (p *peer) SelectCursor(api.PinFilter, api.Pin) []byte { return nil }
func (p *peer) Count(f api.PinFilter) (uint64, bool)       { return uint64(len(p.pins)), f.All() }

func (p *peer) Status(_ context.Context, c api.Cid) (api.GlobalPinInfo, error) {
	info := api.GlobalPinInfo{Cid: c, Name: fmt.Sprint(p.local), PeerMap: map[string]api.PinInfoShort{p0: {Status: api.StatusPinning, Cause: api.CauseStalled}}}
	return info, nil
}

func (p *peer) ListAfter(ctx context.Context, f api.TrackerStatus, _ api.Cid) iter.Seq2[api.GlobalPinInfo, error] {
	return func(yield func(api.GlobalPinInfo, error) bool) {
		info, err := p.Status(ctx, api.CidUndef)
		info.Name += " " + f.String()
		yield(info, err)
	}
}

func (p *peer) Recover(ctx context.Context, c api.Cid) (api.GlobalPinInfo, error) {
	return p.Status(ctx, c)
}
func (p *peer) RecoverAll(ctx context.Context) iter.Seq2[api.GlobalPinInfo, error] {
	return p.ListAfter(ctx, api.StatusUndefined, api.CidUndef)
}

func (p *peer) Add(ctx context.Context, dir files.Directory, a api.AddParams, out func(api.AddedOutput) error) (api.Pin, error) {
	return api.Pin{}, p.added(ctx, dir, a, out)
}

func (p *peer) Self(context.Context) (api.Peer, error) {
	return api.Peer{ID: me, PeerName: "me", Role: "leader"}, nil
}
func (p *peer) Peers(context.Context) iter.Seq2[api.Peer, error] {
	return func(yield func(api.Peer, error) bool) {
		_ = yield(api.Peer{ID: me, PeerName: "a"}, nil) && yield(api.Peer{ID: me, PeerName: "b"}, nil)
	}
}
func (p *peer) Peer(context.Context, api.PeerID) (api.Peer, error) {
	return api.Peer{}, api.NotFound.Errorf("none")
}
func (p *peer) Remove(_ context.Context, id api.PeerID, revoke bool) (uint64, error) {
	p.revoked = revoke
	if id.String() == p1 {
		return 0, api.NotFound.Errorf("no such peer")
	}
	return 45, nil
}
func (p *peer) Invite(_ context.Context, ttl time.Duration) (string, error) {
	return "T" + ttl.String(), nil
}
func (p *peer) Names() []string                 { return []string{"ping", "a/b"} }
func (p *peer) Latest(name string) []api.Metric { return []api.Metric{{Name: name, Peer: me}} }
func (p *peer) Alerts() []api.Alert {
	return []api.Alert{{Metric: api.Metric{Name: "ping", Peer: me}, TriggeredAt: time.Unix(5, 0).UTC()}}
}
func (p *peer) Resolve(_ context.Context, path string) (api.Cid, error) {
	if path != "/ipfs/"+cid0+"/a b/ü?#%" {
		return api.CidUndef, api.NotFound.Errorf("no %q", path)
	}
	return api.ParseCid(cid1)
}
func (p *peer) GC(_ context.Context, local bool) (api.GlobalRepoGC, error) {
	return api.GlobalRepoGC{PeerMap: map[string]api.RepoGC{p0: {Peer: me, PeerName: fmt.Sprint(local)}}}, nil
}
func (p *peer) Repair(context.Context) (api.RepairStatus, error) {
	return api.RepairStatus{Below: 2}, nil
}

// start serves p as a door does, and returns a client of it.
func (p *peer) start(t *testing.T, o web.Options, co Options) *Client {
	t.Helper()
	if p.pins == nil {
		p.pins = map[string]api.Pin{}
	}
	o.HTTPListenMultiaddress = []string{"/ip4/127.0.0.1/tcp/0"}
	local := *p
	local.local = true
	h := rest.New(rest.Parts{Version: "1.2.3", Pins: p, Pinset: p, Tracker: p, Local: &local, Adder: p, Peers: p, Monitor: p, Resolver: p, GC: p, Repairs: p}, quiet)
	s, err := web.New(o, h, quiet)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	addr := s.Addrs()[0].(*net.TCPAddr)
	c, err := New(fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", addr.Port), co)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return c
}

func collect[T any](seq iter.Seq2[T, error]) (all []T, err error) {
	for v, e := range seq {
		if e != nil {
			return all, e
		}
		all = append(all, v)
	}
	return all, nil
}

func code(err error) int {
	var e *api.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

func TestClient_Pins(t *testing.T) {
	c := new(peer).start(t, web.Options{}, Options{})
	ctx := t.Context()
	c0, c1 := apitest.Cid(t, cid0), apitest.Cid(t, cid1)
	m, err := multiaddr.NewMultiaddr("/ip4/1.2.3.4/tcp/1/p2p/" + p0)
	if err != nil {
		t.Fatal(err)
	}
	o := api.PinOptions{ReplicationFactorMin: 1, ReplicationFactorMax: 2, Name: "a&b=c", Mode: api.PinDirect, ShardSize: 3,
		UserAllocations: []api.PeerID{apitest.PeerID(t, p0), apitest.PeerID(t, p1)}, ExpireAt: time.Now().Add(time.Hour).Round(0),
		Metadata: map[string]string{"k": "v", "ü ": ""}, PinUpdate: c1, Origins: []api.Multiaddr{m}}
	pin, err := c.Pin(ctx, c0, o)
	if err != nil {
		t.Fatal(err)
	}
	if pin.Revision != 1 || pin.Cid != c0 {
		t.Errorf("got %+v", pin)
	}
	if !pin.ExpireAt.Equal(o.ExpireAt) {
		t.Errorf("expires at %v, want %v", pin.ExpireAt, o.ExpireAt)
	}
	pin.ExpireAt = o.ExpireAt
	if !reflect.DeepEqual(pin.PinOptions, o) {
		t.Errorf("got  %+v\nwant %+v", pin.PinOptions, o)
	}
	if got, err := c.Allocation(ctx, c0); err != nil || got.Name != o.Name || got.UserAllocations != nil {
		t.Errorf("got %+v, %v", got, err)
	}
	if pin, err := c.PinPath(ctx, "/ipfs/"+cid0+"/a b/ü?#%", api.PinOptions{}); err != nil || pin.Cid != c1 || pin.Revision != 2 {
		t.Errorf("got %+v, %v", pin, err)
	}
	if all, err := collect(c.Allocations(ctx)); err != nil || len(all) != 2 {
		t.Errorf("got %d, %v", len(all), err)
	}
	index := uint64(0)
	if all, err := collect(c.Export(ctx, func(i uint64) { index = i })); err != nil || len(all) != 2 || index != 7 {
		t.Errorf("export: %v %v at %d", all, err, index)
	}
	if all, err := collect(c.Allocations(ctx, api.PinMeta, api.PinShard)); err != nil || len(all) != 0 {
		t.Errorf("got %d, %v", len(all), err)
	}
	if pin, err := c.UnpinPath(ctx, "/ipfs/"+cid1); err != nil || pin.Cid != c1 || pin.Revision != 3 {
		t.Errorf("got %+v, %v", pin, err)
	}
	if pin, err := c.Unpin(ctx, c0); err != nil || pin.Name != o.Name {
		t.Errorf("got %+v, %v", pin, err)
	}
	if _, err := c.Unpin(ctx, c0); code(err) != 404 || err.Error() != "pin is not part of the pinset (404)" {
		t.Errorf("got %v", err)
	}
	if _, err := c.Pin(ctx, c0, api.PinOptions{Name: "unlucky"}); code(err) != 409 {
		t.Errorf("got %v", err)
	}
	if _, err := c.Pin(ctx, c0, api.PinOptions{ReplicationFactorMin: 5, ReplicationFactorMax: 2}); code(err) != 400 {
		t.Errorf("got %v", err)
	}
}

func TestClient_Statuses(t *testing.T) {
	c := new(peer).start(t, web.Options{}, Options{})
	ctx := t.Context()
	c0, c1 := apitest.Cid(t, cid0), apitest.Cid(t, cid1)
	for _, local := range []bool{false, true} {
		name := fmt.Sprint(local)
		if info, err := c.Status(ctx, c0, local); err != nil || info.Name != name || info.PeerMap[p0].Cause != api.CauseStalled {
			t.Errorf("got %+v, %v", info, err)
		}
		if info, err := c.Recover(ctx, c1, local); err != nil || info.Name != name || info.Cid != c1 {
			t.Errorf("got %+v, %v", info, err)
		}
		if all, err := collect(c.RecoverAll(ctx, local)); err != nil || len(all) != 1 || all[0].Name != name+" undefined" {
			t.Errorf("got %+v, %v", all, err)
		}
		if all, err := collect(c.Statuses(ctx, StatusList{Local: local, Filter: api.StatusQueued | api.StatusPinned})); err != nil || len(all) != 1 || all[0].Name != name+" pinned,pin_queued,unpin_queued" {
			t.Errorf("got %+v, %v", all, err)
		}
		if all, err := collect(c.Statuses(ctx, StatusList{Local: local, Cids: []api.Cid{c0, c1}})); err != nil || len(all) != 2 || all[1].Cid != c1 {
			t.Errorf("got %+v, %v", all, err)
		}
	}
}

func TestClient_Peers(t *testing.T) {
	p := new(peer)
	c := p.start(t, web.Options{}, Options{})
	ctx := t.Context()
	if id, err := c.ID(ctx); err != nil || id.Role != "leader" {
		t.Errorf("got %+v, %v", id, err)
	}
	if v, err := c.Version(ctx); err != nil || v.Version != "1.2.3" {
		t.Errorf("got %+v, %v", v, err)
	}
	if all, err := collect(c.Peers(ctx)); err != nil || len(all) != 2 || all[1].PeerName != "b" {
		t.Errorf("got %+v, %v", all, err)
	}
	if err := c.RemovePeer(ctx, apitest.PeerID(t, p0)); err != nil {
		t.Error(err)
	}
	if err := c.RevokePeer(ctx, apitest.PeerID(t, p0)); err != nil || !p.revoked {
		t.Errorf("revoked %t, %v", p.revoked, err)
	}
	if err := c.RemovePeer(ctx, apitest.PeerID(t, p1)); code(err) != 404 {
		t.Errorf("got %v", err)
	}
	if token, err := c.Invite(ctx, 2*time.Hour); err != nil || token != "T2h0m0s" {
		t.Errorf("got %q, %v", token, err)
	}
	if err := c.Health(ctx); err != nil {
		t.Error(err)
	}
	if a, err := c.Alerts(ctx); err != nil || len(a) != 1 || a[0].TriggeredAt.Unix() != 5 {
		t.Errorf("got %+v, %v", a, err)
	}
	if n, err := c.MetricNames(ctx); err != nil || !slices.Equal(n, []string{"a/b", "ping"}) && !slices.Equal(n, []string{"ping", "a/b"}) {
		t.Errorf("got %q, %v", n, err)
	}
	if m, err := c.Metrics(ctx, "a/b"); err != nil || len(m) != 1 || m[0].Name != "a/b" {
		t.Errorf("got %+v, %v", m, err)
	}
	if gc, err := c.GC(ctx, true); err != nil || gc.PeerMap[p0].PeerName != "true" {
		t.Errorf("got %+v, %v", gc, err)
	}
	if r, err := c.Repair(ctx); err != nil || r.Below != 2 {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestClient_ListThatBreaksOffIsAnError(t *testing.T) {
	p := &peer{broken: errors.New("bad block"), pins: map[string]api.Pin{"a": {Cid: apitest.Cid(t, cid0), Type: api.PinData}}}
	c := p.start(t, web.Options{}, Options{})
	all, err := collect(c.Allocations(t.Context()))
	if len(all) != 1 || code(err) != 500 || !strings.Contains(err.Error(), "bad block") {
		t.Fatalf("got %d pins, %v", len(all), err)
	}
	// A server that dies is one too.
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"cid":"%s","type":"pin"}`+"\n", cid0)
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}))
	defer s.Close()
	c, err = New(s.URL, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if all, err := collect(c.Allocations(t.Context())); len(all) != 1 || err == nil || code(err) != 0 {
		t.Fatalf("got %d pins, %v", len(all), err)
	}
}

// What ends a stream has the kind that it had on the other side.
func TestClient_ErrorsKeepTheirKind(t *testing.T) {
	pins := map[string]api.Pin{"a": {Cid: apitest.Cid(t, cid0), Type: api.PinData}}
	for _, kind := range []api.Kind{api.Invalid, api.NotFound, api.Conflict, api.Denied, api.TooLarge, api.Full, api.Unavailable, api.Unknown,
		api.Unsupported, api.Internal, api.Lagging} {
		c := (&peer{broken: kind.Errorf("no luck"), pins: pins}).start(t, web.Options{}, Options{})
		if all, err := collect(c.Allocations(t.Context())); len(all) != 1 || api.KindOf(err) != kind || !strings.Contains(err.Error(), "no luck") {
			t.Errorf("after a line: got %d pins, %v, a %q; want %q", len(all), err, api.KindOf(err), kind)
		}
		c = (&peer{broken: kind.Errorf("no luck")}).start(t, web.Options{}, Options{})
		if _, err := collect(c.Allocations(t.Context())); api.KindOf(err) != kind {
			t.Errorf("at once: got %v, a %q; want %q", err, api.KindOf(err), kind)
		}
	}
	for code, kind := range map[int]api.Kind{401: api.Denied, 418: api.Invalid, 431: api.TooLarge, 502: api.Internal} {
		if err := error(&api.Error{Code: code}); api.KindOf(err) != kind || !errors.Is(err, kind) {
			t.Errorf("%d: got a %q, want %q", code, api.KindOf(err), kind)
		}
	}
}

func TestClient_Bulk(t *testing.T) {
	c := new(peer).start(t, web.Options{}, Options{})
	r, w := io.Pipe()
	go func() {
		for _, line := range []string{`{"cid":"` + cid0 + `"}`, `{"cid":"` + cid1 + `","name":"unlucky"}`, `nonsense`, `{"op":"unpin","cid":"` + cid0 + `"}`} {
			fmt.Fprintln(w, line)
		}
		w.Close()
	}()
	all, err := collect(c.Bulk(t.Context(), r))
	if err != nil || len(all) != 4 {
		t.Fatalf("got %+v, %v", all, err)
	}
	if all[0].Index != 1 || all[1].Error.Code != 409 || all[2].Error.Code != 400 || all[2].Line != 3 || all[3].Index != 2 || all[3].Cid != apitest.Cid(t, cid0) {
		t.Fatalf("got %+v", all)
	}
}

// Who ranges over the results may be the one who writes the lines: the results of
// what it writes meanwhile are kept for it.
func TestAhead_DoesNotWaitForWhoRanges(t *testing.T) {
	const n = 10_000
	end := errors.New("the end")
	var answered atomic.Int64
	answers := func(context.Context) iter.Seq2[int, error] {
		return func(yield func(int, error) bool) {
			for i := range n {
				answered.Add(1)
				if !yield(i, nil) {
					return
				}
			}
			yield(n, end)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		next := 0
		for i, err := range ahead(t.Context(), answers) {
			if i == 0 {
				synctest.Wait()
				if got := answered.Load(); got != n {
					t.Fatalf("%d answers were taken, want all", got)
				}
			}
			if i != next || (err == end) != (i == n) {
				t.Fatalf("got %d, %v; want %d", i, err, next)
			}
			next++
		}
		if next != n+1 {
			t.Fatalf("got %d answers", next)
		}
		for range ahead(t.Context(), answers) {
			break // leaving early ends all
		}
	})
}

func TestClient_Auth(t *testing.T) {
	o := web.Options{BasicAuthCredentials: map[string]string{"ann": "secret"}}
	c := new(peer).start(t, o, Options{Username: "ann", Password: "secret"})
	if _, err := c.ID(t.Context()); err != nil {
		t.Error(err)
	}
	c = new(peer).start(t, o, Options{Username: "ann", Password: "wrong"})
	if _, err := c.ID(t.Context()); code(err) != 401 || !strings.Contains(err.Error(), "access denied") {
		t.Errorf("got %v", err)
	}
}

func TestClient_TimeoutAndCancel(t *testing.T) {
	hang := make(chan bool)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	}))
	defer s.Close()
	defer close(hang)
	c, err := New(s.URL, Options{Timeout: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.ID(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if c, err = New(s.URL, Options{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.ID(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestClient_AnswersThatAreNotOurs(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		body   string
		code   int
		text   string
	}{
		"text":    {502, "bad gateway\n", 502, "bad gateway (502)"},
		"nothing": {503, "", 503, "503 Service Unavailable (503)"},
		"moved":   {307, "", 307, "307 Temporary Redirect (307)"},
		"lagging": {202, `{"code":202,"message":"committed at index 9"}`, 202, "committed at index 9 (202)"},
		"html":    {200, "<html>", 0, ""},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(tc.status)
			io.WriteString(w, tc.body)
		}))
		c, err := New(s.URL, Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Pin(t.Context(), apitest.Cid(t, cid0), api.PinOptions{})
		if code(err) != tc.code || err == nil || tc.text != "" && err.Error() != tc.text {
			t.Errorf("%s: got %v, want %q", name, err, tc.text)
		}
		s.Close()
	}
}

func TestClient_NextAddressWhereOneCannotBeReached(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := l.Addr().String()
	l.Close()
	var asked int
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, `{"line":1,"cid":null,"error":{"code":400,"message":%q}}`, b)
	}))
	defer s.Close()
	c, err := New("http://"+dead+", "+s.URL+",http://"+dead, Options{})
	if err != nil {
		t.Fatal(err)
	}
	all, err := collect(c.Bulk(t.Context(), strings.NewReader("body")))
	if err != nil || len(all) != 1 || all[0].Error.Message != "body" || asked != 1 {
		t.Fatalf("got %+v, %v; asked %d times", all, err, asked)
	}
	// One that answers, if with an error, is the answer.
	refusing := httptest.NewServer(http.NotFoundHandler())
	defer refusing.Close()
	if c, err = New(refusing.URL+","+s.URL, Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ID(t.Context()); code(err) != 404 || asked != 1 {
		t.Fatalf("got %v; asked %d times", err, asked)
	}
}

func TestNew_Addresses(t *testing.T) {
	for addr, want := range map[string]string{
		"":                              "http://127.0.0.1:9094",
		"http://h:1":                    "http://h:1",
		"https://h:1/prefix/":           "https://h:1/prefix",
		"h:1":                           "http://h:1",
		"/ip4/1.2.3.4/tcp/5":            "http://1.2.3.4:5",
		"/ip6/::1/tcp/5":                "http://[::1]:5",
		"/dns4/h.example/tcp/5/https":   "https://h.example:5",
		"/dns/h.example/tcp/5/tls/http": "https://h.example:5",
		"/ip4/1.2.3.4/udp/5":            "",
		"/ip4/1.2.3.4/tcp/5/p2p/" + p0:  "http://" + p0,
		"/p2p/" + p0:                    "",
		"/ip4/1.2.3.4":                  "",
		"/nonsense/x":                   "",
		"ftp://h":                       "",
		"unix://":                       "",
		"http://":                       "",
		"nonsense":                      "",
		"http://h:1,":                   "",
	} {
		c, err := New(addr, Options{})
		if want == "" {
			if k := api.KindOf(err); k != api.Invalid && k != api.Unsupported {
				t.Errorf("%q: got %v, want it refused", addr, err)
			}
			continue
		}
		if err != nil || c.endpoints[0].base != want {
			t.Errorf("%q: got %+v, %v; want %q", addr, c, err, want)
			continue
		}
		c.Close()
	}
}

func TestNew_UnixSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "client") // t.TempDir is too long for a socket's name
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"version":"u"}`)
	})}}
	s.Start()
	defer s.Close()
	for _, form := range []string{"/unix", "unix:", "unix://"} {
		c, err := New(form+filepath.Join(dir, "s"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if v, err := c.Version(t.Context()); err != nil || v.Version != "u" {
			t.Fatalf("%s: got %+v, %v", form, v, err)
		}
		c.Close()
	}
}
