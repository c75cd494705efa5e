package rpc

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"net"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/fxamacker/cbor/v2"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/p2p"
)

var quiet = slog.New(slog.DiscardHandler)

// world is a server on a host of its own, and a cluster to make others in.
type world struct {
	t       testing.TB
	secret  p2p.Secret
	cluster *p2p.Cluster
	server  *p2p.Host
	removed sync.Map // of peer IDs
}

func newWorld(t testing.TB, h Handlers) *world {
	t.Helper()
	id := newIdentity(t)
	c, err := p2p.NewCluster("test", id.ID, id.ID)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, secret: p2p.NewSecret(), cluster: c}
	w.server = w.host(id, c)
	s, err := NewServer(w.server, h, quiet)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return w
}

func newIdentity(t testing.TB) p2p.Identity {
	t.Helper()
	id, err := p2p.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (w *world) host(id p2p.Identity, c *p2p.Cluster) *p2p.Host {
	w.t.Helper()
	o := p2p.Options{Secret: w.secret, Listen: []multiaddr.Multiaddr{multiaddr.StringCast("/ip4/127.0.0.1/tcp/0")}}
	removed := func(p peer.ID) bool { _, ok := w.removed.Load(p); return ok }
	h, err := p2p.NewHost(id, c, p2p.Roster{Removed: removed}, o, quiet)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { h.Close() })
	if w.server != nil {
		w.server.AddKnown(info(h))
		if err := h.Connect(w.t.Context(), info(w.server)); err != nil {
			w.t.Fatal(err)
		}
	}
	return h
}

func info(h *p2p.Host) peer.AddrInfo {
	infos, err := peer.AddrInfosFromP2pAddrs(h.Addrs()...)
	if err != nil || len(infos) != 1 {
		panic("a host without addresses")
	}
	return infos[0]
}

// as makes a host with a certificate of that incarnation; of 0, none.
func (w *world) as(incarnation uint64) *p2p.Host {
	w.t.Helper()
	id := newIdentity(w.t)
	c := &p2p.Cluster{Key: w.cluster.Key, Incarnation: incarnation}
	if incarnation != 0 {
		by := *w.cluster
		by.Incarnation = incarnation
		var err error
		if c.Certificate, err = by.Certify(id.ID, id.ID); err != nil {
			w.t.Fatal(err)
		}
	}
	return w.host(id, c)
}

func (w *world) member() *p2p.Host { w.t.Helper(); return w.as(w.cluster.Incarnation) }

// client makes a client on the host, and calls until the server listens.
func (w *world) client(h *p2p.Host) *Client {
	w.t.Helper()
	c := NewClient(h)
	w.t.Cleanup(func() { c.Close() })
	for {
		l, err := h.Dial(w.t.Context(), w.server.ID(), api.RPCProtocol)
		if err == nil {
			l.Close()
			return c
		}
		select {
		case <-w.t.Context().Done():
			w.t.Fatal(err)
		case <-time.After(time.Millisecond):
		}
	}
}

