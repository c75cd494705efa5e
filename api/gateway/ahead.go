package gateway

import (
	"context"
	"slices"
	"sync"

	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/boxo/ipld/merkledag"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"golang.org/x/sync/errgroup"
)

// window is how many blocks a walk is ahead of what is asked for: 4 MiB of the usual size.
const window = 16

// ahead is what boxo reads a whole DAG from, in order and one block at a time: it gets
// the blocks that come next before they are asked for.
type ahead struct {
	blockstore.Blockstore
	from blockservice.BlockGetter
	root cid.Cid
	get  errgroup.Group
	ctx  context.Context // of the walk

	mu     sync.Mutex
	ended  bool
	next   []cid.Cid // what links seen so far lead to, in the order of the walk
	coming map[cid.Cid]*coming
}

// coming is a block that is being got. Its fields may be read once done is closed.
type coming struct {
	done  chan struct{}
	block blocks.Block
	err   error
}

// newAhead reads for a walk of the DAG of root, which end ends.
func newAhead(ctx context.Context, from blockservice.BlockService, root cid.Cid) *ahead {
	return &ahead{Blockstore: from.Blockstore(), from: blockservice.NewSession(ctx, from), root: root, ctx: ctx, coming: map[cid.Cid]*coming{}}
}

// Get implements blockstore.Blockstore, for the walk.
func (a *ahead) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	a.mu.Lock()
	b := a.start(c)
	a.mu.Unlock()
	select {
	case <-b.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if b.err == nil {
		a.follow(c, b.block)
	}
	return b.block, b.err
}

// start gets c unless it is coming. The caller holds mu.
func (a *ahead) start(c cid.Cid) *coming {
	if b, ok := a.coming[c]; ok {
		return b
	}
	b := &coming{done: make(chan struct{}), err: context.Canceled}
	if a.ended {
		close(b.done)
		return b
	}
	a.coming[c] = b
	a.get.Go(func() error {
		defer close(b.done)
		b.block, b.err = a.from.GetBlock(a.ctx, c)
		return nil // Get tells it
	})
	return b
}

// follow notes that the walk has reached c, and starts what comes after it.
func (a *ahead) follow(c cid.Cid, b blocks.Block) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.coming, c)
	i := slices.Index(a.next, c)
	if i < 0 && c != a.root {
		return // on the path to the root
	}
	for _, passed := range a.next[:i+1] { // seen before, and left out by the walk
		delete(a.coming, passed)
	}
	a.next = a.next[i+1:]
	if c.Type() == cid.DagProtobuf {
		if node, err := merkledag.DecodeProtobuf(b.RawData()); err == nil {
			links := make([]cid.Cid, 0, len(node.Links()))
			for _, l := range node.Links() {
				links = append(links, l.Cid)
			}
			a.next = append(links, a.next...)
		}
	}
	for _, c := range a.next[:min(window, len(a.next))] {
		a.start(c)
	}
}

// end returns once nothing is being got. The context of the walk must have ended.
func (a *ahead) end() error {
	a.mu.Lock()
	a.ended = true
	a.mu.Unlock()
	return a.get.Wait()
}
