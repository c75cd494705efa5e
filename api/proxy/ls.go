package proxy

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	uio "github.com/ipfs/boxo/ipld/unixfs/io"
	"github.com/ipfs/boxo/ipld/unixfs/pb"
	"github.com/ipfs/go-cid"
	format "github.com/ipfs/go-ipld-format"

	"github.com/pinfold-cluster/pinfold/api"
)

var lsCommands = []*command{
	{path: "ls", run: (*call).ls, endless: true, args: []argument{{name: "ipfs-path", many: true, body: true}}, options: []option{
		opt(boolean, "headers", "v"), opt(boolean, "resolve-type").or(true), opt(boolean, "size").or(true), opt(boolean, "stream", "s"),
		opt(boolean, "long", "l"),
	}},
}

// maxListed bounds the entries of a list that is not streamed.
const maxListed = 1_000_000

type lsLink struct {
	Name, Hash string
	Size       uint64
	Type       pb.Data_DataType
	Target     string
	Mode       os.FileMode
	ModTime    time.Time
}

type lsObject struct {
	Hash  string
	Links []lsLink
}

type lsOutput struct{ Objects []lsObject }

func (c *call) ls() error {
	out := lsOutput{Objects: make([]lsObject, len(c.args))}
	listed := 0
	for i, arg := range c.args {
		object := &out.Objects[i]
		*object = lsObject{Hash: arg, Links: []lsLink{}}
		err := c.list(arg, func(l lsLink) error {
			if c.boolean("stream") {
				return c.emit(lsOutput{Objects: []lsObject{{Hash: arg, Links: []lsLink{l}}}})
			}
			if listed++; listed > maxListed {
				return api.TooLarge.Errorf("there are over %d entries: use stream=true", maxListed)
			}
			object.Links = append(object.Links, l)
			return nil
		})
		if err != nil {
			return err
		}
		slices.SortFunc(object.Links, func(a, b lsLink) int { return strings.Compare(a.Name, b.Name) })
	}
	if c.boolean("stream") {
		return nil
	}
	return c.once(out)
}

// list yields the entries of a directory, or the links of a file that has any.
func (c *call) list(arg string, yield func(lsLink) error) error {
	at, err := c.at(arg)
	if err != nil {
		return err
	}
	dags := merkledag.NewDAGService(c.blocks())
	node, err := dags.Get(c.ctx, at.block)
	if err != nil {
		return err
	}
	dir, err := uio.NewDirectoryFromNode(dags, node)
	if errors.Is(err, uio.ErrNotADir) {
		for _, l := range node.Links() {
			if err := c.entry(dags, l, yield); err != nil {
				return err
			}
		}
		return nil
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	for l := range dir.EnumLinksAsync(ctx) {
		if l.Err != nil {
			return l.Err
		}
		if err := c.entry(dags, l.Link, yield); err != nil {
			return err
		}
	}
	return c.ctx.Err()
}

// entry yields what a link leads to, looked at if the request asks for types or sizes.
func (c *call) entry(dags format.NodeGetter, l *format.Link, yield func(lsLink) error) error {
	out := lsLink{Name: l.Name, Hash: c.cid(l.Cid)}
	look := c.boolean("resolve-type") || c.boolean("size")
	switch l.Cid.Type() {
	case cid.Raw:
		out.Type, out.Size = unixfs.TFile, l.Size
	case cid.DagProtobuf:
		if !look {
			break
		}
		node, err := dags.Get(c.ctx, l.Cid)
		if err != nil {
			return err
		}
		if pn, ok := node.(*merkledag.ProtoNode); ok {
			if err := describe(&out, pn); err != nil {
				return err
			}
		}
	}
	return yield(out)
}

func describe(out *lsLink, n *merkledag.ProtoNode) error {
	d, err := unixfs.FSNodeFromBytes(n.Data())
	if err != nil {
		return err
	}
	switch d.Type() {
	case unixfs.TFile, unixfs.TRaw:
		out.Type = unixfs.TFile
	case unixfs.THAMTShard, unixfs.TDirectory, unixfs.TMetadata:
		out.Type = unixfs.TDirectory
	case unixfs.TSymlink:
		out.Type, out.Target = unixfs.TSymlink, string(d.Data())
	}
	out.Size, out.Mode, out.ModTime = d.FileSize(), d.Mode(), d.ModTime()
	return nil
}
