package embedded

import (
	"context"
	"time"

	ex "github.com/ipfs/boxo/exchange"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/pinfold-cluster/pinfold/api"
)

// patient fetches blocks as exchange does, but gives up on one that has not come for
// Options.RetrievalTimeout.
type patient struct{ exchange }

// NewSession implements exchange.SessionExchange.
func (p patient) NewSession(ctx context.Context) ex.Fetcher {
	return patientFetcher{p.n.session(ctx, cid.Undef), p.n}
}

// GetBlock implements exchange.Fetcher.
func (p patient) GetBlock(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	return patientFetcher{p.exchange, p.n}.GetBlock(ctx, c)
}

// GetBlocks implements exchange.Fetcher.
func (p patient) GetBlocks(ctx context.Context, cs []cid.Cid) (<-chan blocks.Block, error) {
	return patientFetcher{p.exchange, p.n}.GetBlocks(ctx, cs)
}

type patientFetcher struct {
	ex.Fetcher
	n *Node
}

func (f patientFetcher) GetBlock(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	bounded, cancel := context.WithTimeout(ctx, f.n.o.RetrievalTimeout)
	defer cancel()
	b, err := f.Fetcher.GetBlock(bounded, c)
	if err != nil && ctx.Err() == nil && bounded.Err() != nil {
		return nil, api.Unavailable.Errorf("block %s: %w", c, errNotRetrieved)
	}
	return b, err
}

// GetBlocks gives those that come, until none has for a while.
func (f patientFetcher) GetBlocks(ctx context.Context, cs []cid.Cid) (<-chan blocks.Block, error) {
	ctx, cancel := context.WithCancel(ctx)
	stall := time.AfterFunc(f.n.o.RetrievalTimeout, cancel)
	stop := func() { stall.Stop(); cancel() }
	in, err := f.Fetcher.GetBlocks(ctx, cs)
	if err != nil {
		stop()
		return nil, err
	}
	out := make(chan blocks.Block)
	err = f.n.use.spawn(func() {
		defer stop()
		defer close(out)
		for b := range in {
			stall.Reset(f.n.o.RetrievalTimeout)
			select {
			case out <- b:
			case <-ctx.Done():
				return
			}
		}
	})
	if err != nil {
		stop()
		return nil, err
	}
	return out, nil
}
