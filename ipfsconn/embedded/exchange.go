package embedded

import (
	"context"
	"sync"
	"time"

	ex "github.com/ipfs/boxo/exchange"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	// searchDelay is how long a bitswap session asks connected peers only.
	searchDelay = 75 * time.Millisecond
	// rebroadcast is how often it asks everybody again for what has not come.
	rebroadcast = 5 * time.Second
	// freshFor is how long a bitswap session may be without a want and still be used.
	// One whose idle timer (searchDelay) runs out while it wants nothing never looks
	// for a provider again.
	freshFor = searchDelay / 3
	// dialTimeout bounds the wait for a holder to be reached before the first want.
	dialTimeout = 5 * time.Second
	// maxDials bounds the holders that are connected to for one DAG.
	maxDials = 16
)

// discovery finds providers among the cluster's peers.
type discovery struct{ n *Node }

// FindProvidersAsync implements routing.ContentDiscovery.
func (d discovery) FindProvidersAsync(ctx context.Context, c cid.Cid, count int) <-chan peer.AddrInfo {
	holders := d.n.peers.Holders(ctx, api.Cid{Cid: c})
	if count > 0 && len(holders) > count {
		holders = holders[:count]
	}
	found := make(chan peer.AddrInfo, len(holders))
	for _, h := range holders {
		if h.ID == d.n.host.ID() {
			continue
		}
		if d.n.host.Network().Connectedness(h.ID) == network.Connected {
			d.n.askAgain(h.ID) // it may have been given up since the session began
		}
		if !d.n.bitswap.hearsay.heard(h.ID) { // all that are connected are asked what they have
			continue
		}
		found <- h
	}
	close(found)
	return found
}

// exchange fetches blocks from other peers, within sessions that connect to holders
// first. Off line it finds nothing.
type exchange struct{ n *Node }

// NewSession implements exchange.SessionExchange.
func (e exchange) NewSession(ctx context.Context) ex.Fetcher {
	return e.n.session(ctx, cid.Undef)
}

// GetBlock implements exchange.Fetcher.
func (e exchange) GetBlock(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	s := e.n.session(ctx, c)
	defer s.Close()
	return s.GetBlock(ctx, c)
}

// GetBlocks implements exchange.Fetcher.
func (e exchange) GetBlocks(ctx context.Context, cs []cid.Cid) (<-chan blocks.Block, error) {
	return e.n.session(ctx, cid.Undef).GetBlocks(ctx, cs)
}

// NotifyNewBlocks implements exchange.Interface.
func (e exchange) NotifyNewBlocks(ctx context.Context, bs ...blocks.Block) error {
	if e.n.bitswap == nil {
		return nil
	}
	return e.n.bitswap.NotifyNewBlocks(ctx, bs...)
}

// Close implements exchange.Interface. The Node closes bitswap.
func (e exchange) Close() error { return nil }

// session fetches the blocks of one DAG, over one bitswap session after another: a
// new one wherever the last has been without a want for freshFor.
type session struct {
	n       *Node
	ctx     context.Context // bounds the bitswap sessions; boxo's interface has it so
	root    cid.Cid         // whose holders to connect to; undefined: those of what is wanted
	origins []peer.AddrInfo // to connect to as well

	mu     sync.Mutex
	cur    ex.Fetcher
	cancel context.CancelFunc // of cur
	wants  int                // in progress on cur
	idle   time.Time          // since when there are none
}

func (n *Node) session(ctx context.Context, root cid.Cid, origins ...peer.AddrInfo) *session {
	n.expect(origins)
	return &session{n: n, ctx: ctx, root: root, origins: origins}
}

// Close ends the session. It ends with its context too.
func (s *session) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancel != nil {
		s.cancel()
	}
	s.n.forget(s.origins)
	s.origins = nil
}

