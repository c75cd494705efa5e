package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/files"
	"github.com/ipfs/boxo/gateway"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/boxo/path"
	"github.com/ipfs/boxo/path/resolver"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/ipld/go-ipld-prime/datamodel"
	"github.com/ipld/go-ipld-prime/schema"

	"github.com/pinfold-cluster/pinfold/api"
)

// backend reads for boxo's handlers. It gives errors their status where boxo would
// answer 500, and resolves names by the cluster alone.
type backend struct {
	*gateway.BlocksBackend
	blocks blockservice.BlockService // the same blocks
	nodes  ipld.NodeGetter           // of them
	local  *gateway.BlocksBackend    // what is on the node
	names  Node                      // which knows those published on it
}

func newBackend(n Node, fetch bool) (*backend, error) {
	ns := gateway.WithNameSystem(noNames{})
	blocks := n.Reader(fetch)
	all, err := gateway.NewBlocksBackend(blocks, ns)
	if err != nil {
		return nil, err
	}
	local, err := gateway.NewBlocksBackend(n.Reader(false), ns)
	if err != nil {
		return nil, err
	}
	return &backend{all, blocks, merkledag.NewDAGService(blocks), local, n}, nil
}

// Get implements gateway.IPFSBackend, as do the methods below.
func (b *backend) Get(ctx context.Context, p path.ImmutablePath, ranges ...gateway.ByteRange) (gateway.ContentPathMetadata, *gateway.GetResponse, error) {
	if len(ranges) > 0 && ranges[0].From < 0 {
		// The last bytes of a file that may have fewer: boxo takes that for an error.
		if size, err := b.fileSize(ctx, p); err == nil && ranges[0].From < -size {
			ranges[0].From = 0
		}
	}
	md, res, err := b.BlocksBackend.Get(ctx, p, ranges...)
	return md, res, withStatus(ctx, err)
}

func (b *backend) GetAll(ctx context.Context, p path.ImmutablePath) (gateway.ContentPathMetadata, files.Node, error) {
	md, node, err := b.BlocksBackend.GetAll(ctx, p)
	return md, node, withStatus(ctx, err)
}

func (b *backend) GetBlock(ctx context.Context, p path.ImmutablePath) (gateway.ContentPathMetadata, files.File, error) {
	md, f, err := b.BlocksBackend.GetBlock(ctx, p)
	return md, f, withStatus(ctx, err)
}

func (b *backend) Head(ctx context.Context, p path.ImmutablePath) (gateway.ContentPathMetadata, *gateway.HeadResponse, error) {
	md, res, err := b.BlocksBackend.Head(ctx, p)
	return md, res, withStatus(ctx, err)
}

func (b *backend) ResolvePath(ctx context.Context, p path.ImmutablePath) (gateway.ContentPathMetadata, error) {
	md, err := b.BlocksBackend.ResolvePath(ctx, p)
	return md, withStatus(ctx, err)
}

func (b *backend) GetCAR(ctx context.Context, p path.ImmutablePath, params gateway.CarParams) (gateway.ContentPathMetadata, io.ReadCloser, error) {
	root, err := b.checkCAR(ctx, p, params)
	if err != nil {
		return gateway.ContentPathMetadata{}, nil, withStatus(ctx, err)
	}
	from, done := b.BlocksBackend, func() error { return nil }
	if root.Defined() && params.Scope == gateway.DagScopeAll {
		if from, done, err = b.readAhead(ctx, root); err != nil {
			return gateway.ContentPathMetadata{}, nil, err
		}
	}
	md, car, err := from.GetCAR(ctx, p, params)
	if err != nil {
		return md, nil, errors.Join(withStatus(ctx, err), done())
	}
	s, _ := ctx.Value(slotKey{}).(*slot)
	return md, &carStream{car, s, done}, nil
}

// readAhead returns a backend for one walk of a whole DAG, which done ends.
func (b *backend) readAhead(ctx context.Context, root cid.Cid) (_ *gateway.BlocksBackend, done func() error, _ error) {
	ctx, cancel := context.WithCancel(ctx)
	a := newAhead(ctx, b.blocks, root)
	from, err := gateway.NewBlocksBackend(blockservice.New(a, nil), gateway.WithNameSystem(noNames{}))
	if err != nil {
		cancel()
		return nil, nil, err
	}
	return from, func() error { cancel(); return a.end() }, nil
}

