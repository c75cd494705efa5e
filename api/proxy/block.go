package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/ipfs/boxo/files"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multicodec"
	"github.com/multiformats/go-multihash"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	// softBlock is the largest block, in bytes, that all peers exchange, and maxBlock
	// the largest that is taken at all.
	softBlock = 2 << 20
	maxBlock  = 4 << 20
)

var bigBlock = opt(boolean, "allow-big-block")

var blockCommands = []*command{
	{path: "block"},
	{path: "block/get", run: (*call).blockGet, args: []argument{{name: "cid", body: true}}},
	{path: "block/stat", run: (*call).blockStat, args: []argument{{name: "cid", body: true}}},
	{path: "block/rm", run: (*call).blockRm, args: []argument{{name: "cid", many: true}}, options: []option{
		opt(boolean, "force", "f"), opt(boolean, "quiet", "q"),
	}},
}

var blockPutCommands = []*command{
	{path: "block/put", run: (*call).blockPut, passed: unpinned, endless: true, args: []argument{{name: "data", file: true, many: true}}, options: []option{
		opt(text, "cid-codec").or("raw"), opt(text, "mhtype"), opt(integer, "mhlen").or(int64(-1)), opt(boolean, "pin"), bigBlock,
		opt(text, "format", "f"),
	}},
}

type blockLine struct {
	Key  string
	Size int
}

func (c *call) blockGet() error {
	b, err := c.block()
	if err != nil {
		return err
	}
	return c.copy(bytes.NewReader(b.RawData()), "application/vnd.ipld.raw")
}

func (c *call) blockStat() error {
	b, err := c.block()
	if err != nil {
		return err
	}
	return c.once(blockLine{Key: c.cid(b.Cid()), Size: len(b.RawData())})
}

func (c *call) block() (blocks.Block, error) {
	at, err := c.at(c.args[0])
	if err != nil {
		return nil, err
	}
	return c.blocks().GetBlock(c.ctx, at.block)
}

func (c *call) blockPut() error {
	if c.Node == nil {
		return c.putThrough(keyOf)
	}
	prefix, err := c.blockPrefix()
	if err != nil {
		return err
	}
	return c.putEach(func(f files.File) (blocks.Block, any, error) {
		data, err := readBlock(f, c.boolean("allow-big-block"))
		if err != nil {
			return nil, nil, err
		}
		b, err := newBlock(data, prefix)
		if err != nil {
			return nil, nil, err
		}
		return b, blockLine{Key: c.cid(b.Cid()), Size: len(data)}, nil
	})
}

func newBlock(data []byte, p cid.Prefix) (blocks.Block, error) {
	x, err := p.Sum(data)
	if err != nil {
		return nil, err
	}
	return blocks.NewBlockWithCid(data, x)
}

// putEach stores the block that f makes of each file, and tells of it with the line
// that f gives. The blocks are pinned in the cluster if the request asks for that.
func (c *call) putEach(f func(files.File) (blocks.Block, any, error)) error {
	return eachFile(c.files, func(file files.File) error {
		b, line, err := f(file)
		if err != nil {
			return err
		}
		if err := c.store(b, c.boolean("pin")); err != nil {
			return err
		}
		return c.emit(line)
	})
}

// store makes a block durable, and pins it if need be.
func (c *call) store(b blocks.Block, pin bool) error {
	a, err := c.Node.OpenAdd(c.ctx, uint64(len(b.RawData())))
	if err != nil {
		return err
	}
	root := api.CidUndef
	if pin {
		root.Cid = b.Cid()
	}
	err = a.Put(c.ctx, []blocks.Block{b})
	if err == nil {
		err = a.Commit(c.ctx, root)
	}
	if err != nil {
		return errors.Join(err, a.Abort())
	}
	if !pin {
		return nil
	}
	return c.pin(b.Cid(), api.PinRecursive, "", c.Self)
}

var errBigBlock = errors.New("produced block is over 2MiB: big blocks can't be exchanged with other peers. consider using UnixFS for automatic chunking of bigger files, or pass --allow-big-block to override")

func readBlock(r io.Reader, big bool) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxBlock+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > softBlock && !big:
		return nil, errBigBlock
	case len(data) > maxBlock:
		return nil, api.TooLarge.Errorf("a block may not be over %d bytes", maxBlock)
	}
	return data, nil
}

// blockPrefix reads what the CIDs of blocks are to be like.
func (c *call) blockPrefix() (cid.Prefix, error) {
	p := cid.Prefix{Version: 1, Codec: cid.Raw, MhType: multihash.SHA2_256, MhLength: -1}
	if name := c.text("mhtype"); name != "" {
		code, ok := multihash.Names[name]
		if !ok {
			return p, api.Invalid.Errorf("unrecognized multihash function: %s", name)
		}
		p.MhType = code
	}
	length, _ := c.number("mhlen")
	p.MhLength = int(length)
	codec, legacy := c.text("cid-codec"), c.text("format")
	if legacy != "" {
		if codec != "" && codec != "raw" {
			return p, api.Invalid.Errorf("unable to use %q (deprecated) and a custom %q at the same time", "format", "cid-codec")
		}
		codec = map[string]string{"v0": "dag-pb", "protobuf": "dag-pb", "cbor": "dag-cbor"}[legacy]
		if codec == "" {
			codec = legacy
		}
	}
	var code multicodec.Code
	if err := code.Set(codec); err != nil {
		return p, api.Invalid.Errorf("%w", err)
	}
	p.Codec = uint64(code)
	if legacy == "v0" {
		p.Version = 0
		if p.MhType != multihash.SHA2_256 || p.MhLength != -1 && p.MhLength != 32 {
			return p, api.Invalid.Errorf("only sha2-255-32 is allowed with CIDv0")
		}
	}
	return p, nil
}

type removedBlock struct {
	Hash  string `json:",omitempty"`
	Error string `json:",omitempty"`
}

func (c *call) blockRm() error {
	if err := c.begin(); err != nil {
		return err
	}
	for _, arg := range c.args {
		x, err := c.resolve(arg)
		if err != nil {
			return err
		}
		err = c.delete(x)
		line := removedBlock{Hash: c.cid(x)}
		switch {
		case errors.Is(err, api.NotFound) && !c.boolean("force"):
			line.Error = fmt.Sprintf("ipld: could not find %s", x)
		case err != nil && !errors.Is(err, api.NotFound):
			line.Error = err.Error()
		case c.boolean("quiet"):
			continue
		}
		if err := c.emit(line); err != nil {
			return err
		}
	}
	return nil
}

// delete removes a block, once it is sure that no pin needs it.
func (c *call) delete(x cid.Cid) error {
	done, err := c.walk()
	if err != nil {
		return err
	}
	defer done()
	return c.Node.Delete(c.ctx, x)
}
