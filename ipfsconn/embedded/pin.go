package embedded

import (
	"context"
	"errors"
	"iter"
	"time"

	block "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded/blocks"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded/dag"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded/pins"
)

// Find implements ipfsconn.Connector. Off line it looks no further than the disk.
func (n *Node) Find(ctx context.Context, p api.Pin) error {
	if err := n.use.begin(); err != nil {
		return err
	}
	defer n.use.end()
	lease, err := n.blocks.OpenLease(0)
	if err != nil {
		return err
	}
	defer lease.Close()
	_, err = n.root(ctx, p, lease, finder{n, origins(p)})
	return err
}

// Pin implements ipfsconn.Connector.
func (n *Node) Pin(ctx context.Context, p api.Pin, progress func(uint64)) error {
	if err := n.use.begin(); err != nil {
		return err
	}
	defer n.use.end()
	lease, err := n.blocks.OpenLease(0)
	if err != nil {
		return err
	}
	defer lease.Close()

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(n.o.Stall, func() { cancel(errStalled) })
	defer stall.Stop()
	s := n.session(ctx, p.Cid.Cid, origins(p)...)
	defer s.Close()

	size, err := n.root(ctx, p, lease, s)
	if err != nil {
		return err
	}
	stall.Reset(n.o.Stall)
	if p.Mode == api.PinRecursive && !dag.IsLeaf(p.Cid.Cid) {
		// From here on what arrives is worth keeping if the fetch breaks off.
		if err := n.pins.Begin(p.Cid, p.Mode, time.Now()); err != nil {
			return err
		}
		w := newWalk(n, lease, s, stall, progress)
		w.bytes = size // the lease has seen the root
		if size, err = w.run(ctx, p.Cid.Cid, n.o.FetchConcurrency); err != nil {
			return err
		}
	} else if progress != nil {
		progress(size)
	}
	return n.pins.Finish(pins.Pin{Cid: p.Cid, Mode: p.Mode, Size: size})
}

var errStalled = errors.New("no block has arrived")

// A getter gets a block from other peers.
type getter interface {
	GetBlock(ctx context.Context, c cid.Cid) (block.Block, error)
}

// root gets the block p.Cid onto the node, under lease, and returns its size.
func (n *Node) root(ctx context.Context, p api.Pin, lease *blocks.Lease, from getter) (size uint64, err error) {
	if err := ipfsconn.CheckCid(p.Cid.Cid); err != nil {
		return 0, err
	}
	var here bool
	beside(func() { size, here, _, err = lease.Touch(ctx, p.Cid.Cid) })
	if err == nil && !here {
		var b block.Block
		if b, err = n.fetch(ctx, p.Cid, lease, from); err == nil {
			size = uint64(len(b.RawData()))
		}
	}
	if err != nil && notArrived(ctx, err) {
		err = api.CauseNoProvider.Wrap(api.Unavailable.Errorf("nobody offers %s: %w", p.Cid, why(ctx, err)))
	}
	return size, err
}

// fetch gets a block from another peer and stores it under lease.
func (n *Node) fetch(ctx context.Context, c api.Cid, lease *blocks.Lease, from getter) (block.Block, error) {
	b, err := from.GetBlock(ctx, c.Cid)
	if err != nil {
		return nil, err
	}
	if err := ipfsconn.CheckSize(b); err != nil {
		return nil, err
	}
	if err := lease.Put(ctx, []block.Block{b}); err != nil {
		return nil, err
	}
	return b, exchange{n}.NotifyNewBlocks(ctx, b)
}

// notArrived tells whether err means that a wanted block has not come, rather than
// that something went wrong with one that has.
func notArrived(ctx context.Context, err error) bool {
	return ctx.Err() != nil && errors.Is(err, ctx.Err()) || ipld.IsNotFound(err)
}

// why is what ended ctx, where it has ended, else err.
func why(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// origins are the peers that a pin says to ask.
func origins(p api.Pin) []peer.AddrInfo {
	var infos []peer.AddrInfo
	for _, a := range p.Origins {
		if info, err := peer.AddrInfoFromP2pAddr(a); err == nil { // one without a peer ID cannot be dialled
			infos = append(infos, *info)
		}
	}
	return infos
}

// Unpin implements ipfsconn.Connector.
func (n *Node) Unpin(_ context.Context, c api.Cid) error {
	if err := n.use.begin(); err != nil {
		return err
	}
	defer n.use.end()
	return n.pins.Remove(c)
}

// Pinned implements ipfsconn.Connector.
func (n *Node) Pinned(ctx context.Context, after api.Cid) iter.Seq2[api.PinnedCid, error] {
	return during(n, func(yield func(api.PinnedCid, error) bool) {
		for p, err := range n.pins.List(ctx, after) {
			if err == nil && p.State == pins.Partial {
				continue
			}
			if !yield(api.PinnedCid{Cid: p.Cid, Mode: p.Mode, Size: p.Size}, err) {
				return
			}
		}
	})
}

// PinStatus implements ipfsconn.Connector.
func (n *Node) PinStatus(_ context.Context, c api.Cid) (api.PinMode, bool, error) {
	if err := n.use.begin(); err != nil {
		return 0, false, err
	}
	defer n.use.end()
	p, ok, err := n.pins.Get(c)
	return p.Mode, ok && p.State != pins.Partial, err
}
