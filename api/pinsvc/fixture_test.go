package pinsvc

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	mh "github.com/multiformats/go-multihash"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
	"github.com/pinfold-cluster/pinfold/pinner"
	"github.com/pinfold-cluster/pinfold/state"
)

var quiet = slog.New(slog.DiscardHandler)

func testCid(n int) api.Cid {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(n)))
	m, err := mh.Encode(sum[:], mh.SHA2_256)
	if err != nil {
		panic(err)
	}
	return api.Cid{Cid: cid.NewCidV1(cid.Raw, m)}
}

func testPeer(n int) api.PeerID {
	sum := sha256.Sum256(fmt.Appendf(nil, "peer %d", n))
	p, err := peer.IDFromBytes(append([]byte{0x00, 0x24, 0x08, 0x01, 0x12, 0x20}, sum[:]...))
	if err != nil {
		panic(err)
	}
	return p
}

// cluster is a real pinner over a real state, of one peer that leads, behind the door.
// What peers do with pins is what the test says.
type cluster struct {
	t  testing.TB
	st *state.State
	p  *pinner.Pinner
	h  http.Handler

	mu     sync.Mutex
	does   map[api.Cid]api.PinInfoShort // what the peer has to do; all else is pinned
	writes int
}

func newCluster(t testing.TB, o web.Options) *cluster {
	st, err := state.Open(t.TempDir(), state.Options{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, st: st, does: map[api.Cid]api.PinInfoShort{}}
	b := st.NewBatch()
	if err := b.PutMember(api.Member{ID: testPeer(0)}); err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(1); err != nil {
		t.Fatal(err)
	}
	if c.p, err = pinner.New(testPeer(0), c, pinset{st}, c, nil, pinner.Options{}, quiet); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = c.p.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		st.Close()
	})
	c.h = web.Wrap(o, New(Parts{Pins: c.p, Pinset: st, Tracker: c, Peers: c, Credentials: o.BasicAuthCredentials}, quiet), quiet, nil)
	return c
}

type pinset struct{ *state.State }

func (s pinset) List(ctx context.Context, after api.Cid) iter.Seq2[api.Pin, error] {
	return s.State.List(ctx, state.Query{After: after})
}

func (s pinset) Expiring(ctx context.Context) iter.Seq2[api.Pin, error] {
	return s.State.List(ctx, state.Query{By: state.ByExpiry})
}

func (s pinset) Totals() (pins, bytes uint64) { return s.Stats().Pins, s.Stats().Bytes }

// Commit applies ops at once: the log of a cluster of one.
func (c *cluster) Commit(_ context.Context, ops []api.Op) ([]api.Outcome, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.st.NewBatch()
	index := c.st.Applied() + 1
	out := make([]api.Outcome, len(ops))
	for i, op := range ops {
		out[i] = api.Outcome{Status: api.OpApplied, Index: index}
		var err error
		switch op.Type {
		case api.OpSession:
			b.OpenSession(op.Peer, op.Session)
		case api.OpPin:
			c.writes++
			op.Pin.Revision = index
			err = b.Put(*op.Pin)
		case api.OpUnpin:
			c.writes++
			err = b.Delete(op.Cid)
		}
		if err != nil {
			return nil, err
		}
	}
	return out, b.Commit(index)
}

func (c *cluster) Ready(context.Context) (uint64, error)          { return 1, nil }
func (c *cluster) ReadIndex(context.Context) (uint64, error)      { return c.st.Applied(), nil }
func (c *cluster) Leader() (api.PeerID, bool)                     { return testPeer(0), true }
func (c *cluster) WaitLeader(context.Context) (api.PeerID, error) { return testPeer(0), nil }
func (c *cluster) WaitApplied(context.Context, uint64) error      { return nil }
func (c *cluster) Delegates() map[api.PeerID][]api.Multiaddr      { return delegatesOf(3) }
func (c *cluster) Health() []api.PeerHealth {
	return []api.PeerHealth{{ID: testPeer(0), Alive: true, Measured: true, Index: c.st.Applied()}}
}

