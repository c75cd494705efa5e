package embedded

import (
	"context"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/pinfold-cluster/pinfold/api"
)

// guarded is the node's block store for those that may still ask when the node
// closes: boxo's bitswap and gateway.
type guarded struct{ n *Node }

func (g guarded) Has(ctx context.Context, c cid.Cid) (bool, error) {
	if err := g.n.use.begin(); err != nil {
		return false, err
	}
	defer g.n.use.end()
	return g.n.blocks.Has(ctx, c)
}

func (g guarded) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	if err := g.n.use.begin(); err != nil {
		return nil, err
	}
	defer g.n.use.end()
	b, err := g.n.blocks.Get(ctx, c)
	if err != nil && !ipld.IsNotFound(err) {
		// With a kind, so that a reader can tell a fault of the store from content that
		// cannot be read.
		err = api.KindOf(err).Errorf("%w", err)
	}
	return b, err
}

func (g guarded) GetSize(ctx context.Context, c cid.Cid) (int, error) {
	if err := g.n.use.begin(); err != nil {
		return 0, err
	}
	defer g.n.use.end()
	return g.n.blocks.GetSize(ctx, c)
}

func (g guarded) Put(context.Context, blocks.Block) error       { return errReadOnly }
func (g guarded) PutMany(context.Context, []blocks.Block) error { return errReadOnly }
func (g guarded) DeleteBlock(context.Context, cid.Cid) error    { return errReadOnly }
func (g guarded) AllKeysChan(context.Context) (<-chan cid.Cid, error) {
	return nil, errReadOnly
}

var errReadOnly = api.Unsupported.Errorf("blocks come by pins and adds only")

// recentBytes bounds the memory of recent.
const recentBytes = 16 << 20

// recent shows the node's blocks and, on top, the last ones fetched for readers: what
// they look at is not kept on disk.
type recent struct {
	blockstore.Blockstore
	mu    sync.Mutex
	lru   *lru.LRU[string, blocks.Block] // by multihash
	bytes int
}

func newRecent(below blockstore.Blockstore) *recent {
	r := &recent{Blockstore: below}
	r.lru, _ = lru.NewLRU(recentBytes, func(_ string, b blocks.Block) { r.bytes -= len(b.RawData()) }) // fails for a size of 0 only
	return r
}

func (r *recent) Put(_ context.Context, b blocks.Block) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := string(b.Cid().Hash())
	if r.lru.Contains(k) {
		return nil
	}
	r.lru.Add(k, b)
	r.bytes += len(b.RawData())
	for r.bytes > recentBytes {
		r.lru.RemoveOldest()
	}
	return nil
}

func (r *recent) PutMany(ctx context.Context, bs []blocks.Block) error {
	for _, b := range bs {
		if err := r.Put(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

func (r *recent) Has(ctx context.Context, c cid.Cid) (bool, error) {
	if _, ok := r.get(c); ok {
		return true, nil
	}
	return r.Blockstore.Has(ctx, c)
}

func (r *recent) GetSize(ctx context.Context, c cid.Cid) (int, error) {
	if b, ok := r.get(c); ok {
		return len(b.RawData()), nil
	}
	return r.Blockstore.GetSize(ctx, c)
}

func (r *recent) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	if b, ok := r.get(c); ok {
		return blocks.NewBlockWithCid(b.RawData(), c)
	}
	return r.Blockstore.Get(ctx, c)
}

func (r *recent) get(c cid.Cid) (blocks.Block, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lru.Get(string(c.Hash()))
}
