package embedded

import (
	"context"
	"math/bits"
	"sync"
	"time"

	block "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	// boardTime is how long a search takes in others before it begins.
	boardTime = 5 * time.Millisecond
	// maxSearched bounds the blocks of one search; boxo repeats no more wants than these.
	maxSearched = 64
)

// searches looks for first blocks, many of which nobody has. Those that begin together
// are one bitswap session with one list of wants. The end of a session costs boxo a pass
// over the wants of all: with one for each of thousands of searches it falls behind for
// ever. A list costs it two goroutines, however long it is.
//
// Together are those only that are about as patient: a search wants all its blocks until
// the last who waits for one has left.
type searches struct {
	boarding time.Duration
	mu       sync.Mutex
	board    map[int]*search // take in others, by patience
}

type search struct {
	ctx      context.Context // of the session; ends with the search
	cancel   context.CancelCauseFunc
	patience int
	full     chan struct{} // closed once it takes in no more
	wants    []cid.Cid
	found    map[cid.Cid]chan block.Block // for each want, with room for its block
	left     int                          // how many still wait
}

// finder gets the first block of a pin, within a search.
type finder struct {
	n       *Node
	origins []peer.AddrInfo // to connect to, besides the holders
}

// GetBlock returns the block of c once a peer has given it.
func (f finder) GetBlock(ctx context.Context, c cid.Cid) (block.Block, error) {
	n := f.n
	if n.bitswap == nil {
		return nil, ipld.ErrNotFound{Cid: c}
	}
	n.expect(f.origins)
	defer n.forget(f.origins)
	beside(func() { n.reach(ctx, append(n.peers.Holders(ctx, api.Cid{Cid: c}), f.origins...)) })
	s, found, err := n.searches.join(ctx, n, c)
	if err != nil {
		return nil, err
	}
	defer n.searches.leave(s)
	select {
	case b := <-found:
		return b, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.ctx.Done():
		if n.closing.Err() != nil {
			return nil, errClosed
		}
		return nil, context.Cause(s.ctx)
	}
}

// beside runs f on a stack of its own: the caller is about to wait, one of a thousand,
// and should not do so on one that has grown.
func beside(f func()) {
	var other sync.WaitGroup
	other.Go(f)
	other.Wait()
}

// join makes c one of a search's wants. The caller leaves it in the end.
func (s *searches) join(ctx context.Context, n *Node, c cid.Cid) (*search, <-chan block.Block, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := patience(ctx)
	one := s.board[p]
	if one != nil && one.found[c] != nil { // a list has each want once
		s.unboard(one)
		one = nil
	}
	if one == nil {
		one = &search{patience: p, full: make(chan struct{}), found: map[cid.Cid]chan block.Block{}}
		one.ctx, one.cancel = context.WithCancelCause(n.closing)
		if err := n.use.spawn(func() { one.cancel(s.run(n, one)) }); err != nil {
			one.cancel(err)
			return nil, nil, err
		}
		s.board[p] = one
	}
	found := make(chan block.Block, 1)
	one.wants, one.found[c] = append(one.wants, c), found
	one.left++
	if len(one.wants) == maxSearched {
		s.unboard(one)
	}
	return one, found, nil
}

// leave ends one with the last who waits for its blocks.
func (s *searches) leave(one *search) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one.left--; one.left == 0 {
		s.unboard(one)
		one.cancel(nil)
	}
}

// unboard has one take in no more. Under mu.
func (s *searches) unboard(one *search) {
	if s.board[one.patience] == one {
		delete(s.board, one.patience)
		close(one.full)
	}
}

// patience is, roughly, how long ctx is from its end: alike for two of which one has
// less than double the time of the other.
func patience(ctx context.Context) int {
	end, ok := ctx.Deadline()
	if !ok {
		return -1
	}
	return bits.Len64(uint64(max(0, time.Until(end)+time.Second/4) / (time.Second / 2)))
}

// run searches, once others have joined, until all have left.
func (s *searches) run(n *Node, one *search) error {
	select {
	case <-one.full:
	case <-one.ctx.Done():
	case <-time.After(s.boarding):
	}
	s.mu.Lock()
	s.unboard(one) // from here on nobody writes to wants and found
	s.mu.Unlock()
	if one.ctx.Err() != nil {
		return nil
	}
	in, err := n.bitswap.NewSession(one.ctx).GetBlocks(one.ctx, one.wants)
	if err != nil {
		return err
	}
	for b := range in { // each once
		one.found[b.Cid()] <- b
	}
	<-one.ctx.Done() // what was found is being taken
	return nil
}
