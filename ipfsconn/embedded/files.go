package embedded

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/fxamacker/cbor/v2"
	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	uio "github.com/ipfs/boxo/ipld/unixfs/io"
	"github.com/ipfs/boxo/mfs"
	block "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	format "github.com/ipfs/go-ipld-format"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/disk"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded/blocks"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded/dag"
)

// Keys, in the blocks' database, of the tree of files.
const (
	prefixFiles = 'f' // its root
	prefixKept  = 'k' // which entries the cluster was asked to keep
)

// filesTree is the tree of files that the node keeps under names: what Kubo calls MFS.
// Only its root is kept, as a row; every use opens the tree anew from there. It is
// locked while it changes, and while a collection begins (see package gc).
type filesTree struct {
	sync.Mutex
	db      *disk.DB
	changed chan struct{} // gets a value after a change, where there is room
}

// In implements gc.Roots.
func (t *filesTree) In(r pebble.Reader) ([]api.Cid, error) {
	c, ok, err := filesRoot(r)
	if err != nil || !ok {
		return nil, err
	}
	return []api.Cid{{Cid: c}}, nil
}

// filesRoot reads the root, and whether there is one.
func filesRoot(r pebble.Reader) (cid.Cid, bool, error) {
	v, closer, err := r.Get([]byte{prefixFiles})
	if errors.Is(err, pebble.ErrNotFound) {
		return cid.Undef, false, nil
	}
	if err != nil {
		return cid.Undef, false, fmt.Errorf("read the root of the files: %w", err)
	}
	_, c, err := cid.CidFromBytes(append([]byte(nil), v...))
	if err != nil {
		err = api.Internal.Errorf("root of the files: bad row %x: %w", v, err)
	}
	return c, err == nil, errors.Join(err, closer.Close())
}

// ViewFiles runs f on the tree as it is, which f may not change. What f reads of other
// peers is not kept.
func (n *Node) ViewFiles(ctx context.Context, f func(*mfs.Root) error) error {
	if err := n.use.begin(); err != nil {
		return err
	}
	defer n.use.end()
	root, err := n.openFiles(ctx, merkledag.NewDAGService(n.bounded))
	if err != nil {
		return err
	}
	return f(root)
}

// ChangeFiles runs f on the tree, one call at a time, and returns once what f did is
// durable. Where f fails the tree stays as it was.
func (n *Node) ChangeFiles(ctx context.Context, f func(*mfs.Root) error) error {
	if err := n.use.begin(); err != nil {
		return err
	}
	defer n.use.end()
	n.files.Lock()
	defer n.files.Unlock()
	// Until the row says so, nothing else keeps what f writes.
	lease, err := n.blocks.OpenLease(0)
	if err != nil {
		return err
	}
	defer lease.Close()
	dags := merkledag.NewDAGService(blockservice.New(leased{n.local, lease}, patient{exchange{n}}, blockservice.WriteThrough(true)))
	root, err := n.openFiles(ctx, dags)
	if err != nil {
		return err
	}
	if err := f(root); err != nil {
		return err
	}
	if err := root.GetDirectory().Flush(); err != nil {
		return fmt.Errorf("write the files: %w", err)
	}
	node, err := root.GetDirectory().GetNode()
	if err != nil {
		return fmt.Errorf("write the files: %w", err)
	}
	if n.blocks.Sweeping() {
		// It began with the old root: what the new one takes in from elsewhere is not
		// marked. None can begin while the tree is locked.
		if err := n.touch(ctx, lease, node.Cid()); err != nil {
			return err
		}
	}
	if err := n.files.db.Set([]byte{prefixFiles}, node.Cid().Bytes(), pebble.Sync); err != nil {
		return fmt.Errorf("write the root of the files: %w", err)
	}
	select {
	case n.files.changed <- struct{}{}:
	default: // one is waiting
	}
	return nil
}

// FilesChanged gets a value after the tree has changed, unless one is waiting there.
func (n *Node) FilesChanged() <-chan struct{} { return n.files.changed }

var errTop = errors.New("too many entries")

