package proxy

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/go-cid"
	format "github.com/ipfs/go-ipld-format"
)

// statFormat is the value of the option format that says nothing.
const statFormat = `<hash>
Size: <size>
CumulativeSize: <cumulsize>
ChildBlocks: <childs>
Type: <type>
Mode: <mode> (<mode-octal>)
Mtime: <mtime>`

type fileStat struct {
	Hash           string
	Size           uint64
	CumulativeSize uint64
	Blocks         int
	Type           string
	WithLocality   bool   `json:",omitempty"`
	Local          bool   `json:",omitempty"`
	SizeLocal      uint64 `json:",omitempty"`
	Mtime          int64  `json:",omitempty"`
	MtimeNsecs     int    `json:",omitempty"`
	Mode           string `json:",omitempty"`
}

func (c *call) filesStat() error {
	// The formats are the client's business, but for naming several.
	form := c.text("format")
	ways := 0
	for _, set := range []bool{c.boolean("hash"), c.boolean("size"), form != "" && form != statFormat} {
		if set {
			ways++
		}
	}
	if ways > 1 {
		return clientError{errors.New("invalid parameters: format was set by multiple options. Only one format option is allowed")}
	}
	p, err := c.filePath(0)
	if err != nil {
		return err
	}
	n, err := c.filesNode(p)
	if err != nil {
		return err
	}
	out, err := c.statNode(n)
	if err != nil {
		return err
	}
	if c.boolean("with-local") {
		dag := merkledag.NewSession(c.ctx, merkledag.NewDAGService(c.Node.Reader(false)))
		out.WithLocality = true
		if out.Local, out.SizeLocal, err = locality(c.ctx, dag, n); err != nil {
			return err
		}
	}
	return c.once(out)
}

func (c *call) statNode(n format.Node) (fileStat, error) {
	size, err := n.Size()
	if err != nil {
		return fileStat{}, err
	}
	out := fileStat{Hash: c.cid(n.Cid()), CumulativeSize: size, Type: "file"}
	switch n := n.(type) {
	case *merkledag.RawNode:
		out.Size = size
		return out, nil
	case *merkledag.ProtoNode:
		return out, statProto(&out, n)
	}
	return out, errors.New("not unixfs node (proto or raw)")
}

func statProto(out *fileStat, n *merkledag.ProtoNode) error {
	d, err := unixfs.FSNodeFromBytes(n.Data())
	if err != nil {
		return err
	}
	out.Blocks, out.Size = len(n.Links()), d.FileSize()
	switch d.Type() {
	case unixfs.TDirectory, unixfs.THAMTShard:
		out.Type = "directory"
	case unixfs.TFile, unixfs.TSymlink, unixfs.TMetadata, unixfs.TRaw:
	default:
		return fmt.Errorf("unrecognized node type: %s", d.Type())
	}
	if m := d.Mode(); m != 0 {
		out.Mode = fmt.Sprintf("%04o", uint32(m))
	} else if d.Type() == unixfs.TSymlink {
		out.Mode = fmt.Sprintf("%04o", uint32(os.ModeSymlink|0o777))
	}
	if t := d.ModTime(); !t.IsZero() {
		out.Mtime, out.MtimeNsecs = t.Unix(), t.Nanosecond()
	}
	return nil
}

// locality tells whether everything below n is here, and the bytes that are: as often
// as they occur.
func locality(ctx context.Context, dag format.NodeGetter, root format.Node) (whole bool, size uint64, err error) {
	sizes := map[cid.Cid]uint64{} // of DAGs that were walked
	whole = true
	var walk func(format.Node, int) (uint64, error)
	walk = func(n format.Node, depth int) (uint64, error) {
		if depth > maxRefDepth {
			return 0, fmt.Errorf("%s is over %d links deep", n.Cid(), maxRefDepth)
		}
		if known, ok := sizes[n.Cid()]; ok {
			return known, nil
		}
		size := uint64(len(n.RawData()))
		for _, l := range n.Links() {
			child, err := dag.Get(ctx, l.Cid)
			if format.IsNotFound(err) {
				whole = false
				continue
			}
			if err != nil {
				return 0, err
			}
			below, err := walk(child, depth+1)
			if err != nil {
				return 0, err
			}
			size += below
		}
		sizes[n.Cid()] = size
		return size, nil
	}
	size, err = walk(root, 0)
	return whole, size, err
}
