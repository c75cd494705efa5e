package transfer

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	manet "github.com/multiformats/go-multiaddr/net"
	mh "github.com/multiformats/go-multihash"

	"github.com/pinfold-cluster/pinfold/api"
)

var quiet = slog.New(slog.DiscardHandler)

// memory is a store that verifies and keeps what it is given.
type memory struct {
	room  uint64                          // of one add; 0 without bound
	onPut func(ctx context.Context) error // before each batch

	mu      sync.Mutex
	blocks  map[cid.Cid][]byte
	pinned  []cid.Cid
	opened  []uint64
	aborted chan struct{} // has an item for each abort of an open add
	ended   int           // adds committed, whether with a root or not
}

func newMemory() *memory {
	return &memory{blocks: map[cid.Cid][]byte{}, aborted: make(chan struct{}, 16)}
}

func (m *memory) OpenAdd(_ context.Context, size uint64) (Add, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.opened = append(m.opened, size)
	if m.room > 0 && size > m.room {
		return nil, api.Full.Errorf("%d bytes do not fit", size)
	}
	return &memoryAdd{m: m}, nil
}

type memoryAdd struct {
	m    *memory
	used uint64
	over bool
}

func (a *memoryAdd) Put(ctx context.Context, bs []blocks.Block) error {
	if a.m.onPut != nil {
		if err := a.m.onPut(ctx); err != nil {
			return err
		}
	}
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	for _, b := range bs {
		got, err := b.Cid().Prefix().Sum(b.RawData())
		if err != nil || got != b.Cid() {
			return api.Invalid.Errorf("block %s does not match its CID", b.Cid())
		}
		a.used += uint64(len(b.RawData()))
		if a.m.room > 0 && a.used > a.m.room {
			return api.Full.Errorf("no space left on the disk")
		}
		a.m.blocks[b.Cid()] = b.RawData()
	}
	return nil
}

func (a *memoryAdd) Commit(_ context.Context, root api.Cid) error {
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	a.over = true
	a.m.ended++
	if root.Defined() {
		a.m.pinned = append(a.m.pinned, root.Cid)
	}
	return nil
}

func (a *memoryAdd) Abort() error {
	if !a.over {
		a.over = true
		a.m.aborted <- struct{}{}
	}
	return nil
}

// wantAbort waits until an open add was aborted.
func (m *memory) wantAbort(t *testing.T) {
	t.Helper()
	select {
	case <-m.aborted:
	case <-time.After(time.Minute):
		t.Fatal("the add was not aborted")
	}
}

func newHost(tb testing.TB) host.Host {
	tb.Helper()
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Security(libp2ptls.ID, libp2ptls.New), libp2p.DisableRelay(), libp2p.DisableIdentifyAddressDiscovery())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { h.Close() })
	return h
}

func anyone(context.Context, peer.ID) error { return nil }

// serve runs a server of st and returns a client connected to it.
func serve(tb testing.TB, st Store, allow func(context.Context, peer.ID) error, o Options) (*Client, *Server) {
	tb.Helper()
	here, there := newHost(tb), newHost(tb)
	s := NewServer(there, st, allow, o, quiet)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Error(err)
		}
	})
	if err := here.Connect(tb.Context(), peer.AddrInfo{ID: there.ID(), Addrs: there.Addrs()}); err != nil {
		tb.Fatal(err)
	}
	for !contains(there) {
		runtime.Gosched() // until Run has set its handler
	}
	return NewClient(here), s
}

func contains(h host.Host) bool {
	for _, p := range h.Mux().Protocols() {
		if p == Protocol {
			return true
		}
	}
	return false
}

// random returns n different blocks of size bytes each.
func random(n, size int) []blocks.Block {
	src := rand.NewChaCha8([32]byte{byte(n), byte(size)})
	bs := make([]blocks.Block, n)
	for i := range bs {
		data := make([]byte, size)
		src.Read(data)
		bs[i] = blockOf(data)
	}
	return bs
}

