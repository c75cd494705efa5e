package adder

import (
	"bufio"
	"bytes"
	"context"
	"io"

	"github.com/ipfs/boxo/files"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/ipld/go-car/v2"
	"github.com/ipld/go-ipld-prime/codec/dagcbor"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	"github.com/ipld/go-ipld-prime/node/basicnode"
	"github.com/ipld/go-ipld-prime/traversal"
	mh "github.com/multiformats/go-multihash"

	"github.com/pinfold-cluster/pinfold/api"
)

// The bounds of a CAR: its header holds one root, and a section is a block.
const (
	maxCARHeader  = 64 << 10
	maxCARSection = 2<<20 + 128
)

// importCAR passes the blocks of the one CAR in dir on as they are, under their own
// CIDs, which the destinations check. Where whole is set, the CAR must hold all that
// is under its root: pinned peers have nobody to fetch the rest from.
func importCAR(ctx context.Context, dir files.Directory, whole bool, fan *fanout, l *lines) (link, error) {
	it := dir.Entries()
	if !it.Next() {
		if err := it.Err(); err != nil {
			return link{}, err
		}
		return link{}, api.Invalid.Errorf("nothing to add")
	}
	name := it.Name()
	f, ok := it.Node().(files.File)
	if !ok {
		return link{}, api.Invalid.Errorf("%q is not a CAR file", name)
	}
	out, root, err := readCAR(ctx, f, whole, fan)
	if err != nil {
		return link{}, err
	}
	if it.Next() {
		return link{}, api.Invalid.Errorf("only one CAR file can be added at a time")
	}
	if err := it.Err(); err != nil {
		return link{}, err
	}
	out.Name = name
	return root, l.added(out)
}

// readCAR returns the answer's line, and the root with the bytes of all blocks.
func readCAR(ctx context.Context, f files.File, whole bool, fan *fanout) (api.AddedOutput, link, error) {
	none := func(err error) (api.AddedOutput, link, error) { return api.AddedOutput{}, link{}, err }
	in, err := car.NewBlockReader(bufio.NewReaderSize(f, 64<<10), car.WithTrustedCAR(true),
		car.MaxAllowedHeaderSize(maxCARHeader), car.MaxAllowedSectionSize(maxCARSection))
	if err != nil {
		return none(broken(err))
	}
	if len(in.Roots) != 1 {
		return none(api.Invalid.Errorf("only CAR files with a single root are supported"))
	}
	root := link{cid: in.Roots[0]}
	out := api.AddedOutput{Cid: api.Cid{Cid: root.cid}}
	need := needs{}
	if whole {
		need.want(root.cid)
	}
	for {
		b, err := in.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return none(broken(err))
		}
		switch b.Cid().Prefix().Codec {
		case cid.DagProtobuf, cid.Raw, cid.DagCBOR:
		default:
			return none(api.Invalid.Errorf("block %s: only dag-pb, raw and dag-cbor are supported", b.Cid()))
		}
		root.size += uint64(len(b.RawData()))
		if b.Cid() == root.cid {
			out.Size = fileSize(b)
		}
		if whole {
			if err := need.take(b); err != nil {
				return none(err)
			}
		}
		if err := fan.put(ctx, b); err != nil {
			return none(err)
		}
	}
	// What comes after the blocks (the index of a CARv2) is of no use, but must be read
	// for the next part of the upload to be found.
	if _, err := io.Copy(io.Discard, f); err != nil {
		return none(err)
	}
	if missing, ok := need.missing(); ok {
		return none(api.Invalid.Errorf("the CAR lacks block %s, and maybe others, under its root; with no-pin it can be added in parts", missing))
	}
	out.Bytes = root.size
	return out, root, nil
}

// broken tells that the CAR cannot be read, unless the reading itself had a kind.
func broken(err error) error {
	if api.KindOf(err) != api.Internal {
		return err
	}
	return api.Invalid.Errorf("reading the CAR: %w", err)
}

// needs tells by multihash whether a block has come (true) or is only linked to.
type needs map[string]bool

func (n needs) want(c cid.Cid) {
	if c.Prefix().MhType == mh.IDENTITY {
		return
	}
	if key := string(c.Hash()); !n[key] {
		n[key] = false
	}
}

// take notes that b has come, and what it links to.
func (n needs) take(b blocks.Block) error {
	n[string(b.Cid().Hash())] = true
	switch b.Cid().Prefix().Codec {
	case cid.DagProtobuf:
		node, err := merkledag.DecodeProtobuf(b.RawData())
		if err != nil {
			return api.Invalid.Errorf("block %s: %w", b.Cid(), err)
		}
		for _, l := range node.Links() {
			n.want(l.Cid)
		}
	case cid.DagCBOR:
		node := basicnode.Prototype.Any.NewBuilder()
		if err := dagcbor.Decode(node, bytes.NewReader(b.RawData())); err != nil {
			return api.Invalid.Errorf("block %s: %w", b.Cid(), err)
		}
		ls, err := traversal.SelectLinks(node.Build())
		if err != nil {
			return api.Invalid.Errorf("block %s: %w", b.Cid(), err)
		}
		for _, l := range ls {
			if l, ok := l.(cidlink.Link); ok {
				n.want(l.Cid)
			}
		}
	}
	return nil
}

func (n needs) missing() (mh.Multihash, bool) {
	for key, here := range n {
		if !here {
			return mh.Multihash(key), true
		}
	}
	return nil, false
}

// fileSize is the bytes of the file that b is the root of, 0 where it is none.
func fileSize(b blocks.Block) uint64 {
	switch b.Cid().Prefix().Codec {
	case cid.Raw:
		return uint64(len(b.RawData()))
	case cid.DagProtobuf:
		node, err := merkledag.DecodeProtobuf(b.RawData())
		if err != nil {
			return 0
		}
		fs, err := unixfs.FSNodeFromBytes(node.Data())
		if err != nil {
			return 0
		}
		return fs.FileSize()
	}
	return 0
}
