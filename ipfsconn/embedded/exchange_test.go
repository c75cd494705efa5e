package embedded

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	block "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn"
	"github.com/pinfold-cluster/pinfold/ipfsconn/ipfsconntest"
)

// holders tells of other nodes, and counts how often it is asked.
type holders struct {
	infos []peer.AddrInfo
	asked atomic.Int64
}

func (h *holders) Holders(context.Context, api.Cid) []peer.AddrInfo {
	h.asked.Add(1)
	return h.infos
}

func newHost(t testing.TB) host.Host {
	t.Helper()
	h, err := libp2p.New(libp2p.NoTransports, libp2p.Transport(tcp.NewTCPTransport), libp2p.Security(libp2ptls.ID, libp2ptls.New),
		libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableRelay())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// onLine opens a node on a host of its own that knows of the others.
func onLine(t testing.TB, o Options, others ...*Node) *Node {
	t.Helper()
	return openOn(t, newHost(t), o, others...)
}

func openOn(t testing.TB, h host.Host, o Options, others ...*Node) *Node {
	t.Helper()
	known := &holders{}
	for _, n := range others {
		known.infos = append(known.infos, peer.AddrInfo{ID: n.host.ID(), Addrs: n.host.Addrs()})
	}
	n, err := New(h, t.TempDir(), o, known, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestSuiteOnLine(t *testing.T) {
	ipfsconntest.Run(t, func(t *testing.T) ipfsconn.Connector { return onLine(t, Options{Stall: 500 * time.Millisecond}) })
}

func TestPin_FetchesFromAnotherNode(t *testing.T) {
	holder := onLine(t, Options{})
	// 64 MiB below directories, so that the walk has something to follow.
	entries := map[string]ipfsconntest.Tree{}
	for i, name := range []string{"a", "b", "c", "d"} {
		entries[name] = ipfsconntest.File(t, uint64(i), 64, 256<<10)
	}
	dir := ipfsconntest.Directory(t, entries)
	ipfsconntest.Add(t, holder, dir)
	n := onLine(t, Options{}, holder)

	start := time.Now()
	var last uint64
	if err := n.Pin(within(t, time.Minute), ipfsconntest.Pin(dir.Root), func(b uint64) { last = b }); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes in %v", dir.Size, time.Since(start))
	if last != dir.Size {
		t.Fatalf("%d bytes of progress, want %d", last, dir.Size)
	}
	p, ok, err := n.pins.Get(dir.Root)
	if err != nil || !ok || p.Size != dir.Size {
		t.Fatalf("pin %+v, %v, %v: want size %d", p, ok, err, dir.Size)
	}
	if err := n.host.Network().ClosePeer(holder.host.ID()); err != nil {
		t.Fatal(err)
	}
	for _, b := range dir.Blocks {
		if ok, err := n.blocks.Has(t.Context(), b.Cid()); err != nil || !ok {
			t.Fatalf("block %s: %v, %v", b.Cid(), ok, err)
		}
	}
	if gone := ipfsconntest.Collect(t, n); len(gone) != 0 {
		t.Fatalf("%d blocks of the pin went", len(gone))
	}
}

func TestPin_FetchesOnlyWhatIsMissing(t *testing.T) {
	holder := onLine(t, Options{})
	file := ipfsconntest.File(t, 1, 40, 1000)
	ipfsconntest.Add(t, holder, file)
	n := onLine(t, Options{}, holder)
	ipfsconntest.Put(t, n, file.Blocks[:30]...) // leaves
	if err := n.Pin(within(t, time.Minute), ipfsconntest.Pin(file.Root), nil); err != nil {
		t.Fatal(err)
	}
	st, err := n.bitswap.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if st.BlocksReceived != 11 {
		t.Fatalf("%d blocks came, want the 10 leaves that were missing and the root", st.BlocksReceived)
	}
}

func TestPin_DirectFetchesTheRootOnly(t *testing.T) {
	holder := onLine(t, Options{})
	file := ipfsconntest.File(t, 1, 4, 1000)
	ipfsconntest.Add(t, holder, file)
	n := onLine(t, Options{}, holder)
	p := ipfsconntest.Pin(file.Root)
	p.Mode = api.PinDirect
	if err := n.Pin(within(t, time.Minute), p, nil); err != nil {
		t.Fatal(err)
	}
	st, err := n.bitswap.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if st.BlocksReceived != 1 {
		t.Fatalf("%d blocks came, want the root", st.BlocksReceived)
	}
}

// A holder nobody told of is asked if the pin names it.
func TestFind_AsksOrigins(t *testing.T) {
	holder, n := onLine(t, Options{}), onLine(t, Options{})
	file := ipfsconntest.File(t, 1, 1, 1000)
	ipfsconntest.Add(t, holder, file)
	id, err := holder.ID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := ipfsconntest.Pin(file.Root)
	p.Origins = id.Addresses
	if err := n.Find(within(t, time.Minute), p); err != nil {
		t.Fatal(err)
	}
	if ok, err := n.blocks.Has(t.Context(), file.Root.Cid); err != nil || !ok {
		t.Fatalf("found, but not here: %v", err)
	}
}

// Find must be quick when the holder is known but not connected, when one of the
// holders cannot be reached, and when the holder gets the block only later.
func TestFind_IsQuick(t *testing.T) {
	holder := onLine(t, Options{})
	file := ipfsconntest.File(t, 1, 1, 1000)
	ipfsconntest.Add(t, holder, file)
	n := onLine(t, Options{}, holder)
	dead := newHost(t)
	known := n.peers.(*holders)
	known.infos = slices.Insert(known.infos, 0, peer.AddrInfo{ID: dead.ID(), Addrs: dead.Addrs()})
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := n.Find(within(t, time.Minute), ipfsconntest.Pin(file.Root)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took >= dialTimeout {
		t.Fatalf("took %v", took)
	}

	late := ipfsconntest.File(t, 2, 1, 1000)
	found := make(chan error, 1)
	go func() { found <- n.Find(within(t, time.Minute), ipfsconntest.Pin(late.Root)) }()
	for !slices.Contains(n.bitswap.GetWantlist(), late.Root.Cid) {
		select {
		case err := <-found:
			t.Fatalf("found before it was there: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	ipfsconntest.Add(t, holder, late)
	if err := <-found; err != nil {
		t.Fatal(err)
	}
}

// A bitswap session whose idle timer has run out while it wanted nothing looks for no
// provider any more (boxo v0.42): here, when the one that it knew has gone, and the
// other holder is not connected.
func TestSession_IdleBetweenWants(t *testing.T) {
	gone, holder := onLine(t, Options{}), onLine(t, Options{})
	n := onLine(t, Options{}, gone, holder)
	one, two := ipfsconntest.File(t, 1, 1, 1000), ipfsconntest.File(t, 2, 1, 1000)
	ipfsconntest.Add(t, gone, one)
	ipfsconntest.Add(t, holder, two)
	ctx := within(t, time.Minute)
	s := n.session(ctx, one.Root.Cid)
	defer s.Close()
	if _, err := s.GetBlock(ctx, one.Root.Cid); err != nil {
		t.Fatal(err)
	}
	if err := gone.host.Close(); err != nil {
		t.Fatal(err)
	}
	if err := n.host.Network().ClosePeer(holder.host.ID()); err != nil {
		t.Fatal(err)
	}
	<-time.After(4 * searchDelay) // longer than the idle timer, which is boxo's
	start := time.Now()
	if _, err := s.GetBlock(ctx, two.Root.Cid); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > rebroadcast/2 {
		t.Fatalf("took %v: it hung until the rebroadcast", took)
	}
}

// Nor does a session that is idle before its first want.
func TestSession_IdleBeforeTheFirstWant(t *testing.T) {
	holder := onLine(t, Options{})
	n := onLine(t, Options{}, holder)
	file := ipfsconntest.File(t, 1, 1, 1000)
	ipfsconntest.Add(t, holder, file)
	ctx := within(t, time.Minute)
	s := n.session(ctx, file.Root.Cid)
	defer s.Close()
	<-time.After(4 * searchDelay)
	start := time.Now()
	if _, err := s.GetBlock(ctx, file.Root.Cid); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > rebroadcast/2 {
		t.Fatalf("took %v: it hung until the rebroadcast", took)
	}
}

// What ends a session ends its wants, and is what they fail with.
func TestSession_EndsWithItsContext(t *testing.T) {
	n := onLine(t, Options{})
	c := ipfsconntest.File(t, 1, 1, 100).Root.Cid
	ctx, cancel := context.WithCancel(t.Context())
	s := n.session(ctx, c)
	defer s.Close()
	failed := make(chan error, 1)
	go func() {
		_, err := s.GetBlock(t.Context(), c)
		failed <- err
	}()
	until(t, "it is asked for", func() bool { return len(n.bitswap.GetWantlist()) > 0 })
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
}

// What a bitswap session asks nobody for is asked for in another, beside it; once.
func TestSession_BesideOneThatIsStuck(t *testing.T) {
	t.Parallel()
	holder := onLine(t, Options{})
	n := onLine(t, Options{}, holder)
	file := ipfsconntest.File(t, 1, 40, 1000)
	ipfsconntest.Add(t, holder, file)
	ctx := within(t, time.Minute)
	s := n.session(ctx, file.Root.Cid)
	defer s.Close()
	ended := make(chan struct{})
	s.cur = &asking{Fetcher: stuck{}, cancel: func() { close(ended) }, idle: time.Now().Add(time.Hour)}
	got := cid.NewSet()
	var wants []cid.Cid
	for _, b := range file.Blocks {
		wants = append(wants, b.Cid())
	}
	in, err := s.GetBlocks(ctx, wants)
	if err != nil {
		t.Fatal(err)
	}
	for b := range in {
		if !got.Visit(b.Cid()) {
			t.Errorf("block %s comes twice", b.Cid())
		}
	}
	if got.Len() != len(wants) {
		t.Errorf("%d blocks come of %d", got.Len(), len(wants))
	}
	select {
	case <-ended:
	case <-ctx.Done():
		t.Error("the stuck one is not ended")
	}
}

// stuck is a bitswap session without peers.
type stuck struct{}

func (stuck) GetBlock(ctx context.Context, _ cid.Cid) (block.Block, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (stuck) GetBlocks(ctx context.Context, _ []cid.Cid) (<-chan block.Block, error) {
	none := make(chan block.Block)
	context.AfterFunc(ctx, func() { close(none) })
	return none, nil
}

func TestFind_ClosesItsWants(t *testing.T) {
	holder := onLine(t, Options{})
	n := onLine(t, Options{}, holder)
	for i := range 20 {
		c := ipfsconntest.File(t, uint64(i), 1, 100).Root
		if err := n.Find(within(t, 30*time.Millisecond), ipfsconntest.Pin(c)); api.CauseOf(err) != api.CauseNoProvider {
			t.Fatalf("error %v, cause %q", err, api.CauseOf(err))
		}
	}
	deadline := within(t, time.Minute)
	for len(n.bitswap.GetWantlist()) > 0 || len(holder.bitswap.members.WantlistForPeer(n.host.ID())) > 0 {
		select {
		case <-deadline.Done():
			t.Fatalf("wants left: %v here, %v at the other node", n.bitswap.GetWantlist(), holder.bitswap.members.WantlistForPeer(n.host.ID()))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestPin_Causes(t *testing.T) {
	holder := onLine(t, Options{})
	hasty := onLine(t, Options{Stall: time.Second}, holder)
	n := onLine(t, Options{StorageMax: 3 << 20}, holder)
	tests := map[string]struct {
		held  ipfsconntest.Tree // what the other node has of it
		want  api.Cause
		wants api.Cid
	}{}
	add := func(name string, tree ipfsconntest.Tree, held int, want api.Cause) {
		part := tree
		part.Blocks = tree.Blocks[held:]
		tests[name] = struct {
			held  ipfsconntest.Tree
			want  api.Cause
			wants api.Cid
		}{part, want, tree.Root}
	}
	add("nobody has it", ipfsconntest.File(t, 1, 1, 100), 2, api.CauseNoProvider)
	add("a leaf is missing", ipfsconntest.File(t, 2, 3, 100), 1, api.CauseStalled)
	add("no room", ipfsconntest.File(t, 3, 4, 1<<20), 0, api.CauseDiskFull)
	bad := ipfsconntest.Block(t, cid.DagProtobuf, []byte("no protobuf"))
	add("undecodable", ipfsconntest.Tree{Root: api.Cid{Cid: bad.Cid()}, Blocks: ipfsconntest.Tree{}.Over(t).Blocks}, 0, api.CauseBadBlock)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			bs := test.held.Blocks
			if test.want == api.CauseBadBlock {
				bs = append(bs, bad)
			}
			ipfsconntest.Put(t, holder, bs...)
			if test.want == api.CauseStalled { // only what is missing is to be waited for
				ipfsconntest.Put(t, hasty, bs[len(bs)-1])
			}
			n := n
			if test.want == api.CauseNoProvider || test.want == api.CauseStalled {
				n = hasty // what ends by its clock is not to wait long; what does not, to be hurried
			}
			err := n.Pin(within(t, 60*time.Second), ipfsconntest.Pin(test.wants), nil)
			if api.CauseOf(err) != test.want {
				t.Fatalf("error %v, cause %q, want %q", err, api.CauseOf(err), test.want)
			}
			if _, pinned, err := n.PinStatus(t.Context(), test.wants); err != nil || pinned {
				t.Fatalf("pinned all the same: %v", err)
			}
		})
	}
}

// A block between our limit and bitswap's own reaches the node, and is refused.
func TestPin_TooBigBlock(t *testing.T) {
	holder := onLine(t, Options{})
	n := onLine(t, Options{}, holder)
	big := ipfsconntest.Leaf(t, 1, ipfsconn.MaxBlockSize+1000)
	if err := holder.blocks.Put(t.Context(), big); err != nil {
		t.Fatal(err)
	}
	err := n.Pin(within(t, time.Minute), ipfsconntest.Pin(api.Cid{Cid: big.Cid()}), nil)
	if api.CauseOf(err) != api.CauseTooBig {
		t.Fatalf("error %v, cause %q", err, api.CauseOf(err))
	}
}

func TestPin_EndsWithItsContext(t *testing.T) {
	holder := onLine(t, Options{})
	file := ipfsconntest.File(t, 1, 3, 100)
	ipfsconntest.Put(t, holder, file.Blocks[1:]...)
	n := onLine(t, Options{}, holder)
	came := func() bool {
		return !slices.ContainsFunc(file.Blocks[1:], func(b block.Block) bool {
			ok, err := n.blocks.Has(t.Context(), b.Cid())
			return err != nil || !ok
		})
	}
	for wait := 300 * time.Millisecond; !came() && wait < time.Minute; wait *= 2 { // as long as a slow machine needs
		if err := n.Pin(within(t, wait), ipfsconntest.Pin(file.Root), nil); api.KindOf(err) != api.Unavailable {
			t.Fatalf("error %v of kind %q", err, api.KindOf(err))
		}
	}
	// What came is kept for the next try, and goes with the pin.
	if gone := ipfsconntest.Collect(t, n); len(gone) != 0 {
		t.Fatalf("%d blocks of an unfinished pin went", len(gone))
	}
	for range n.Pinned(t.Context(), api.CidUndef) {
		t.Fatal("an unfinished pin is listed")
	}
	if err := n.Unpin(t.Context(), file.Root); err != nil {
		t.Fatal(err)
	}
	if gone := ipfsconntest.Collect(t, n); len(gone) != 3 {
		t.Fatalf("%d blocks went, want 3", len(gone))
	}
}

// Content that nobody has must not hold up content that is there.
func TestFind_AmidManyThatFindNothing(t *testing.T) {
	holder := onLine(t, Options{})
	n := onLine(t, Options{}, holder)
	ctx, cancel := context.WithCancel(t.Context())
	var lost errgroup.Group
	const missing = 1000
	for i := range missing {
		c := api.Cid{Cid: ipfsconntest.Leaf(t, uint64(i), 10).Cid()}
		lost.Go(func() error {
			if err := n.Find(ctx, ipfsconntest.Pin(c)); api.CauseOf(err) != api.CauseNoProvider {
				return fmt.Errorf("error %v, cause %q", err, api.CauseOf(err))
			}
			return nil
		})
	}
	deadline := within(t, time.Minute)
	for len(n.bitswap.GetWantlist()) < missing {
		select {
		case <-deadline.Done():
			t.Fatalf("%d wants", len(n.bitswap.GetWantlist()))
		case <-time.After(time.Millisecond):
		}
	}
	start := time.Now()
	for i := range 20 {
		file := ipfsconntest.File(t, uint64(i), 2, 100)
		ipfsconntest.Add(t, holder, file)
		if err := n.Pin(deadline, ipfsconntest.Pin(file.Root), nil); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("20 pins amid %d searches took %v", missing, time.Since(start))
	cancel()
	if err := lost.Wait(); err != nil {
		t.Fatal(err)
	}
}