// all answers every call with its sample and tells who called.
func all(called func(from api.PeerID)) Handlers {
	one := func(from api.PeerID) error { called(from); return nil }
	return Handlers{
		Identify: func(_ context.Context, from api.PeerID) (api.Peer, error) { return api.Peer{PeerName: "s"}, one(from) },
		Join: func(_ context.Context, from api.PeerID, req api.JoinRequest) (api.JoinAnswer, error) {
			return api.JoinAnswer{Index: uint64(len(req.Credential))}, one(from)
		},
		Standing: func(_ context.Context, from api.PeerID) (api.Standing, error) {
			return api.Standing{Removed: true, Index: 7}, one(from)
		},
		RemovePeer: func(_ context.Context, from, removed api.PeerID) (uint64, error) {
			return uint64(len(removed)), one(from)
		},
		RevokePeer: func(_ context.Context, from, removed api.PeerID) (uint64, error) {
			return uint64(2 * len(removed)), one(from)
		},
		Revoke: func(_ context.Context, from api.PeerID, id string) (uint64, error) { return uint64(len(id)), one(from) },
		Links: func(_ context.Context, from api.PeerID) (api.PeerLinks, error) {
			return api.PeerLinks{IPFS: peer2, Swarm: []api.PeerID{peer1}}, one(from)
		},
		RepoStat: func(_ context.Context, from api.PeerID) (api.RepoStat, error) {
			return api.RepoStat{RepoSize: 1, StorageMax: 3, Free: 2}, one(from)
		},
		Repair: func(_ context.Context, from api.PeerID) (api.RepairStatus, error) {
			return api.RepairStatus{Running: true, Below: 4}, one(from)
		},
		RepoGC: func(_ context.Context, from api.PeerID) (api.RepoGC, error) {
			return api.RepoGC{Peer: peer1, Keys: []api.RepoGCKey{{Key: cid1}}}, one(from)
		},
		Commit: func(_ context.Context, from api.PeerID, b api.Batch) (api.Committed, error) {
			var c api.Committed
			for _, r := range b.Requests {
				c.Results = append(c.Results, api.Result{Pin: r.Pin, Index: r.Seq})
			}
			return c, one(from)
		},
		ReadIndex: func(_ context.Context, from api.PeerID) (uint64, error) { return 42, one(from) },
		News: func(_ context.Context, from api.PeerID, q api.NewsQuery) (api.NewsPage, error) {
			return api.NewsPage{Epoch: q.Epoch, Last: q.After + 1}, one(from)
		},
		Status: func(_ context.Context, from api.PeerID, c api.Cid) (api.PinInfo, error) {
			i := info1
			i.Cid = c
			return i, one(from)
		},
		Statuses: func(_ context.Context, from api.PeerID, q api.StatusQuery) (api.StatusPage, error) {
			return api.StatusPage{Items: []api.PinInfo{info1}, Last: q.After, More: true}, one(from)
		},
		Recover: func(_ context.Context, from api.PeerID, c api.Cid) (api.PinInfo, error) { return info1, one(from) },
		RecoverAll: func(_ context.Context, from api.PeerID, q api.StatusQuery) (api.StatusPage, error) {
			return api.StatusPage{Last: q.After}, one(from)
		},
		Holds: func(_ context.Context, from api.PeerID, cids []api.Cid) ([]bool, error) {
			return make([]bool, len(cids)), one(from)
		},
		Followers: func(_ context.Context, from api.PeerID, q api.FollowerQuery) ([]api.Follower, error) {
			return []api.Follower{{FollowerStatus: api.FollowerStatus{ID: q.After, Pinned: uint64(q.Limit)}}}, one(from)
		},
		Copies: func(_ context.Context, from api.PeerID, cids []api.Cid) ([]api.PinInfo, error) {
			return []api.PinInfo{{Cid: cids[0], Peer: peer1}}, one(from)
		},
		Proven: func(_ context.Context, from api.PeerID, wanted []api.CopyQuery) ([][]api.PeerID, error) {
			return make([][]api.PeerID, len(wanted)), one(from)
		},
		Questions: func(_ context.Context, from api.PeerID, cids []api.Cid) ([]api.Question, error) {
			return make([]api.Question, len(cids)), one(from)
		},
		Claims: func(_ context.Context, from api.PeerID, news api.ClaimNews) (api.ClaimsHeard, error) {
			return api.ClaimsHeard{Life: uint64(len(news.Claims))}, one(from)
		},
	}
}

