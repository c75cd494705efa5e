package ipfsconn

import (
	"runtime"

	"github.com/ipfs/boxo/path"
	"github.com/ipfs/boxo/verifcid"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
)

// MaxBlockSize bounds one block, in bytes.
const MaxBlockSize = 2 << 20

// maxPath bounds a path to resolve, in bytes.
const maxPath = 4096

// CheckCid tells whether content can be relied on to match c: its hash function is a
// safe one. The error is Invalid, with api.CauseBadBlock.
func CheckCid(c cid.Cid) error {
	if err := verifcid.ValidateCid(verifcid.DefaultAllowlist, c); err != nil {
		return api.CauseBadBlock.Wrap(api.Invalid.Errorf("%s: %w", c, err))
	}
	return nil
}

// CheckSize tells whether a block is of a size that may be kept. The error is TooLarge,
// with api.CauseTooBig.
func CheckSize(b blocks.Block) error {
	if n := len(b.RawData()); n > MaxBlockSize {
		return api.CauseTooBig.Wrap(api.TooLarge.Errorf("block %s is %d bytes, more than %d", b.Cid(), n, MaxBlockSize))
	}
	return nil
}

// CheckBlocks tells whether blocks match their CIDs, and passes them by CheckCid and
// CheckSize. It uses all cores: hashing is most of the cost of an add.
func CheckBlocks(bs []blocks.Block) error {
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, b := range bs {
		g.Go(func() error { return checkBlock(b) })
	}
	return g.Wait()
}

func checkBlock(b blocks.Block) error {
	if err := CheckSize(b); err != nil {
		return err
	}
	if err := CheckCid(b.Cid()); err != nil {
		return err
	}
	got, err := b.Cid().Prefix().Sum(b.RawData())
	if err != nil {
		return api.CauseBadBlock.Wrap(api.Invalid.Errorf("hash block %s: %w", b.Cid(), err))
	}
	if !got.Equals(b.Cid()) {
		return api.CauseBadBlock.Wrap(api.Invalid.Errorf("block %s has the bytes of %s", b.Cid(), got))
	}
	return nil
}

// ParsePath reads a path that a Connector resolves, such as /ipfs/CID/a/b or /ipns/NAME/a.
// The error is Invalid.
func ParsePath(p string) (path.Path, error) {
	if len(p) > maxPath {
		return nil, api.Invalid.Errorf("a path has at most %d bytes", maxPath)
	}
	parsed, err := path.NewPath(p)
	if err != nil {
		return nil, api.Invalid.Errorf("%w", err)
	}
	return parsed, nil
}
