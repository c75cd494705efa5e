package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/ipfs/boxo/files"
	"github.com/ipfs/boxo/ipld/merkledag"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	format "github.com/ipfs/go-ipld-format"
	"github.com/ipld/go-car/v2"
	carstorage "github.com/ipld/go-car/v2/storage"

	"github.com/pinfold-cluster/pinfold/api"
)

// The bounds of a CAR that is imported: of its header, which holds the roots, and of a
// block with its CID, in bytes; and of the blocks that are stored at once.
const (
	maxCARHeader  = 1 << 20
	maxCARSection = maxBlock + 128
	carBatch      = 8 << 20
)

// dagExport writes a DAG as a CAR, each block once, depth first. With local-only what
// is not here is left out.
func (c *call) dagExport() error {
	local := c.boolean("local-only")
	if local && c.opts["offline"] == false {
		return api.Invalid.Errorf("--local-only implies --offline and cannot be combined with --offline=false; please drop one of them")
	}
	if local {
		c.opts["offline"] = true
	}
	at, err := c.at(c.args[0])
	if err != nil {
		return err
	}
	if _, err := c.blocks().GetBlock(c.ctx, at.block); err != nil {
		return err
	}
	return c.produce("application/vnd.ipld.car", func(w io.Writer) error {
		out, err := carstorage.NewWritable(w, []cid.Cid{at.block}, car.WriteAsCarV1(true), car.UseWholeCIDs(true))
		if err != nil {
			return err
		}
		return walkOnce(c.ctx, c.session(), at.block, local, func(n format.Node) error {
			return out.Put(c.ctx, n.Cid().KeyString(), n.RawData())
		})
	})
}

type importLine struct {
	Root  *importedRoot `json:",omitempty"`
	Stats *importStats  `json:",omitempty"`
}

type importedRoot struct {
	Cid         *link
	PinErrorMsg string
}

type importStats struct{ BlockCount, BlockBytesCount uint64 }

// dagImport stores the blocks of CARs and pins their roots in the cluster. A root of
// which something is missing is told of and not pinned.
func (c *call) dagImport() error {
	pin := !c.boolean("local-only")
	if c.given("pin-roots") {
		if c.boolean("pin-roots") && !pin {
			return api.Invalid.Errorf("--local-only implies --pin-roots=false and cannot be combined with --pin-roots=true; please drop one of them")
		}
		pin = c.boolean("pin-roots")
	}
	add, err := c.Node.OpenAdd(c.ctx, 0)
	if err != nil {
		return err
	}
	in := &importer{c: c, add: add, roots: cid.NewSet()}
	err = eachFile(c.files, in.car)
	if err == nil {
		err = in.flush()
	}
	if err == nil && pin {
		err = in.roots.ForEach(in.pin)
	}
	if err == nil {
		// Only now: until here the add keeps the blocks.
		err = add.Commit(c.ctx, api.CidUndef)
	}
	if err != nil {
		return errors.Join(err, add.Abort())
	}
	if c.boolean("stats") {
		return c.emit(importLine{Stats: &in.stats})
	}
	return nil
}

// importer takes in the CARs of one request.
type importer struct {
	c     *call
	add   Add
	roots *cid.Set
	stats importStats
	batch []blocks.Block
	size  int // of batch, in bytes
}

// car reads one CAR.
func (in *importer) car(f files.File) error {
	r, err := car.NewBlockReader(bufio.NewReaderSize(struct{ io.Reader }{f}, 64<<10),
		car.MaxAllowedHeaderSize(maxCARHeader), car.MaxAllowedSectionSize(maxCARSection))
	if err != nil {
		return err
	}
	for _, root := range r.Roots {
		in.roots.Add(root)
	}
	var last blocks.Block
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = in.block(b)
		}
		switch {
		case err == nil:
			last = b
		case b != nil:
			return fmt.Errorf("import failed at block %q: %w", b.Cid(), err)
		case last != nil:
			return fmt.Errorf("import failed after block %q: %w", last.Cid(), err)
		default:
			return fmt.Errorf("import failed: %w", err)
		}
	}
}

func (in *importer) block(b blocks.Block) error {
	size := len(b.RawData())
	if size > softBlock && !in.c.boolean("allow-big-block") {
		return errBigBlock
	}
	in.stats.BlockCount++
	in.stats.BlockBytesCount += uint64(size)
	in.batch = append(in.batch, b)
	if in.size += size; in.size < carBatch {
		return nil
	}
	return in.flush()
}

func (in *importer) flush() error {
	batch := in.batch
	in.batch, in.size = nil, 0
	if len(batch) == 0 {
		return nil
	}
	return in.add.Put(in.c.ctx, batch)
}

// pin pins a root and tells of it.
func (in *importer) pin(root cid.Cid) error {
	line := importedRoot{Cid: linkTo(root)}
	err := in.c.whole(root)
	if err == nil {
		err = in.c.mark(root)
	}
	if err == nil {
		err = in.c.pin(root, api.PinRecursive, "", in.c.Self)
	}
	if err != nil {
		if in.c.ctx.Err() != nil {
			return in.c.ctx.Err()
		}
		line.PinErrorMsg = err.Error()
	}
	if in.c.boolean("silent") {
		return nil
	}
	return in.c.emit(importLine{Root: &line})
}

// whole fails unless everything under root is on the node.
func (c *call) whole(root cid.Cid) error {
	dag := merkledag.NewSession(c.ctx, merkledag.NewDAGService(c.Node.Reader(false)))
	return walkOnce(c.ctx, dag, root, false, func(format.Node) error { return nil })
}

// mark pins root on the node, where it is whole, until the cluster's pin is seen.
func (c *call) mark(root cid.Cid) error {
	a, err := c.Node.OpenAdd(c.ctx, 0)
	if err != nil {
		return err
	}
	if err := a.Commit(c.ctx, api.Cid{Cid: root}); err != nil {
		return errors.Join(err, a.Abort())
	}
	return nil
}
