package embedded

import (
	"context"
	"errors"
	"iter"
	"time"

	block "github.com/ipfs/go-block-format"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded/blocks"
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
	if err := ipfsconn.CheckBlocks(bs); err != nil {
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

// Commit implements ipfsconn.Add.
func (a *add) Commit(ctx context.Context, root api.Cid) error {
	if a.ended {
		return api.Conflict.Errorf("the add has ended")
	}
	if err := a.n.use.begin(); err != nil {
		return err
	}
	defer a.n.use.end()
	if !root.Defined() {
		return errors.Join(a.n.blocks.Sync(), a.Abort())
	}
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
func (n *Node) Marks(ctx context.Context) iter.Seq2[api.Mark, error] {
	return during(n, func(yield func(api.Mark, error) bool) {
		for m, err := range n.pins.Marks(ctx) {
			if !yield(api.Mark(m), err) {
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
