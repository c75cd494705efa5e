package embedded

import (
	"context"
	"sync"
	"time"

	ex "github.com/ipfs/boxo/exchange"
	block "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	// boardTime is how long a search takes in others. It is short: once a peer has
	// answered in a session, bitswap asks that one first.
	boardTime = 10 * time.Millisecond
	// maxSearched bounds the blocks of one search; boxo repeats no more wants than these.
	maxSearched = 64
)

// searches looks for first blocks, many of which nobody has. Those that begin together
// share a bitswap session: the end of one costs boxo a pass over the wants of all, and
// with a session for each of thousands of searches it falls behind for ever.
type searches struct {
	mu  sync.Mutex
	cur *search // takes in others; nil: none does
}

type search struct {
	fetcher ex.Fetcher
	cancel  context.CancelFunc // of the bitswap session
	began   time.Time
	all     int // blocks that it has been for
	left    int // of them, those still looked for
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
	n.reach(ctx, append(n.peers.Holders(ctx, api.Cid{Cid: c}), f.origins...))
	s := n.searches.join(n)
	defer n.searches.leave(s)
	b, err := s.fetcher.GetBlock(ctx, c)
	if err != nil && n.closing.Err() != nil {
		return nil, errClosed
	}
	return b, err
}

func (s *searches) join(n *Node) *search {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cur == nil || s.cur.all == maxSearched || time.Since(s.cur.began) > boardTime {
		ctx, cancel := context.WithCancel(n.closing)
		s.cur = &search{fetcher: n.bitswap.NewSession(ctx), cancel: cancel, began: time.Now()}
	}
	s.cur.all++
	s.cur.left++
	return s.cur
}

func (s *searches) leave(one *search) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one.left--; one.left > 0 {
		return
	}
	one.cancel()
	if s.cur == one {
		s.cur = nil
	}
}