func blockOf(data []byte) blocks.Block {
	c, err := cid.V1Builder{Codec: cid.Raw, MhType: mh.SHA2_256}.Sum(data)
	if err != nil {
		panic(err)
	}
	b, err := blocks.NewBlockWithCid(data, c)
	if err != nil {
		panic(err)
	}
	return b
}

func rootOf(bs []blocks.Block) api.Cid { return api.Cid{Cid: bs[len(bs)-1].Cid()} }

func TestAdd_StoresEverythingAndPinsTheRoot(t *testing.T) {
	for _, tc := range []struct {
		name string
		n    int
		size int
		pin  bool
	}{
		{"one empty block", 1, 0, true},
		{"small blocks", 1000, 100, true},
		{"several windows", 20, 1 << 20, true},
		{"the largest blocks", 6, MaxBlock, true},
		{"nothing to pin", 3, 1000, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			st := newMemory()
			c, s := serve(t, st, anyone, Options{})
			bs := random(tc.n, tc.size)
			add, err := c.Send(t.Context(), s.h.ID(), 12345)
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(bs); i += 7 {
				if err := add.Put(t.Context(), bs[i:min(i+7, len(bs))]); err != nil {
					t.Fatal(err)
				}
			}
			root := api.CidUndef
			if tc.pin {
				root = rootOf(bs)
			}
			if err := add.Commit(t.Context(), root); err != nil {
				t.Fatal(err)
			}
			if err := add.Abort(); err != nil {
				t.Fatal(err)
			}
			st.mu.Lock()
			defer st.mu.Unlock()
			for _, b := range bs {
				if !bytes.Equal(st.blocks[b.Cid()], b.RawData()) {
					t.Fatalf("block %s is missing or differs", b.Cid())
				}
			}
			if st.ended != 1 || st.opened[0] != 12345 {
				t.Fatalf("got %d commits, opened %v", st.ended, st.opened)
			}
			if tc.pin && (len(st.pinned) != 1 || st.pinned[0] != root.Cid) || !tc.pin && len(st.pinned) != 0 {
				t.Fatalf("pinned %v, want %v", st.pinned, root)
			}
			if len(st.aborted) != 0 {
				t.Fatal("a committed add was aborted")
			}
		})
	}
}

func TestSend_RefusalCarriesKindAndText(t *testing.T) {
	st := newMemory()
	st.room = 1000
	c, s := serve(t, st, anyone, Options{})
	_, err := c.Send(t.Context(), s.h.ID(), 1001)
	if !errors.Is(err, api.Full) || !strings.Contains(err.Error(), "1001 bytes do not fit") {
		t.Fatalf("got %v, want Full with the store's text", err)
	}
	if !strings.Contains(err.Error(), s.h.ID().String()) {
		t.Fatalf("%v does not name the peer", err)
	}
}

func TestSend_StrangerIsRefused(t *testing.T) {
	st := newMemory()
	c, s := serve(t, st, func(_ context.Context, p peer.ID) error {
		return api.Denied.Errorf("%s is not a member", p)
	}, Options{})
	_, err := c.Send(t.Context(), s.h.ID(), 1)
	if !errors.Is(err, api.Denied) || !strings.Contains(err.Error(), c.h.ID().String()+" is not a member") {
		t.Fatalf("got %v, want Denied", err)
	}
	if len(st.opened) != 0 {
		t.Fatal("the store was asked on behalf of a stranger")
	}
}

func TestSend_BoundsStreams(t *testing.T) {
	c, s := serve(t, newMemory(), anyone, Options{StreamsPerPeer: 2})
	var adds []Add
	for range 2 {
		add, err := c.Send(t.Context(), s.h.ID(), 0)
		if err != nil {
			t.Fatal(err)
		}
		adds = append(adds, add)
	}
	if _, err := c.Send(t.Context(), s.h.ID(), 0); !errors.Is(err, api.Unavailable) {
		t.Fatalf("third add: got %v, want Unavailable", err)
	}
	if err := adds[0].Commit(t.Context(), api.CidUndef); err != nil {
		t.Fatal(err)
	}
	add, err := c.Send(t.Context(), s.h.ID(), 0)
	for end := time.Now().Add(time.Minute); err != nil && time.Now().Before(end); { // its place is free just after the answer
		add, err = c.Send(t.Context(), s.h.ID(), 0)
	}
	if err != nil {
		t.Fatalf("after one has ended: %v", err)
	}
	add.Abort()
	adds[1].Abort()
}

