package adder

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"

	"github.com/ipfs/boxo/files"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/test"

	"github.com/pinfold-cluster/pinfold/api"
)

var quiet = slog.New(slog.DiscardHandler)

// cluster is peers with stores in memory, and a pinset.
type cluster struct {
	min   int
	ids   []api.PeerID
	peers map[api.PeerID]*memory
	mu    sync.Mutex // guards pins
	pins  []api.Pin
	fail  error // of Pin
	sizes []uint64
}

func newCluster(tb testing.TB, n, min int) *cluster {
	tb.Helper()
	c := &cluster{min: min, peers: map[api.PeerID]*memory{}}
	for range n {
		id, err := test.RandPeerID()
		if err != nil {
			tb.Fatal(err)
		}
		c.ids = append(c.ids, id)
		c.peers[id] = &memory{blocks: map[cid.Cid][]byte{}}
	}
	return c
}

func (c *cluster) adder(o Options) *Adder { return New(c.ids[0], c, c, o, quiet) }

func (c *cluster) Place(_ context.Context, _ api.PinOptions, size uint64) (api.Placement, error) {
	c.sizes = append(c.sizes, size)
	return api.Placement{Peers: c.ids, Min: c.min}, nil
}

func (c *cluster) Pin(_ context.Context, p api.Pin) (api.Pin, uint64, error) {
	if c.fail != nil {
		return api.Pin{}, 0, c.fail
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pins = append(c.pins, p)
	return p, 7, nil
}

func (c *cluster) Send(_ context.Context, p peer.ID, size uint64) (Destination, error) {
	m := c.peers[p]
	if m.refuse != nil {
		return nil, m.refuse
	}
	return &memoryAdd{m: m}, nil
}

// memory is one peer's store. It checks and keeps what it is given.
type memory struct {
	refuse     error // of opening
	onPut      func(ctx context.Context, batches int) error
	failCommit error
	forget     bool // keep nothing, for benchmarks

	mu      sync.Mutex
	blocks  map[cid.Cid][]byte
	puts    int
	bytes   int
	pinned  []cid.Cid
	durable int // commits without a root
	aborted int
	misused bool
}

type memoryAdd struct {
	m     *memory
	ended bool
	batch int
}

func (a *memoryAdd) Put(ctx context.Context, bs []blocks.Block) error {
	a.batch++
	if a.m.onPut != nil {
		if err := a.m.onPut(ctx, a.batch); err != nil {
			return err
		}
	}
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	a.m.misused = a.m.misused || a.ended
	for _, b := range bs {
		a.m.puts++
		a.m.bytes += len(b.RawData())
		if a.m.forget {
			continue
		}
		got, err := b.Cid().Prefix().Sum(b.RawData())
		if err != nil {
			return err
		}
		if got != b.Cid() {
			return api.Invalid.Errorf("block %s does not match its CID", b.Cid())
		}
		a.m.blocks[b.Cid()] = b.RawData()
	}
	return nil
}

func (a *memoryAdd) Commit(_ context.Context, root api.Cid) error {
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	a.m.misused = a.m.misused || a.ended
	if a.m.failCommit != nil {
		return a.m.failCommit
	}
	a.ended = true
	if !root.Defined() {
		a.m.durable++
		return nil
	}
	if _, ok := a.m.blocks[root.Cid]; !ok && !a.m.forget {
		return api.NotFound.Errorf("root %s is not here", root)
	}
	a.m.pinned = append(a.m.pinned, root.Cid)
	return nil
}

func (a *memoryAdd) Abort() error {
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	a.m.misused = a.m.misused || a.ended
	a.ended = true
	a.m.aborted++
	return nil
}

// add adds and returns the lines too.
func (c *cluster) add(tb testing.TB, dir files.Directory, p api.AddParams) (api.Pin, []api.AddedOutput, error) {
	tb.Helper()
	var out []api.AddedOutput
	pin, err := c.adder(Options{}).Add(tb.Context(), dir, p, func(o api.AddedOutput) error {
		out = append(out, o)
		return nil
	})
	for id, m := range c.peers {
		if m.misused {
			tb.Errorf("peer %s: a destination was used after its end", id)
		}
		if len(m.pinned)+m.durable+m.aborted == 0 && m.refuse == nil && !p.Local && slices.Contains(c.ids, id) && len(c.sizes) > 0 {
			tb.Errorf("peer %s: its destination was left open", id)
		}
	}
	return pin, out, err
}

func blockWith(tb testing.TB, data []byte, c cid.Cid) blocks.Block {
	tb.Helper()
	b, err := blocks.NewBlockWithCid(data, c)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}