// Top lists what is at the top of the tree, names with CIDs; its root alone, under no
// name, where that is over most.
func (n *Node) Top(ctx context.Context, most int) (map[string]api.Cid, error) {
	all := map[string]api.Cid{}
	var root cid.Cid
	err := n.ViewFiles(ctx, func(r *mfs.Root) error {
		node, err := r.GetDirectory().GetNode()
		if err != nil {
			return err
		}
		root = node.Cid()
		dir, err := uio.NewDirectoryFromNode(merkledag.NewDAGService(n.bounded), node)
		if err != nil {
			return err
		}
		return dir.ForEachLink(ctx, func(l *format.Link) error {
			if len(all) == most {
				return errTop
			}
			all[l.Name] = api.Cid{Cid: l.Cid}
			return nil
		})
	})
	if errors.Is(err, errTop) {
		return map[string]api.Cid{"": {Cid: root}}, nil
	}
	return all, err
}

// KeptFiles gives what SetKeptFiles keeps.
func (n *Node) KeptFiles(context.Context) (map[string]api.Cid, error) {
	if err := n.use.begin(); err != nil {
		return nil, err
	}
	defer n.use.end()
	v, closer, err := n.files.db.Get([]byte{prefixKept})
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what is kept of the files: %w", err)
	}
	kept, err := decodeKept(v)
	if err := errors.Join(err, closer.Close()); err != nil {
		return nil, fmt.Errorf("read what is kept of the files: %w", err)
	}
	return kept, nil
}

// decodeKept reads names of any bytes; an earlier version wrote them as text.
func decodeKept(v []byte) (map[string]api.Cid, error) {
	var names map[cbor.ByteString]api.Cid
	kept := map[string]api.Cid{}
	if api.Decode(v, &names) != nil {
		return kept, api.Decode(v, &kept)
	}
	for name, c := range names {
		kept[string(name)] = c
	}
	return kept, nil
}

// SetKeptFiles notes, durably, which entries of the tree the cluster was asked to keep.
func (n *Node) SetKeptFiles(_ context.Context, kept map[string]api.Cid) error {
	if err := n.use.begin(); err != nil {
		return err
	}
	defer n.use.end()
	names := make(map[cbor.ByteString]api.Cid, len(kept))
	for name, c := range kept {
		names[cbor.ByteString(name)] = c
	}
	v, err := api.Encode(names)
	if err == nil {
		err = n.files.db.Set([]byte{prefixKept}, v, pebble.Sync)
	}
	if err != nil {
		return fmt.Errorf("write what is kept of the files: %w", err)
	}
	return nil
}

// openFiles opens the tree over dags. Its lookups end with ctx.
func (n *Node) openFiles(ctx context.Context, dags format.DAGService) (*mfs.Root, error) {
	c, ok, err := filesRoot(n.files.db)
	if err != nil {
		return nil, err
	}
	root := unixfs.EmptyDirNode()
	if ok {
		node, err := dags.Get(ctx, c)
		if err != nil {
			return nil, fmt.Errorf("open the files: %w", err)
		}
		if root, ok = node.(*merkledag.ProtoNode); !ok {
			return nil, api.Internal.Errorf("open the files: %s is no directory", c)
		}
	}
	tree, err := mfs.NewRoot(ctx, dags, root, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("open the files: %w", err)
	}
	return tree, nil
}

// touch keeps what is here of the DAG of c.
func (n *Node) touch(ctx context.Context, lease *blocks.Lease, c cid.Cid) error {
	seen := map[string]struct{}{}
	for todo := []cid.Cid{c}; len(todo) > 0; {
		c := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if _, ok := seen[c.KeyString()]; ok {
			continue
		}
		seen[c.KeyString()] = struct{}{}
		_, here, _, err := lease.Touch(ctx, c)
		if err != nil {
			return err
		}
		if !here || dag.IsLeaf(c) {
			continue
		}
		b, err := n.blocks.Get(ctx, c)
		if err != nil {
			return err
		}
		links, err := dag.Links(c, b.RawData())
		if err != nil {
			continue // it was taken in as it is
		}
		todo = append(todo, links...)
	}
	return nil
}

// leased is a block store whose blocks are written under a lease.
type leased struct {
	blockstore.Blockstore
	lease *blocks.Lease
}

func (l leased) Put(ctx context.Context, b block.Block) error {
	return l.lease.Put(ctx, []block.Block{b})
}

func (l leased) PutMany(ctx context.Context, bs []block.Block) error { return l.lease.Put(ctx, bs) }