// GetBlock implements exchange.Fetcher.
func (s *session) GetBlock(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	f, err := s.begin(ctx, c)
	if err != nil {
		return nil, err
	}
	defer s.end()
	b, err := f.GetBlock(ctx, c)
	switch {
	case err == nil:
		return b, nil
	case s.n.closing.Err() != nil:
		return nil, errClosed
	case s.ctx.Err() != nil: // which boxo calls a closed channel, where ctx ends a moment later
		return nil, s.ctx.Err()
	}
	return nil, err
}

// GetBlocks implements exchange.Fetcher.
func (s *session) GetBlocks(ctx context.Context, cs []cid.Cid) (<-chan blocks.Block, error) {
	if len(cs) == 0 {
		none := make(chan blocks.Block)
		close(none)
		return none, nil
	}
	f, err := s.begin(ctx, cs[0])
	if err != nil {
		return nil, err
	}
	in, err := f.GetBlocks(ctx, cs)
	if err != nil {
		s.end()
		return nil, err
	}
	out := make(chan blocks.Block)
	err = s.n.use.spawn(func() {
		defer s.end()
		defer close(out)
		for b := range in {
			select {
			case out <- b:
			case <-ctx.Done():
				return
			}
		}
	})
	if err != nil {
		s.end()
		return nil, err
	}
	return out, nil
}

// begin returns the bitswap session for a want of c, which end ends.
func (s *session) begin(ctx context.Context, c cid.Cid) (ex.Fetcher, error) {
	if s.n.bitswap == nil {
		return nil, ipld.ErrNotFound{Cid: c}
	}
	if f := s.reuse(); f != nil {
		return f, nil
	}
	root := s.root
	if !root.Defined() {
		root = c
	}
	s.n.reach(ctx, append(s.n.peers.Holders(ctx, api.Cid{Cid: root}), s.origins...))
	if f := s.reuse(); f != nil { // somebody was quicker
		return f, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancel != nil && s.wants == 0 {
		s.cancel()
	}
	if s.wants == 0 {
		var sctx context.Context
		sctx, s.cancel = context.WithCancel(s.ctx)
		s.cur = s.n.bitswap.NewSession(sctx)
	}
	s.wants++
	return s.cur, nil
}

func (s *session) reuse() ex.Fetcher {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cur == nil || s.wants == 0 && time.Since(s.idle) > freshFor {
		return nil
	}
	s.wants++
	return s.cur
}

func (s *session) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wants--
	s.idle = time.Now()
}

// askAgain has bitswap ask a connected peer that it gave up: after a few messages that
// could not be sent it would else do so only over a new connection, however long this
// one lasts.
func (n *Node) askAgain(id peer.ID) {
	n.asked.Connected(id)
	if n.host.Network().Connectedness(id) != network.Connected { // it has gone meanwhile
		n.asked.Disconnected(id)
	}
}

// reach connects to peers, and returns once one of them is connected or all have
// failed; the other attempts go on for at most dialTimeout.
func (n *Node) reach(ctx context.Context, peers []peer.AddrInfo) {
	var dial []peer.AddrInfo
	connected := false
	for _, p := range peers {
		switch {
		case p.ID == n.host.ID():
		case n.host.Network().Connectedness(p.ID) == network.Connected:
			connected = true
			n.askAgain(p.ID)
		case len(dial) < maxDials:
			dial = append(dial, p)
		}
	}
	if len(dial) == 0 {
		return
	}
	// Not the caller's context: whoever comes next wants the connection too.
	dctx, cancel := context.WithTimeout(n.closing, dialTimeout)
	results := make(chan error, len(dial))
	var pending sync.WaitGroup
	for _, p := range dial {
		pending.Add(1)
		err := n.use.spawn(func() {
			defer pending.Done()
			err := n.host.Connect(dctx, p)
			if err != nil {
				n.log.Debug("holder not reached", "peer", p.ID, "err", err)
			}
			results <- err
		})
		if err != nil {
			pending.Done()
			results <- err
		}
	}
	if n.use.spawn(func() { pending.Wait(); cancel() }) != nil {
		cancel()
	}
	if connected {
		return
	}
	for range dial {
		select {
		case err := <-results:
			if err == nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}
