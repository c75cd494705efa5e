package embedded

import (
	"context"
	"iter"
	"runtime"
	"time"

	block "github.com/ipfs/go-block-format"
	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded/blocks"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded/dag"
)

// add implements ipfsconn.Add.
type add struct {
	n     *Node
	lease *blocks.Lease
	size  uint64 // of the blocks put
	ended bool
}

// OpenAdd implements ipfsconn.Connector.
func (n *Node) OpenAdd(_ context.Context, size uint64) (ipfsconn.Add, error) {
	if err := n.use.begin(); err != nil {
		return nil, err
	}
	defer n.use.end()
	lease, err := n.blocks.OpenLease(size)
	if err != nil {
		return nil, err
	}
	return &add{n: n, lease: lease}, nil
}

// Put implements ipfsconn.Add.
func (a *add) Put(ctx context.Context, bs []block.Block) error {
	if a.ended {
		return api.Conflict.Errorf("the add has ended")
	}
	if err := a.n.use.begin(); err != nil {
		return err
	}
	defer a.n.use.end()
	if err := verify(bs); err != nil {
		return err
	}
	if err := a.lease.Put(ctx, bs); err != nil {
		return err
	}
	for _, b := range bs {
		a.size += uint64(len(b.RawData()))
	}
	return exchange{a.n}.NotifyNewBlocks(ctx, bs...)
}

// verify checks that the blocks are of a size and hash that may be kept, and match
// their CIDs. It uses all cores: hashing is most of the cost of an add.
func verify(bs []block.Block) error {
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, b := range bs {
		g.Go(func() error { return verifyOne(b) })
	}
	return g.Wait()
}

func verifyOne(b block.Block) error {
	if n := len(b.RawData()); n > ipfsconn.MaxBlockSize {
		return api.CauseTooBig.Wrap(api.TooLarge.Errorf("block %s is %d bytes, more than %d", b.Cid(), n, ipfsconn.MaxBlockSize))
	}
	if err := dag.Check(b.Cid()); err != nil {
		return err
	}
	got, err := b.Cid().Prefix().Sum(b.RawData())
	if err != nil {
		return api.CauseBadBlock.Wrap(api.Invalid.Errorf("hash block %s: %w", b.Cid(), err))
	}
	if !got.Equals(b.Cid()) {
		return api.CauseBadBlock.Wrap(api.Invalid.Errorf("block %s has the bytes of %s", b.Cid(), got))
	}
	return nil
}

// Commit implements ipfsconn.Add.
func (a *add) Commit(ctx context.Context, root api.Cid) error {
	if a.ended {
		return api.Conflict.Errorf("the add has ended")
	}
	if err := a.n.use.begin(); err != nil {
		return err
	}
	defer a.n.use.end()
	_, here, _, err := a.lease.Touch(ctx, root.Cid)
	if err != nil {
		return err
	}
	if !here {
		return api.NotFound.Errorf("the root %s is not among the blocks", root)
	}
	if err := a.n.pins.Add(root, a.size, time.Now()); err != nil {
		return err
	}
	return a.Abort() // what is pinned now needs no lease
}

// Abort implements ipfsconn.Add.
func (a *add) Abort() error {
	if !a.ended {
		a.ended = true
		a.lease.Close()
	}
	return nil
}

// Marks implements ipfsconn.Connector.
func (n *Node) Marks(ctx context.Context) iter.Seq2[ipfsconn.Mark, error] {
	return during(n, func(yield func(ipfsconn.Mark, error) bool) {
		for m, err := range n.pins.Marks(ctx) {
			if !yield(ipfsconn.Mark(m), err) {
				return
			}
		}
	})
}

// ClearMark implements ipfsconn.Connector.
func (n *Node) ClearMark(_ context.Context, c api.Cid) error {
	if err := n.use.begin(); err != nil {
		return err
	}
	defer n.use.end()
	return n.pins.ClearMark(c)
}
