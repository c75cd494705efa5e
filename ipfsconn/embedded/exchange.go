package embedded

import (
	"context"
	"maps"
	"slices"
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
// new one wherever the last has been without a want for freshFor, and beside one that
// is stuck. That may be without a peer, though some are connected: it leaves one that
// answers late too often, as slow machines do, and one that it cannot send to any more;
// and then sends new wants to nobody.
type session struct {
	n       *Node
	ctx     context.Context // bounds the bitswap sessions; boxo's interface has it so
	cancel  context.CancelFunc
	root    cid.Cid         // whose holders to connect to; undefined: those of what is wanted
	origins []peer.AddrInfo // to connect to as well

	mu      sync.Mutex
	cur     *asking   // in which is asked now
	wants   int       // in progress, in all
	arrived time.Time // when a block came, or the first was asked for
}

// An asking is a bitswap session. The session's mu guards it.
type asking struct {
	ex.Fetcher
	cancel context.CancelFunc
	wants  int       // in progress
	idle   time.Time // since when there are none
}

func (n *Node) session(ctx context.Context, root cid.Cid, origins ...peer.AddrInfo) *session {
	n.expect(origins)
	ctx, cancel := context.WithCancel(ctx)
	return &session{n: n, ctx: ctx, cancel: cancel, root: root, origins: origins}
}

// Close ends the session. It ends with its context too.
func (s *session) Close() {
	s.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n.forget(s.origins)
	s.origins = nil
}

// GetBlock implements exchange.Fetcher.
func (s *session) GetBlock(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	got, err := s.GetBlocks(ctx, []cid.Cid{c})
	if err != nil {
		return nil, err
	}
	if b, ok := <-got; ok {
		return b, nil
	}
	switch {
	case s.n.closing.Err() != nil:
		return nil, errClosed
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case s.ctx.Err() != nil:
		return nil, s.ctx.Err()
	}
	return nil, ipld.ErrNotFound{Cid: c}
}

// GetBlocks implements exchange.Fetcher.
func (s *session) GetBlocks(ctx context.Context, cs []cid.Cid) (<-chan blocks.Block, error) {
	out := make(chan blocks.Block)
	if len(cs) == 0 {
		close(out)
		return out, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	got, all := make(chan blocks.Block), make(chan struct{}, 1)
	first, err := s.ask(ctx, cs, got, all)
	if err != nil {
		cancel()
		return nil, err
	}
	err = s.n.use.spawn(func() {
		defer cancel()
		defer close(out)
		s.collect(ctx, cs, first, got, all, out)
	})
	if err != nil {
		cancel()
		return nil, err
	}
	return out, nil
}

// collect passes on what comes, each block once, until all have come. Where none does for a
// while, it asks anew.
func (s *session) collect(ctx context.Context, cs []cid.Cid, last *asking, got chan blocks.Block, all chan struct{}, out chan<- blocks.Block) {
	left := map[string]cid.Cid{} // by multihash, as boxo has it
	for _, c := range cs {
		left[string(c.Hash())] = c
	}
	patience := rebroadcast + s.n.o.lineTime()
	look := time.NewTimer(patience)
	defer look.Stop()
	for {
		select {
		case b := <-got:
			hash := string(b.Cid().Hash())
			if _, ok := left[hash]; !ok {
				continue
			}
			delete(left, hash)
			select {
			case out <- b:
			case <-ctx.Done():
				return
			}
			if len(left) == 0 {
				return
			}
		case <-look.C:
			if early := patience - s.quiet(); early > 0 {
				look.Reset(early)
				continue
			}
			s.leave(last)
			var err error
			if last, err = s.ask(ctx, slices.Collect(maps.Values(left)), got, all); err != nil {
				return // the node closes, or ctx has ended
			}
			patience *= 2
			look.Reset(patience)
		case <-all:
			return
		case <-ctx.Done():
			return
		}
	}
}

// ask asks for cs in one bitswap session. What comes is sent to got, and then all is told.
func (s *session) ask(ctx context.Context, cs []cid.Cid, got chan<- blocks.Block, all chan<- struct{}) (*asking, error) {
	a, err := s.begin(ctx, cs[0])
	if err != nil {
		return nil, err
	}
	in, err := a.GetBlocks(ctx, cs)
	if err == nil {
		err = s.n.use.spawn(func() {
			defer s.end(a)
			for b := range in {
				s.note()
				select {
				case got <- b:
				case <-ctx.Done():
					return
				}
			}
			select {
			case all <- struct{}{}:
			default: // another has told
			}
		})
	}
	if err != nil {
		s.end(a)
		return nil, err
	}
	return a, nil
}

// begin returns the bitswap session for a want of c, which end ends.
func (s *session) begin(ctx context.Context, c cid.Cid) (*asking, error) {
	if s.n.bitswap == nil {
		return nil, ipld.ErrNotFound{Cid: c}
	}
	if a := s.reuse(); a != nil {
		return a, nil
	}
	root := s.root
	if !root.Defined() {
		root = c
	}
	s.n.reach(ctx, append(s.n.peers.Holders(ctx, api.Cid{Cid: root}), s.origins...))
	if a := s.reuse(); a != nil { // somebody was quicker
		return a, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cur != nil && s.cur.wants == 0 {
		s.cur.cancel()
		s.cur = nil
	}
	if s.cur == nil {
		ctx, cancel := context.WithCancel(s.ctx)
		s.cur = &asking{Fetcher: s.n.bitswap.NewSession(ctx), cancel: cancel}
	}
	return s.want(), nil
}

func (s *session) reuse() *asking {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cur == nil || s.cur.wants == 0 && time.Since(s.cur.idle) > freshFor {
		return nil
	}
	return s.want()
}

// want counts one that is asked in cur. The caller holds mu.
func (s *session) want() *asking {
	if s.wants == 0 {
		s.arrived = time.Now()
	}
	s.wants++
	s.cur.wants++
	return s.cur
}

func (s *session) end(a *asking) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wants--
	a.wants--
	a.idle = time.Now()
	if a.wants == 0 && a != s.cur {
		a.cancel()
	}
}

// leave has what is wanted from now on asked in another bitswap session. What is asked in
// this one may still come.
func (s *session) leave(a *asking) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cur == a {
		s.cur = nil
	}
}

func (s *session) note() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrived = time.Now()
}

// quiet is for how long nothing has come that was asked for.
func (s *session) quiet() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Since(s.arrived)
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