func TestCalls_ArriveAndAreAnswered(t *testing.T) {
	var from atomic.Value
	w := newWorld(t, all(func(p api.PeerID) { from.Store(p) }))
	h := w.member()
	c, to, ctx := w.client(h), w.server.ID(), t.Context()
	check := func(name string, got, want any, err error) {
		t.Helper()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v %v, want %+v", name, got, err, want)
		}
		if from.Swap(api.PeerID("")) != h.ID() {
			t.Errorf("%s: the handler was not told who calls", name)
		}
	}
	p, err := c.Identify(ctx, to)
	check("identify", p, api.Peer{PeerName: "s"}, err)
	j, err := c.Join(ctx, to, api.JoinRequest{DataID: peer1, Credential: []byte{1, 2, 3}})
	check("join", j, api.JoinAnswer{Index: 3}, err)
	st, err := c.Standing(ctx, to)
	check("standing", st, api.Standing{Removed: true, Index: 7}, err)
	i, err := c.RemovePeer(ctx, to, peer1)
	check("remove", i, uint64(len(peer1)), err)
	i, err = c.RevokePeer(ctx, to, peer1)
	check("remove and revoke", i, uint64(2*len(peer1)), err)
	i, err = c.Revoke(ctx, to, "abcde")
	check("revoke", i, uint64(5), err)
	l, err := c.Links(ctx, to)
	check("links", l, api.PeerLinks{IPFS: peer2, Swarm: []api.PeerID{peer1}}, err)
	stat, err := c.RepoStat(ctx, to)
	check("stat", stat, api.RepoStat{RepoSize: 1, StorageMax: 3, Free: 2}, err)
	rep, err := c.Repair(ctx, to)
	check("repair", rep, api.RepairStatus{Running: true, Below: 4}, err)
	gc, err := c.RepoGC(ctx, to)
	check("gc", gc, api.RepoGC{Peer: peer1, Keys: []api.RepoGCKey{{Key: cid1}}}, err)
	r, err := c.Commit(ctx, to, api.Batch{Requests: []api.Request{{Pin: pin1, Seq: 7}}})
	check("commit", r, api.Committed{Results: []api.Result{{Pin: pin1, Index: 7}}}, err)
	i, err = c.ReadIndex(ctx, to)
	check("index", i, uint64(42), err)
	s, err := c.Status(ctx, to, info1.Cid)
	check("status", s, info1, err)
	page, err := c.Statuses(ctx, to, api.StatusQuery{After: cid0})
	check("statuses", page, api.StatusPage{Items: []api.PinInfo{info1}, Last: cid0, More: true}, err)
	s, err = c.Recover(ctx, to, cid0)
	check("recover", s, info1, err)
	page, err = c.RecoverAll(ctx, to, api.StatusQuery{After: cid1})
	check("recover all", page, api.StatusPage{Last: cid1}, err)
	held, err := c.Holds(ctx, to, []api.Cid{cid0, cid1})
	check("holds", held, []bool{false, false}, err)
	fs, err := c.Followers(ctx, to, api.FollowerQuery{After: peer1, Limit: 3})
	check("followers", fs, []api.Follower{{FollowerStatus: api.FollowerStatus{ID: peer1, Pinned: 3}}}, err)
	infos, err := c.Copies(ctx, to, []api.Cid{cid0, cid1})
	check("copies", infos, []api.PinInfo{{Cid: cid0, Peer: peer1}}, err)
	who, err := c.Proven(ctx, to, []api.CopyQuery{{Cid: cid0, Need: 1}, {Cid: cid1}})
	check("proven", who, make([][]api.PeerID, 2), err)
	asked, err := c.Questions(ctx, to, []api.Cid{cid0})
	check("questions", asked, make([]api.Question, 1), err)
	heard, err := c.Claims(ctx, to, api.ClaimNews{Claims: []api.FollowerClaim{{Peer: peer1}, {Peer: peer2}}})
	check("claims", heard, api.ClaimsHeard{Life: 2}, err)
}

// The whole table, called by all sorts of peers that are not members.
func TestCalls_RulesHold(t *testing.T) {
	var calls atomic.Int64
	h := all(func(api.PeerID) { calls.Add(1) })
	w := newWorld(t, h)
	removed := w.member()
	w.removed.Store(removed.ID(), true)
	bodies := map[string]any{string(join): api.JoinRequest{DataID: peer1}, string(removePeer): peer1, string(revokePeer): peer1,
		string(status): cid1, string(recoverPin): cid1, string(holds): []api.Cid{cid1}, string(copies): []api.Cid{cid1},
		string(proven): []api.CopyQuery{{Cid: cid1}}, string(questions): []api.Cid{cid1}}
	for name, host := range map[string]*p2p.Host{
		"member": w.member(), "stranger": w.as(0), "of another incarnation": w.as(w.cluster.Incarnation + 1), "removed": removed,
	} {
		c := w.client(host)
		for _, entry := range h.calls() {
			t.Run(name+entry.path, func(t *testing.T) {
				if entry.rule != open && entry.rule != member {
					t.Fatal("the call has no rule")
				}
				body, ok := bodies[entry.path]
				if !ok {
					body = struct{}{}
				}
				b, err := codec{}.Marshal(body)
				if err != nil {
					t.Fatal(err)
				}
				before := calls.Load()
				_, err = invoke(t.Context(), c, w.server.ID(), proc[cbor.RawMessage, cbor.RawMessage](entry.path), cbor.RawMessage(b), maxMessage)
				allowed := name == "member" || slices.Contains([]string{string(identify), string(join), string(standing)}, entry.path)
				if allowed != (err == nil) || !allowed && api.KindOf(err) != api.Denied {
					t.Errorf("got %v (%s), allowed: %v", err, api.KindOf(err), allowed)
				}
				if ran := calls.Load() > before; ran != allowed {
					t.Errorf("the handler ran: %v, allowed: %v", ran, allowed)
				}
			})
		}
	}
}