func TestPut_FaultInTheMiddleReachesTheClient(t *testing.T) {
	st := newMemory()
	st.room = 10 << 20
	c, s := serve(t, st, anyone, Options{})
	add, err := c.Send(t.Context(), s.h.ID(), 0)
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	for _, b := range random(24, 1<<20) {
		if err = add.Put(t.Context(), []blocks.Block{b}); err != nil {
			break
		}
		sent++
	}
	if !errors.Is(err, api.Full) || !strings.Contains(err.Error(), "no space left on the disk") {
		t.Fatalf("got %v, want Full with the store's text", err)
	}
	if limit := 10 + 8 + 1; sent > limit {
		t.Fatalf("%d MiB were taken, want at most %d", sent, limit)
	}
	if err := add.Commit(t.Context(), api.CidUndef); !errors.Is(err, api.Full) {
		t.Fatalf("commit after the fault: got %v, want Full", err)
	}
	st.wantAbort(t)
}

func TestPut_BlockThatDoesNotMatchIsRefused(t *testing.T) {
	st := newMemory()
	c, s := serve(t, st, anyone, Options{})
	add, err := c.Send(t.Context(), s.h.ID(), 0)
	if err != nil {
		t.Fatal(err)
	}
	bad, err := blocks.NewBlockWithCid([]byte("other"), blockOf([]byte("one")).Cid())
	if err != nil {
		t.Fatal(err)
	}
	if err := add.Put(t.Context(), []blocks.Block{bad}); err != nil {
		t.Fatal(err)
	}
	if err := add.Commit(t.Context(), rootOf([]blocks.Block{bad})); !errors.Is(err, api.Invalid) {
		t.Fatalf("got %v, want Invalid", err)
	}
	st.wantAbort(t)
	if len(st.blocks) != 0 || st.ended != 0 {
		t.Fatal("something was kept")
	}
}