// checkCAR fails where boxo would begin to answer and then not get far: a CAR of p would
// lack its first block or, if p leads somewhere, its last, or is to hold a range of a
// file that ends before it begins. It returns the last. A path that leads nowhere is no
// error: the CAR proves it, and there is no last.
func (b *backend) checkCAR(ctx context.Context, p path.ImmutablePath, params gateway.CarParams) (cid.Cid, error) {
	if _, err := b.nodes.Get(ctx, p.RootCid()); err != nil {
		return cid.Undef, err
	}
	md, err := b.BlocksBackend.ResolvePath(ctx, p)
	if err != nil {
		return cid.Undef, nil // GetCAR fails in the same way, or proves it
	}
	last := md.LastSegment.RootCid()
	node, err := b.nodes.Get(ctx, last)
	if err != nil || params.Range == nil || params.Range.To == nil {
		return last, err
	}
	size, err := sizeOf(node)
	if err != nil {
		return last, nil // no file: the range means nothing
	}
	from, to := params.Range.From, *params.Range.To
	if from < 0 {
		from = max(0, size+from)
	}
	if to < 0 {
		to = size + to
	}
	if from > to+1 {
		return last, status(http.StatusBadRequest, "entity-bytes: the range ends before it begins in a file of %d bytes", size)
	}
	return last, nil
}

func (b *backend) fileSize(ctx context.Context, p path.ImmutablePath) (int64, error) {
	md, err := b.BlocksBackend.ResolvePath(ctx, p)
	if err != nil {
		return 0, err
	}
	node, err := b.nodes.Get(ctx, md.LastSegment.RootCid())
	if err != nil {
		return 0, err
	}
	return sizeOf(node)
}

// sizeOf gives the size of the file that node is the root of.
func sizeOf(node ipld.Node) (int64, error) {
	switch node := node.(type) {
	case *merkledag.RawNode:
		return int64(len(node.RawData())), nil
	case *merkledag.ProtoNode:
		fs, err := unixfs.FSNodeFromBytes(node.Data())
		if err != nil {
			return 0, err
		}
		return int64(fs.FileSize()), nil
	}
	return 0, fmt.Errorf("%s is no file", node.Cid())
}

// IsCached never fetches, whatever else the gateway may.
func (b *backend) IsCached(ctx context.Context, p path.Path) bool {
	if p.Mutable() {
		fixed, _, _, err := b.ResolveMutable(ctx, p)
		if err != nil {
			return false
		}
		p = fixed
	}
	return b.local.IsCached(ctx, p)
}

// carStream notes that a CAR ends before its time: boxo then ends the answer as if it
// were whole.
type carStream struct {
	io.ReadCloser
	slot *slot
	done func() error
}

func (c *carStream) Close() error { return errors.Join(c.ReadCloser.Close(), c.done()) }

func (c *carStream) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	if err != nil && err != io.EOF && c.slot != nil {
		c.slot.fail()
	}
	return n, err
}

// withStatus gives err the status of its answer where boxo does not know it. Errors of
// the node have a kind, so what is left is content that cannot be served by its CID (an
// unsafe hash), its codec or its bytes: the fault is the request's.
func withStatus(ctx context.Context, err error) error {
	if err == nil || known(err) {
		return err
	}
	switch {
	case errors.Is(context.Cause(ctx), errGaveWay):
		return gateway.NewErrorStatusCode(errGaveWay, http.StatusServiceUnavailable)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, api.Internal):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, api.Unavailable): // the gateway stops, or nobody is there to read this
		return gateway.NewErrorStatusCode(err, http.StatusServiceUnavailable)
	}
	return gateway.NewErrorStatusCode(err, http.StatusBadRequest)
}

// known tells whether boxo's handlers find the status of err by themselves.
func known(err error) bool {
	var withCode *gateway.ErrorStatusCode
	var wrongKind datamodel.ErrWrongKind
	var notExists datamodel.ErrNotExists
	return errors.As(err, &withCode) || ipld.IsNotFound(err) || errors.Is(err, &resolver.ErrNoLink{}) || errors.Is(err, schema.ErrNoSuchField{}) ||
		errors.Is(err, cid.ErrInvalidCid{}) || errors.As(err, &wrongKind) || errors.As(err, &notExists)
}
