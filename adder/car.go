package adder

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"slices"

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

// The bounds of a CAR: its header holds roots, and a section is a block.
const (
	maxCARHeader  = 64 << 10
	maxCARSection = 2<<20 + 128
	maxCARRoots   = 1000
)

// imported is what a CAR held.
type imported struct {
	roots []cid.Cid
	// top is what keeps everything: the root, or a node that links to all roots.
	top link
}

// importCAR passes the blocks of the one CAR in dir on as they are, under their own
// CIDs, which the destinations check. Where whole is set, the CAR must hold all that
// is under its root: pinned peers have nobody to fetch the rest from.
func importCAR(ctx context.Context, dir files.Directory, whole bool, fan *fanout, l *lines) (imported, error) {
	it := dir.Entries()
	if !it.Next() {
		if err := it.Err(); err != nil {
			return imported{}, err
		}
		return imported{}, api.Invalid.Errorf("nothing to add")
	}
	name := it.Name()
	f, ok := it.Node().(files.File)
	if !ok {
		return imported{}, api.Invalid.Errorf("%q is not a CAR file", name)
	}
	out, in, err := readCAR(ctx, f, whole, fan)
	if err != nil {
		return imported{}, err
	}
	if it.Next() {
		return imported{}, api.Invalid.Errorf("only one CAR file can be added at a time")
	}
	if err := it.Err(); err != nil {
		return imported{}, err
	}
	for _, o := range out {
		o.Name = name
		if err := l.added(o); err != nil {
			return imported{}, err
		}
	}
	return in, nil
}

// readCAR returns the answer's lines, one a root, and what they are of.
func readCAR(ctx context.Context, f files.File, whole bool, fan *fanout) ([]api.AddedOutput, imported, error) {
	none := func(err error) ([]api.AddedOutput, imported, error) { return nil, imported{}, err }
	sent := &counted{Reader: f}
	buffered := bufio.NewReaderSize(sent, 64<<10)
	declared := headerOfV2(buffered)
	in, err := car.NewBlockReader(buffered, car.WithTrustedCAR(true),
		car.MaxAllowedHeaderSize(maxCARHeader), car.MaxAllowedSectionSize(maxCARSection))
	if err != nil {
		return none(broken(err))
	}
	roots := distinct(in.Roots)
	if len(roots) == 0 || len(roots) > maxCARRoots {
		return none(api.Invalid.Errorf("a CAR has %d roots; 1 to %d are supported", len(roots), maxCARRoots))
	}
	out := make([]api.AddedOutput, len(roots))
	at := make(map[cid.Cid]int, len(roots))
	need := needs{}
	for i, root := range roots {
		out[i].Cid, at[root] = api.Cid{Cid: root}, i
		if whole {
			need.want(root)
		}
	}
	var total uint64
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
		total += uint64(len(b.RawData()))
		if i, ok := at[b.Cid()]; ok {
			out[i].Size = fileSize(b)
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
	if _, err := io.Copy(io.Discard, sent); err != nil {
		return none(err)
	}
	if sent.n < declared.DataOffset || sent.n-declared.DataOffset < declared.DataSize {
		return none(api.Invalid.Errorf("reading the CAR: its header tells of %d bytes of blocks from byte %d on, and it ends at byte %d: it was cut off, make or send it again",
			declared.DataSize, declared.DataOffset, sent.n))
	}
	if missing, ok := need.missing(); ok {
		return none(api.Invalid.Errorf("the CAR lacks block %s, and maybe others, under its root; with no-pin it can be added in parts", missing))
	}
	for i := range out {
		out[i].Bytes = total
	}
	top := link{cid: roots[0], size: total}
	if len(roots) > 1 && whole {
		list, err := listOf(roots)
		if err != nil {
			return none(err)
		}
		if err := fan.put(ctx, list); err != nil {
			return none(err)
		}
		top = link{cid: list.Cid()} // how much is of which root nobody knows
	}
	return out, imported{roots: roots, top: top}, nil
}

// headerOfV2 looks at what the header of a CARv2 says of its size; it is zero for a CARv1,
// which does not tell.
func headerOfV2(r *bufio.Reader) car.Header {
	var h car.Header
	start, err := r.Peek(car.PragmaSize + car.HeaderSize)
	if err != nil || !bytes.HasPrefix(start, car.Pragma) {
		return car.Header{}
	}
	if _, err := h.ReadFrom(bytes.NewReader(start[car.PragmaSize:])); err != nil {
		return car.Header{} // whoever reads on meets it again
	}
	return h
}

// counted counts the bytes that are read.
type counted struct {
	io.Reader
	n uint64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += uint64(n)
	return n, err
}

// distinct leaves out what came before.
func distinct(cids []cid.Cid) []cid.Cid {
	seen := make(map[cid.Cid]bool, len(cids))
	return slices.DeleteFunc(slices.Clone(cids), func(c cid.Cid) bool {
		before := seen[c]
		seen[c] = true
		return before
	})
}

// listOf is a node that links to all roots. A destination takes one root, and keeps
// what is below it until pins have taken it over; then the node goes, like any mark.
func listOf(roots []cid.Cid) (blocks.Block, error) {
	b := basicnode.Prototype.List.NewBuilder()
	list, err := b.BeginList(int64(len(roots)))
	if err != nil {
		return nil, err
	}
	for _, root := range roots {
		if err := list.AssembleValue().AssignLink(cidlink.Link{Cid: root}); err != nil {
			return nil, err
		}
	}
	if err := list.Finish(); err != nil {
		return nil, err
	}
	var data bytes.Buffer
	if err := dagcbor.Encode(b.Build(), &data); err != nil {
		return nil, err
	}
	return block(cid.Prefix{Version: 1, Codec: cid.DagCBOR, MhType: mh.SHA2_256, MhLength: -1}, data.Bytes())
}

// broken tells that the CAR cannot be read, unless the reading itself had a kind.
func broken(err error) error {
	if api.KindOf(err) != api.Internal {
		return err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return api.Invalid.Errorf("reading the CAR: it ends in the middle of its header or of a block: it was cut off, make or send it again")
	}
	return api.Invalid.Errorf("reading the CAR: %w", err)
}

// needs tells by multihash whether a block has come (undefined) or is only linked to, and
// by which CID.
type needs map[string]cid.Cid

func (n needs) want(c cid.Cid) {
	if c.Prefix().MhType == mh.IDENTITY {
		return
	}
	if key := string(c.Hash()); !n.has(key) {
		n[key] = c
	}
}

func (n needs) has(key string) bool {
	_, known := n[key]
	return known
}

// take notes that b has come, and what it links to.
func (n needs) take(b blocks.Block) error {
	n[string(b.Cid().Hash())] = cid.Undef
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

func (n needs) missing() (cid.Cid, bool) {
	for _, c := range n {
		if c.Defined() {
			return c, true
		}
	}
	return cid.Undef, false
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