func TestPut_TooLargeBlockIsNotSent(t *testing.T) {
	c, s := serve(t, newMemory(), anyone, Options{})
	add, err := c.Send(t.Context(), s.h.ID(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer add.Abort()
	if err := add.Put(t.Context(), random(1, MaxBlock+1)); !errors.Is(err, api.TooLarge) {
		t.Fatalf("got %v, want TooLarge", err)
	}
}

// A store that stands still holds the client back at the window.
func TestPut_WaitsForASlowStore(t *testing.T) {
	st := newMemory()
	gate := make(chan struct{})
	st.onPut = func(ctx context.Context) error {
		select {
		case <-gate:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	c, s := serve(t, st, anyone, Options{Window: 8 << 20})
	add, err := c.Send(t.Context(), s.h.ID(), 0)
	if err != nil {
		t.Fatal(err)
	}
	bs := random(16, 1<<20)
	var mu sync.Mutex
	sent, done := 0, make(chan error, 1)
	go func() {
		for _, b := range bs {
			if err := add.Put(t.Context(), []blocks.Block{b}); err != nil {
				done <- err
				return
			}
			mu.Lock()
			sent++
			mu.Unlock()
		}
		done <- add.Commit(t.Context(), rootOf(bs))
	}()
	select {
	case err := <-done:
		t.Fatalf("ended with the store standing still: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	mu.Lock()
	if sent > 8 {
		t.Fatalf("%d MiB went out, the window is 8", sent)
	}
	mu.Unlock()
	close(gate)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if len(st.blocks) != len(bs) {
		t.Fatalf("%d blocks stored, want %d", len(st.blocks), len(bs))
	}
}

// Little memory slows many adds down, and never stops them for good.
func TestServer_ManyAddsShareLittleMemory(t *testing.T) {
	st := newMemory()
	c, s := serve(t, st, anyone, Options{Memory: 1}) // raised to two blocks
	done := make(chan error)
	const adds = 8
	for i := range adds {
		go func() {
			add, err := c.Send(t.Context(), s.h.ID(), 0)
			if err != nil {
				done <- err
				return
			}
			bs := random(5+i%3, 1<<20)
			if err := add.Put(t.Context(), bs); err != nil {
				done <- err
				return
			}
			done <- add.Commit(t.Context(), rootOf(bs))
		}()
	}
	for range adds {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if !s.memory.TryAcquire(s.o.Memory) {
		t.Fatal("memory was not given back")
	}
}

func TestAdd_CutConnection(t *testing.T) {
	st := newMemory()
	c, s := serve(t, st, anyone, Options{})
	add, err := c.Send(t.Context(), s.h.ID(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := add.Put(t.Context(), random(10, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := c.h.Network().ClosePeer(s.h.ID()); err != nil {
		t.Fatal(err)
	}
	st.wantAbort(t)
	if err := add.Put(t.Context(), random(1, 1)); !errors.Is(err, api.Unavailable) {
		t.Fatalf("put: got %v, want Unavailable", err)
	}
	if err := add.Abort(); err != nil {
		t.Fatal(err)
	}
}

func TestCommit_CutConnectionLeavesTheOutcomeUnknown(t *testing.T) {
	st := newMemory()
	c, s := serve(t, st, anyone, Options{})
	st.onPut = func(context.Context) error { return c.h.Network().ClosePeer(s.h.ID()) }
	add, err := c.Send(t.Context(), s.h.ID(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := add.Put(t.Context(), random(1, 10)); err != nil {
		t.Fatal(err)
	}
	if err := add.Commit(t.Context(), api.CidUndef); !errors.Is(err, api.Unknown) {
		t.Fatalf("got %v, want Unknown", err)
	}
}

func TestAdd_CancelAborts(t *testing.T) {
	st := newMemory()
	st.onPut = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	c, s := serve(t, st, anyone, Options{})
	add, err := c.Send(t.Context(), s.h.ID(), 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := add.Put(ctx, random(12, 1<<20)); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v, want the end of the context", err)
	}
	add.Abort()
	st.wantAbort(t)
}

func TestServer_StoppingAborts(t *testing.T) {
	st := newMemory()
	here, there := newHost(t), newHost(t)
	s := NewServer(there, st, anyone, Options{}, quiet)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	for !contains(there) {
		runtime.Gosched()
	}
	if err := here.Connect(t.Context(), peer.AddrInfo{ID: there.ID(), Addrs: there.Addrs()}); err != nil {
		t.Fatal(err)
	}
	add, err := NewClient(here).Send(t.Context(), there.ID(), 0)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if len(st.aborted) != 1 {
		t.Fatal("Run returned before the add was aborted")
	}
	if err := add.Commit(t.Context(), api.CidUndef); err == nil {
		t.Fatal("a commit on a stopped server succeeded")
	}
}

// A client that lives but has nothing to send keeps its add; one that says nothing
// at all loses it.
func TestServer_IdleClient(t *testing.T) {
	st := newMemory()
	const idle = 3 * time.Second // the living one says something four times in that, on a slow machine too
	c, s := serve(t, st, anyone, Options{Idle: idle})
	c.idle = idle
	add, err := c.Send(t.Context(), s.h.ID(), 0)
	if err != nil {
		t.Fatal(err)
	}
	raw := dialRaw(t, c, s)
	writeAll(t, raw, openFrame(t))
	st.wantAbort(t) // the raw one's, after the idle time
	if err := add.Put(t.Context(), random(1, 1)); err != nil {
		t.Fatalf("the living add: %v", err)
	}
	if err := add.Commit(t.Context(), api.CidUndef); err != nil {
		t.Fatalf("the living add: %v", err)
	}
}

// A server that is gone or stands still is given up, whatever waits for it; the
// client says which.
func TestClient_SilentServer(t *testing.T) {
	for name, tc := range map[string]struct {
		serve func(network.Stream)
		stall time.Duration
		cause string
	}{
		"never answers": {func(st network.Stream) { io.Copy(io.Discard, st) }, 200 * time.Millisecond, "no sign of life for 200ms"},
		"falls silent": {func(st network.Stream) {
			st.Write(countFrame(frameGranted, 1<<20))
			io.Copy(io.Discard, st)
		}, 200 * time.Millisecond, "no sign of life for 200ms"},
		"reads no more": {func(st network.Stream) {
			st.Write(countFrame(frameGranted, 1<<40))
		}, 200 * time.Millisecond, "no sign of life for 200ms"},
		"lives and stores nothing": {func(st network.Stream) {
			st.Write(countFrame(frameGranted, 1<<20))
			go io.Copy(io.Discard, st)
			for range time.Tick(5 * time.Millisecond) {
				if _, err := st.Write(countFrame(frameAck, 0)); err != nil {
					return
				}
			}
		}, time.Minute, "stored nothing for 300ms"},
	} {
		t.Run(name, func(t *testing.T) {
			here, there := newHost(t), newHost(t)
			there.SetStreamHandler(Protocol, tc.serve)
			if err := here.Connect(t.Context(), peer.AddrInfo{ID: there.ID(), Addrs: there.Addrs()}); err != nil {
				t.Fatal(err)
			}
			c := NewClient(here)
			c.stall, c.idle = tc.stall, 300*time.Millisecond
			start := time.Now()
			add, err := c.Send(t.Context(), there.ID(), 0)
			if err == nil {
				err = add.Put(t.Context(), random(16, 1<<20))
				add.Abort()
			}
			if !errors.Is(err, api.Unavailable) || !strings.Contains(err.Error(), tc.cause) {
				t.Fatalf("got %v, want Unavailable and %q", err, tc.cause)
			}
			if took := time.Since(start); took > 30*time.Second {
				t.Fatalf("that took %v", took)
			}
		})
	}
}

// A host that takes connections and answers nothing does not hold up an opening.
func TestSend_FrozenHost(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // connections wait in the kernel
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	here, there := newHost(t), newHost(t)
	addr, err := manet.FromNetAddr(l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	here.Peerstore().AddAddr(there.ID(), addr, time.Hour)
	c := NewClient(here)
	c.stall = 200 * time.Millisecond
	if _, err := c.Send(t.Context(), there.ID(), 0); !errors.Is(err, api.Unavailable) || !strings.Contains(err.Error(), "no sign of life for 200ms") {
		t.Fatalf("got %v, want Unavailable", err)
	}
}

// A store that is slow is not one that is gone.
func TestAdd_SlowStoreIsWaitedFor(t *testing.T) {
	st := newMemory()
	const stall = 3 * time.Second // with a beat in it on a slow machine too
	st.onPut = func(ctx context.Context) error {
		select {
		case <-time.After(2 * stall):
		case <-ctx.Done():
		}
		return ctx.Err()
	}
	c, s := serve(t, st, anyone, Options{Beat: stall / 50})
	c.stall = stall
	add, err := c.Send(t.Context(), s.h.ID(), 0)
	if err != nil {
		t.Fatal(err)
	}
	bs := random(1, 1000)
	if err := add.Put(t.Context(), bs); err != nil {
		t.Fatal(err)
	}
	if err := add.Commit(t.Context(), rootOf(bs)); err != nil {
		t.Fatal(err)
	}
}

func dialRaw(tb testing.TB, c *Client, s *Server) network.Stream {
	tb.Helper()
	st, err := c.h.NewStream(tb.Context(), s.h.ID(), Protocol)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { st.Reset() })
	return st
}

func openFrame(tb testing.TB) []byte {
	tb.Helper()
	p, err := api.Encode(open{})
	if err != nil {
		tb.Fatal(err)
	}
	return frame(frameOpen, p)
}

func writeAll(tb testing.TB, w io.Writer, b []byte) {
	tb.Helper()
	if _, err := w.Write(b); err != nil {
		tb.Fatal(err)
	}
}

func TestServer_RefusesFramesAgainstTheRules(t *testing.T) {
	block := blockOf([]byte("x"))
	for _, tc := range []struct {
		name string
		send []byte // after the opening
	}{
		{"a huge frame", appendHeader(nil, frameBlock, 1<<40)},
		{"a frame over the limit of its type", appendHeader(nil, frameEnd, maxCid+1)},
		{"a frame without a type", []byte{0}},
		{"an unknown type", frame(99, nil)},
		{"a server's frame", frame(frameDone, nil)},
		{"a second opening", frame(frameOpen, nil)},
		{"a block without a CID", frame(frameBlock, nil)},
		{"a block with half a CID", frame(frameBlock, block.Cid().Bytes()[:20])},
		{"a root with something behind", frame(frameEnd, append(block.Cid().Bytes(), 1))},
		{"a length that never ends", bytes.Repeat([]byte{0xff}, 32)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			st := newMemory()
			c, s := serve(t, st, anyone, Options{})
			raw := dialRaw(t, c, s)
			writeAll(t, raw, append(openFrame(t), tc.send...))
			in := bufio.NewReader(raw)
			var err error
			for err == nil {
				typ, n, herr := readHeader(in)
				if herr != nil {
					t.Fatal(herr)
				}
				p, perr := readPayload(in, n)
				if perr != nil {
					t.Fatal(perr)
				}
				if typ == frameFault {
					err = parseFault(p)
				} else if typ != frameGranted {
					t.Fatalf("got a frame of type %d", typ)
				}
			}
			if k := api.KindOf(err); k != api.Invalid {
				t.Fatalf("got %v (%s), want Invalid", err, k)
			}
			st.wantAbort(t)
		})
	}
}

func FuzzFrames(f *testing.F) {
	b := blockOf([]byte("data"))
	f.Add(frame(frameBlock, append(b.Cid().Bytes(), b.RawData()...)))
	f.Add(frame(frameEnd, b.Cid().Bytes()))
	f.Add(append(frame(frameAlive, nil), countFrame(frameAck, 1<<33)...))
	f.Add(appendHeader(nil, frameBlock, 1<<30))
	fault, err := faultFrame(api.Full.Errorf("full"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(fault)
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bufio.NewReader(bytes.NewReader(in))
		for {
			typ, n, err := readHeader(r)
			if err != nil {
				return
			}
			if n > frameLimits[typ] {
				t.Fatalf("type %d with %d bytes got through", typ, n)
			}
			p, err := readPayload(r, n)
			if err != nil {
				return
			}
			if len(p) != n {
				t.Fatalf("%d bytes, want %d", len(p), n)
			}
			switch typ {
			case frameBlock:
				if b, err := parseBlock(p); err == nil && len(b.RawData()) > MaxBlock {
					t.Fatalf("a block of %d bytes", len(b.RawData()))
				}
			case frameEnd:
				parseRoot(p)
			case frameGranted, frameAck:
				if v, err := parseCount(p); err == nil && v < 0 {
					t.Fatalf("count %d", v)
				}
			case frameFault:
				if parseFault(p) == nil {
					t.Fatal("a fault that is none")
				}
			}
		}
	})
}

// BenchmarkSend carries 64 MiB in blocks of 256 KiB; the store verifies each.
func BenchmarkSend(b *testing.B) {
	st := newMemory()
	c, s := serve(b, st, anyone, Options{})
	bs := random(256, 256<<10)
	b.SetBytes(256 * 256 << 10)
	for b.Loop() {
		add, err := c.Send(b.Context(), s.h.ID(), 0)
		if err != nil {
			b.Fatal(err)
		}
		for i := 0; i < len(bs); i += 4 {
			if err := add.Put(b.Context(), bs[i:i+4]); err != nil {
				b.Fatal(err)
			}
		}
		if err := add.Commit(b.Context(), rootOf(bs)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHash is the same bytes through one SHA-256, to compare with.
func BenchmarkHash(b *testing.B) {
	bs := random(256, 256<<10)
	b.SetBytes(256 * 256 << 10)
	for b.Loop() {
		for _, block := range bs {
			sha256.Sum256(block.RawData())
		}
	}
}
