package proxy

import (
	"context"
	"errors"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/merkledag/dagutils"
	"github.com/ipfs/boxo/ipld/unixfs"
	blocks "github.com/ipfs/go-block-format"
	format "github.com/ipfs/go-ipld-format"

	"github.com/pinfold-cluster/pinfold/api"
)

// objectCommands are what Kubo still has of its commands on dag-pb nodes.
var objectCommands = []*command{
	{path: "object/diff", run: (*call).objectDiff, args: []argument{{name: "obj_a"}, {name: "obj_b"}}, options: []option{verboseOption}},
	{path: "object/patch/add-link", run: (*call).addLink, args: []argument{{name: "root"}, {name: "name"}, {name: "ref"}}, options: []option{
		opt(boolean, "create", "p"), opt(boolean, "allow-non-unixfs"),
	}},
	{path: "object/patch/rm-link", run: (*call).removeLink, args: []argument{{name: "root"}, {name: "name"}}, options: []option{opt(boolean, "allow-non-unixfs")}},
}

func (c *call) objectDiff() error {
	a, err := c.node(c.args[0])
	if err != nil {
		return err
	}
	b, err := c.node(c.args[1])
	if err != nil {
		return err
	}
	changes, err := dagutils.Diff(c.ctx, merkledag.NewDAGService(c.blocks()), a, b)
	if err != nil {
		return err
	}
	if changes == nil {
		changes = []*dagutils.Change{}
	}
	return c.once(struct{ Changes []*dagutils.Change }{changes})
}

// patched opens a node for changes of its links. Those of a file or of a part of a large
// directory are more than links, so they are left alone unless the request insists.
func (c *call) patched() (*dagutils.Editor, *patchWriter, error) {
	n, err := c.node(c.args[0])
	if err != nil {
		return nil, nil, err
	}
	root, ok := n.(*merkledag.ProtoNode)
	if !ok {
		return nil, nil, merkledag.ErrNotProtobuf
	}
	if !c.boolean("allow-non-unixfs") {
		d, err := unixfs.FSNodeFromBytes(root.Data())
		if err != nil {
			return nil, nil, api.Invalid.Errorf("cannot change named links of a non-UnixFS dag-pb node; pass --allow-non-unixfs to skip validation")
		}
		if d.Type() != unixfs.TDirectory {
			return nil, nil, api.Invalid.Errorf("cannot change named links of a UnixFS %s node, only Directory nodes support that at the dag-pb level (see https://specs.ipfs.tech/unixfs/); use 'ipfs files' commands instead, or pass --allow-non-unixfs to override", d.Type())
		}
	}
	w := &patchWriter{DAGService: merkledag.NewDAGService(c.blocks())}
	return dagutils.NewDagEditor(root, w), w, nil
}

func (c *call) addLink() error {
	e, w, err := c.patched()
	if err != nil {
		return err
	}
	child, err := c.node(c.args[2])
	if err != nil {
		return err
	}
	var missing func() *merkledag.ProtoNode
	if c.boolean("create") {
		missing = unixfs.EmptyDirNode
	}
	if err := e.InsertNodeAtPath(c.ctx, c.args[1], child, missing); err != nil {
		return err
	}
	return c.storePatched(e, w)
}

func (c *call) removeLink() error {
	e, w, err := c.patched()
	if err != nil {
		return err
	}
	if err := e.RmLink(c.ctx, c.args[1]); err != nil {
		return err
	}
	return c.storePatched(e, w)
}

// storePatched makes the changed nodes durable, and tells of the new root.
func (c *call) storePatched(e *dagutils.Editor, w *patchWriter) error {
	root, err := e.Finalize(c.ctx, w)
	if err != nil {
		return err
	}
	if len(root.RawData()) > softBlock {
		return errBigBlock
	}
	a, err := c.Node.OpenAdd(c.ctx, 0)
	if err != nil {
		return err
	}
	if err = a.Put(c.ctx, w.made); err == nil {
		err = a.Commit(c.ctx, api.CidUndef)
	}
	if err != nil {
		return errors.Join(err, a.Abort())
	}
	return c.once(struct{ Hash string }{c.cid(root.Cid())})
}

// patchWriter collects the nodes that are added to it.
type patchWriter struct {
	format.DAGService
	made []blocks.Block
}

func (w *patchWriter) Add(_ context.Context, n format.Node) error {
	w.made = append(w.made, n)
	return nil
}