func delegatesOf(n int) map[api.PeerID][]api.Multiaddr {
	var addrs []api.Multiaddr
	for i := range n {
		addrs = append(addrs, multiaddr.StringCast(fmt.Sprintf("/ip4/127.0.0.1/tcp/%d/p2p/%s", 4001+i, testPeer(0))))
	}
	return map[api.PeerID][]api.Multiaddr{testPeer(0): addrs}
}

func (c *cluster) Status(ctx context.Context, id api.Cid) (g api.GlobalPinInfo, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, busy := c.does[id]
	if !busy {
		s = api.PinInfoShort{Status: api.StatusPinned}
	}
	g.Merge(api.PinInfo{Cid: id, Peer: testPeer(0), PinInfoShort: s})
	return g, nil
}

func (c *cluster) List(_ context.Context, filter api.TrackerStatus) iter.Seq2[api.GlobalPinInfo, error] {
	return func(yield func(api.GlobalPinInfo, error) bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		for id, s := range c.does {
			var g api.GlobalPinInfo
			g.Merge(api.PinInfo{Cid: id, Peer: testPeer(0), PinInfoShort: s})
			if g.Match(filter) && !yield(g, nil) {
				return
			}
		}
	}
}

// set says what the peer has to do about a CID.
func (c *cluster) set(n int, s api.PinInfoShort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.does[testCid(n)] = s
}

func (c *cluster) written() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writes
}

// ask sends a request and gives its answer.
func (c *cluster) ask(method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	w := httptest.NewRecorder()
	c.h.ServeHTTP(w, r)
	return w
}

func decode[T any](t testing.TB, w *httptest.ResponseRecorder, code int) (v T) {
	t.Helper()
	if w.Code != code {
		t.Fatalf("got %d, want %d: %s", w.Code, code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	return v
}

// add makes a request of the CID n.
func (c *cluster) add(n int, name string, meta ...string) pinStatus {
	c.t.Helper()
	o := pinObject{Cid: testCid(n), Name: name}
	for i := 0; i+1 < len(meta); i += 2 {
		if o.Meta == nil {
			o.Meta = map[string]string{}
		}
		o.Meta[meta[i]] = meta[i+1]
	}
	body, err := json.Marshal(o)
	if err != nil {
		c.t.Fatal(err)
	}
	return decode[pinStatus](c.t, c.ask("POST", "/pins", string(body)), 202)
}

// plain pins the CID n as another door does.
func (c *cluster) plain(n int, name string) {
	c.t.Helper()
	if _, _, err := c.p.Pin(c.t.Context(), api.Pin{Cid: testCid(n), PinOptions: api.PinOptions{Name: name}}); err != nil {
		c.t.Fatal(err)
	}
}

// list gives the names of what a list has, in order, and its count.
func (c *cluster) list(query string) (names []string, count int) {
	c.t.Helper()
	got := decode[pinResults](c.t, c.ask("GET", "/pins"+query, ""), 200)
	times := map[time.Time]bool{}
	for i, r := range got.Results {
		names = append(names, r.Pin.Name)
		times[r.Created] = true
		if i > 0 && r.Created.After(got.Results[i-1].Created) {
			c.t.Fatalf("%s: %v comes after %v", query, r.Created, got.Results[i-1].Created)
		}
	}
	if len(times) != len(got.Results) {
		c.t.Fatalf("%s: %d times of %d requests", query, len(times), len(got.Results))
	}
	return names, got.Count
}

func (c *cluster) wantList(query string, want ...string) {
	c.t.Helper()
	got, count := c.list(query)
	if !slices.Equal(got, want) || count != len(want) {
		c.t.Errorf("%s: got %v of %d, want %v", query, got, count, want)
	}
}