func TestNewServer_RefusesGaps(t *testing.T) {
	if n, want := reflect.TypeFor[Handlers]().NumField(), len(Handlers{}.calls()); n != want {
		t.Fatalf("%d handlers, %d calls in the table", n, want)
	}
	for i := range reflect.TypeFor[Handlers]().NumField() {
		h := all(func(api.PeerID) {})
		reflect.ValueOf(&h).Elem().Field(i).SetZero()
		if _, err := NewServer(nil, h, quiet); err == nil {
			t.Errorf("without %s", reflect.TypeFor[Handlers]().Field(i).Name)
		}
	}
}

// Every constant of type proc is in the table.
func TestCalls_AreInTheTable(t *testing.T) {
	table := map[string]bool{}
	for _, c := range (Handlers{}).calls() {
		table[c.path] = true
	}
	found := 0
	for v, text := range constants(t, "*.go") {
		typ, ok := v.Type.(*ast.IndexListExpr)
		if !ok {
			continue
		}
		if name, ok := typ.X.(*ast.Ident); ok && name.Name == "proc" {
			found++
			if !table[text] {
				t.Errorf("%s is not in the table", text)
			}
		}
	}
	if found != len(table) {
		t.Errorf("%d constants, %d calls in the table", found, len(table))
	}
}

// constants yields the declarations of one typed string each in the files.
func constants(t *testing.T, pattern string) map[*ast.ValueSpec]string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	found := map[*ast.ValueSpec]string{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok && v.Type != nil && len(v.Values) == 1 {
				if lit, ok := v.Values[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
					found[v] = strings.Trim(lit.Value, `"`)
				}
			}
			return true
		})
	}
	return found
}

// A call that somebody adds without a rule is nobody's.
func TestGate_NoRuleIsNobody(t *testing.T) {
	s := &Server{log: quiet}
	_, err := s.gate("/x", 0)(t.Context(), connect.Spec{}, connectPeer(peer1.String()), nil)
	if connect.CodeOf(err) != connect.CodePermissionDenied {
		t.Fatalf("got %v", err)
	}
	_, err = s.gate("/x", open)(t.Context(), connect.Spec{}, connectPeer("192.0.2.1:80"), nil)
	if err == nil {
		t.Fatal("a caller that is no peer passes")
	}
}

func connectPeer(addr string) connect.Peer { return connect.Peer{Addr: addr} }

// kindsOf lists the kinds that package api declares.
func kindsOf(t *testing.T) []api.Kind {
	t.Helper()
	var list []api.Kind
	for v, text := range constants(t, "../*.go") {
		if name, ok := v.Type.(*ast.Ident); ok && name.Name == "Kind" {
			list = append(list, api.Kind(text))
		}
	}
	if len(list) < 10 {
		t.Fatalf("found only %d kinds", len(list))
	}
	return list
}

func TestErrors_KeepTheirKindAndText(t *testing.T) {
	var next atomic.Value // of errBox
	type errBox struct{ err error }
	h := all(func(api.PeerID) {})
	h.ReadIndex = func(context.Context, api.PeerID) (uint64, error) { return 0, next.Load().(errBox).err }
	w := newWorld(t, h)
	c := w.client(w.member())
	type tc struct {
		err  error
		want api.Kind
	}
	cases := []tc{
		{errors.New("bug"), api.Internal},
		{context.DeadlineExceeded, api.Unknown},
		{context.Canceled, api.Unknown},
		{api.Unavailable.Errorf("wait for a leader: %w", context.DeadlineExceeded), api.Unavailable},
		{api.Kind("of a later version").Errorf("x"), api.Internal},
		{api.NotFound.Errorf("Möhre\n\"%%\""), api.NotFound},
		// The error of an own call, passed on.
		{connect.NewError(connect.CodeNotFound, errors.New("x")), api.Internal},
	}
	for _, kind := range kindsOf(t) {
		cases = append(cases, tc{kind.Errorf("text of %s", kind), kind}, tc{kind, kind})
	}
	for _, tc := range cases {
		next.Store(errBox{tc.err})
		_, err := c.ReadIndex(t.Context(), w.server.ID())
		if got := api.KindOf(err); got != tc.want || err.Error() != tc.err.Error() {
			t.Errorf("%q of kind %s arrived as %q of kind %s, want %s", tc.err, api.KindOf(tc.err), err, got, tc.want)
		}
	}
}

