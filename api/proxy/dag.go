package proxy

import (
	"bytes"
	"fmt"
	"io"

	"github.com/ipfs/boxo/files"
	"github.com/ipfs/boxo/path"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	dagpb "github.com/ipld/go-codec-dagpb"
	prime "github.com/ipld/go-ipld-prime"
	_ "github.com/ipld/go-ipld-prime/codec/cbor" // the codecs register themselves
	_ "github.com/ipld/go-ipld-prime/codec/dagcbor"
	_ "github.com/ipld/go-ipld-prime/codec/dagjson"
	_ "github.com/ipld/go-ipld-prime/codec/json"
	_ "github.com/ipld/go-ipld-prime/codec/raw"
	ipldcodec "github.com/ipld/go-ipld-prime/multicodec"
	"github.com/ipld/go-ipld-prime/node/basicnode"
	"github.com/ipld/go-ipld-prime/traversal"
	"github.com/multiformats/go-multicodec"

	"github.com/pinfold-cluster/pinfold/api"
)

var dagPutCommands = []*command{
	{path: "dag"},
	{path: "dag/put", run: (*call).dagPut, passed: unpinned, endless: true, args: []argument{{name: "object data", file: true, many: true}}, options: []option{
		opt(text, "store-codec").or("dag-cbor"), opt(text, "input-codec").or("dag-json"), opt(boolean, "pin"), opt(text, "hash"), bigBlock,
	}},
}

var dagCommands = []*command{
	{path: "dag/get", run: (*call).dagGet, args: []argument{{name: "ref", body: true}}, options: []option{opt(text, "output-codec").or("dag-json")}},
	{path: "dag/resolve", run: (*call).dagResolve, args: []argument{{name: "ref", body: true}}},
	{path: "dag/stat", run: (*call).dagStat, endless: true, args: []argument{{name: "root", many: true, body: true}}, options: []option{
		opt(boolean, "progress", "p"),
	}},
	{path: "dag/export", run: (*call).dagExport, endless: true, args: []argument{{name: "root"}}, options: []option{
		opt(boolean, "progress", "p"), opt(boolean, "local-only"),
	}},
	{path: "dag/import", run: (*call).dagImport, endless: true, args: []argument{{name: "path", file: true, many: true}}, options: []option{
		opt(boolean, "pin-roots"), opt(boolean, "local-only"), opt(boolean, "silent"), opt(boolean, "stats"),
		opt(boolean, "fast-provide-root"), opt(boolean, "fast-provide-dag"), opt(boolean, "fast-provide-wait"), bigBlock,
	}},
}

// codec finds a codec by its name.
func codec(name string) (multicodec.Code, error) {
	var code multicodec.Code
	if err := code.Set(name); err != nil {
		return 0, api.Invalid.Errorf("%w", err)
	}
	return code, nil
}

func (c *call) dagPut() error {
	if c.Node == nil {
		return c.putThrough(cidOf)
	}
	in, err := codec(c.text("input-codec"))
	if err != nil {
		return err
	}
	out, err := codec(c.text("store-codec"))
	if err != nil {
		return err
	}
	hash := multicodec.Sha2_256
	if name := c.text("hash"); name != "" {
		if hash, err = codec(name); err != nil {
			return err
		}
	}
	decode, err := ipldcodec.LookupDecoder(uint64(in))
	if err != nil {
		return api.Invalid.Errorf("%w", err)
	}
	encode, err := ipldcodec.LookupEncoder(uint64(out))
	if err != nil {
		return api.Invalid.Errorf("%w", err)
	}
	prefix := cid.Prefix{Version: 1, Codec: uint64(out), MhType: uint64(hash), MhLength: -1}
	return c.putEach(func(f files.File) (blocks.Block, any, error) {
		node := basicnode.Prototype.Any.NewBuilder()
		if err := decode(node, io.LimitReader(f, maxNode)); err != nil {
			return nil, nil, err
		}
		var data bytes.Buffer
		if err := encode(node.Build(), &data); err != nil {
			return nil, nil, err
		}
		if data.Len() > softBlock && !c.boolean("allow-big-block") {
			return nil, nil, errBigBlock
		}
		b, err := newBlock(data.Bytes(), prefix)
		if err != nil {
			return nil, nil, err
		}
		return b, struct{ Cid *link }{linkTo(b.Cid())}, nil
	})
}

// maxNode bounds the text, in bytes, that a node is made of.
const maxNode = 4 * maxBlock

func (c *call) dagGet() error {
	out, err := codec(c.text("output-codec"))
	if err != nil {
		return err
	}
	at, err := c.at(c.args[0])
	if err != nil {
		return err
	}
	b, err := c.blocks().GetBlock(c.ctx, at.block)
	if err != nil {
		return err
	}
	node, err := decodeNode(b)
	if err != nil {
		return err
	}
	if len(at.inside) > 0 {
		if node, err = traversal.Get(node, prime.ParsePath(path.SegmentsToString(at.inside...))); err != nil {
			return err
		}
	}
	encode, err := ipldcodec.LookupEncoder(uint64(out))
	if err != nil {
		return api.Invalid.Errorf("invalid encoding: %s - %w", out, err)
	}
	var data bytes.Buffer
	if err := encode(node, &data); err != nil {
		return err
	}
	return c.copy(&data, "text/plain")
}

func decodeNode(b blocks.Block) (prime.Node, error) {
	decode, err := ipldcodec.LookupDecoder(b.Cid().Type())
	if err != nil {
		return nil, api.Unsupported.Errorf("unrecognized object type: %d", b.Cid().Type())
	}
	builder := basicnode.Prototype.Any.NewBuilder()
	if b.Cid().Type() == cid.DagProtobuf {
		builder = dagpb.Type.PBNode.NewBuilder()
	}
	if err := decode(builder, bytes.NewReader(b.RawData())); err != nil {
		return nil, fmt.Errorf("read block %s: %w", b.Cid(), err)
	}
	return builder.Build(), nil
}

func (c *call) dagResolve() error {
	at, err := c.at(c.args[0])
	if err != nil {
		return err
	}
	return c.once(struct {
		Cid     *link
		RemPath string
	}{linkTo(at.block), path.SegmentsToString(at.inside...)})
}
