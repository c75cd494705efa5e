package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/ipfs/boxo/files"
	"github.com/ipfs/boxo/gateway"
	"github.com/ipfs/boxo/path"
	"github.com/ipfs/boxo/verifcid"

	"github.com/pinfold-cluster/pinfold/api"
)

// backend reads for boxo's handlers. It gives errors their status where boxo would
// answer 500, and resolves names by the cluster alone.
type backend struct {
	*gateway.BlocksBackend
	local *gateway.BlocksBackend // what is on the node
	names Names
}

func newBackend(n Node, fetch bool, names Names) (*backend, error) {
	ns := gateway.WithNameSystem(noNames{})
	all, err := gateway.NewBlocksBackend(n.Reader(fetch), ns)
	if err != nil {
		return nil, err
	}
	local, err := gateway.NewBlocksBackend(n.Reader(false), ns)
	if err != nil {
		return nil, err
	}
	return &backend{all, local, names}, nil
}

// Get implements gateway.IPFSBackend, as do the methods below.
func (b *backend) Get(ctx context.Context, p path.ImmutablePath, ranges ...gateway.ByteRange) (gateway.ContentPathMetadata, *gateway.GetResponse, error) {
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
	md, car, err := b.BlocksBackend.GetCAR(ctx, p, params)
	if err != nil {
		return md, nil, withStatus(ctx, err)
	}
	s, _ := ctx.Value(slotKey{}).(*slot)
	return md, &carStream{car, s}, nil
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
}

func (c *carStream) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	if err != nil && err != io.EOF && c.slot != nil {
		c.slot.fail()
	}
	return n, err
}

// withStatus gives err the status of its answer where boxo does not know it.
func withStatus(ctx context.Context, err error) error {
	code := 0
	switch {
	case err == nil:
		return nil
	case errors.Is(context.Cause(ctx), errGaveWay):
		err, code = errGaveWay, http.StatusServiceUnavailable
	case errors.Is(err, verifcid.ErrPossiblyInsecureHashFunction), errors.Is(err, verifcid.ErrDigestTooSmall), errors.Is(err, verifcid.ErrDigestTooLarge):
		code = http.StatusBadRequest
	case errors.Is(err, context.Canceled):
		code = http.StatusServiceUnavailable // the gateway stops, or nobody is there to read this
	case errors.Is(err, api.Unavailable):
		code = http.StatusServiceUnavailable
	}
	if code == 0 {
		return err
	}
	return gateway.NewErrorStatusCode(err, code)
}