// What is not answered is Unavailable where nothing was sent, else Unknown.
func TestErrors_WithoutAnAnswer(t *testing.T) {
	began := make(chan uint64, 100)
	h := all(func(api.PeerID) {})
	h.Commit = func(ctx context.Context, _ api.PeerID, b api.Batch) (api.Committed, error) {
		began <- b.Requests[0].Seq
		<-ctx.Done()
		return api.Committed{}, ctx.Err()
	}
	w := newWorld(t, h)
	host := w.member()
	c := w.client(host)
	want := func(name string, err error, kind api.Kind) {
		t.Helper()
		if api.KindOf(err) != kind {
			t.Errorf("%s: %v of kind %s, want %s", name, err, api.KindOf(err), kind)
		}
	}

	batch := func(seq uint64) api.Batch { return api.Batch{Requests: []api.Request{{Seq: seq}}} }
	// once calls f when the handler has begun with that batch; it may still begin with one
	// whose caller has gone.
	once := func(seq uint64, f func()) {
		go func() {
			for n := range began {
				if n == seq {
					f()
					return
				}
			}
		}()
	}

	_, err := c.Commit(t.Context(), newIdentity(t).ID, batch(0))
	want("nobody there", err, api.Unavailable)

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = c.Commit(ended, w.server.ID(), batch(0))
	want("a context that has ended", err, api.Unavailable)

	ctx, cancel := context.WithCancel(t.Context())
	once(1, cancel)
	_, err = c.Commit(ctx, w.server.ID(), batch(1))
	want("cancelled while it was answered", err, api.Unknown)

	// Where the machine is slow, nothing is sent within the time.
	err = api.Unavailable
	for wait := 50 * time.Millisecond; api.KindOf(err) == api.Unavailable && wait < time.Minute; wait *= 2 {
		ctx, cancel = context.WithTimeout(t.Context(), wait)
		_, err = c.Commit(ctx, w.server.ID(), batch(2))
		cancel()
	}
	want("too late", err, api.Unknown)

	once(3, func() { w.server.Drop(host.ID()) })
	if _, err := c.ReadIndex(t.Context(), w.server.ID()); err != nil { // so that it is known, and dropped
		t.Fatal(err)
	}
	_, err = c.Commit(t.Context(), w.server.ID(), batch(3))
	want("the connection broke", err, api.Unknown)

	if err := host.Connect(t.Context(), info(w.server)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ReadIndex(t.Context(), w.server.ID()); err != nil {
		t.Fatalf("once connected again: %v", err)
	}
	w.server.Close()
	_, err = c.ReadIndex(t.Context(), w.server.ID())
	if kind := api.KindOf(err); kind != api.Unavailable && kind != api.Unknown {
		t.Errorf("the server is gone: %v", err)
	}
	_, err = c.ReadIndex(t.Context(), w.server.ID())
	want("the server is gone for a while", err, api.Unavailable)
}

func TestErrors_OtherVersionNamesBoth(t *testing.T) {
	w := newWorld(t, all(func(api.PeerID) {}))
	old := w.member()
	l, err := old.Listen("/pinfold/rpc/0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	host := w.member()
	if err := host.Connect(t.Context(), info(old)); err != nil {
		t.Fatal(err)
	}
	c := w.client(host)
	_, err = c.Identify(t.Context(), old.ID())
	if api.KindOf(err) != api.Unsupported || !strings.Contains(err.Error(), "/pinfold/rpc/0") || !strings.Contains(err.Error(), api.RPCProtocol) {
		t.Fatalf("got %v of kind %s, want it Unsupported and to name both", err, api.KindOf(err))
	}
	_, err = invoke(t.Context(), c, w.server.ID(), proc[struct{}, struct{}]("/tracker/later"), struct{}{}, maxMessage)
	if api.KindOf(err) != api.Unsupported {
		t.Fatalf("a call of a later version: %v of kind %s", err, api.KindOf(err))
	}
}

func TestLimits(t *testing.T) {
	h := all(func(api.PeerID) {})
	h.Identify = func(context.Context, api.PeerID) (api.Peer, error) {
		return api.Peer{Version: strings.Repeat("x", maxMessage)}, nil
	}
	h.RepoGC = func(context.Context, api.PeerID) (api.RepoGC, error) {
		keys := make([]api.RepoGCKey, maxElements+1)
		for i := range keys {
			keys[i].Key = cid1
		}
		return api.RepoGC{Peer: peer1, Keys: keys}, nil
	}
	w := newWorld(t, h)
	stranger, member := w.client(w.as(0)), w.client(w.member())
	want := func(name string, err error, kind api.Kind) {
		t.Helper()
		if api.KindOf(err) != kind {
			t.Errorf("%s: %.200v of kind %s, want %s", name, err, api.KindOf(err), kind)
		}
	}
	big := func(n int) api.JoinRequest { return api.JoinRequest{DataID: peer1, Credential: make([]byte, n)} }
	_, err := stranger.Join(t.Context(), w.server.ID(), big(maxOpenRequest-200))
	want("as much as a stranger may send", err, "")
	_, err = stranger.Join(t.Context(), w.server.ID(), big(maxOpenRequest))
	want("more than a stranger may send", err, api.TooLarge)
	batch := api.Batch{Requests: []api.Request{{Pin: api.Pin{Cid: cid1, PinOptions: api.PinOptions{Name: strings.Repeat("x", maxMessage)}}}}}
	_, err = member.Commit(t.Context(), w.server.ID(), batch)
	want("more than a member may send", err, api.TooLarge)
	batch.Requests[0].Pin.Name = batch.Requests[0].Pin.Name[:maxMessage-1000]
	_, err = member.Commit(t.Context(), w.server.ID(), batch)
	want("as much as a member may send", err, "")
	gc, err := member.RepoGC(t.Context(), w.server.ID())
	want("what a large collection removed", err, "")
	if len(gc.Keys) != maxElements+1 {
		t.Errorf("%d keys arrived, want %d", len(gc.Keys), maxElements+1)
	}
	_, err = member.Identify(t.Context(), w.server.ID())
	want("an answer that is too long", err, api.Unknown)
}

// Calls at once do not wait for each other, and their streams are used again.
func TestCalls_AtOnce(t *testing.T) {
	var inside atomic.Int64
	gate := make(chan struct{})
	h := all(func(api.PeerID) {})
	h.Status = func(_ context.Context, _ api.PeerID, c api.Cid) (api.PinInfo, error) {
		if inside.Add(1) == callsPerPeer {
			close(gate)
		}
		<-gate
		return api.PinInfo{Cid: c}, nil
	}
	w := newWorld(t, h)
	var dials atomic.Int64
	host := w.member()
	w.client(host)
	c := NewClient(dialer(func(ctx context.Context, p api.PeerID, proto string) (net.Conn, error) {
		dials.Add(1)
		return host.Dial(ctx, p, proto)
	}))
	defer c.Close()
	for range 10 {
		if _, err := c.ReadIndex(t.Context(), w.server.ID()); err != nil {
			t.Fatal(err)
		}
	}
	if n := dials.Load(); n != 1 {
		t.Fatalf("%d streams for calls one after another, want 1", n)
	}
	var wg sync.WaitGroup
	for range callsPerPeer {
		wg.Go(func() {
			if _, err := c.Status(t.Context(), w.server.ID(), cid1); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

type dialer func(context.Context, api.PeerID, string) (net.Conn, error)

func (d dialer) Dial(ctx context.Context, p api.PeerID, proto string) (net.Conn, error) {
	return d(ctx, p, proto)
}

func BenchmarkCall(b *testing.B) {
	for _, n := range []int{1, 300} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			h := all(func(api.PeerID) {})
			page := api.StatusPage{Items: make([]api.PinInfo, n)}
			for i := range page.Items {
				page.Items[i] = info1
			}
			h.Statuses = func(context.Context, api.PeerID, api.StatusQuery) (api.StatusPage, error) { return page, nil }
			w := newWorld(b, h)
			c := w.client(w.member())
			for b.Loop() {
				if _, err := c.Statuses(b.Context(), w.server.ID(), api.StatusQuery{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
