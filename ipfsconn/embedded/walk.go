package embedded

import (
	"context"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded/blocks"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded/dag"
)

// walk gets every block of a DAG onto the node, under a lease. What is to be done is a
// stack, so that it grows with the depth of the DAG and not with its breadth.
type walk struct {
	n        *Node
	lease    *blocks.Lease
	session  *session
	stall    *time.Timer // reset by each block
	progress func(uint64)

	mu    sync.Mutex
	cond  *sync.Cond // todo or busy has changed, or the walk is to stop
	todo  []cid.Cid
	busy  int                 // workers that may still add to todo
	hire  func()              // starts one more worker
	hires int                 // how many more may be
	inner map[string]struct{} // blocks whose links are or will be in todo, by CID
	bytes uint64              // of blocks here
}

func newWalk(n *Node, lease *blocks.Lease, s *session, stall *time.Timer, progress func(uint64)) *walk {
	if progress == nil {
		progress = func(uint64) {}
	}
	w := &walk{n: n, lease: lease, session: s, stall: stall, progress: progress, inner: map[string]struct{}{}}
	w.cond = sync.NewCond(&w.mu)
	return w
}

// run walks from root with at most as many workers, and returns the bytes of the DAG. Blocks
// that occur several times are counted once.
func (w *walk) run(ctx context.Context, root cid.Cid, workers int) (uint64, error) {
	w.todo = []cid.Cid{root}
	g, gctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(gctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.cond.Broadcast()
	})()
	w.hire, w.hires = func() { g.Go(func() error { return w.work(gctx) }) }, workers-1
	w.hire()
	err := g.Wait()
	if err != nil && notArrived(ctx, err) {
		err = api.CauseStalled.Wrap(api.Unavailable.Errorf("fetch %s: %w", root, why(ctx, err)))
	}
	return w.bytes, err
}

func (w *walk) work(ctx context.Context) error {
	for {
		c, ok := w.next(ctx)
		if !ok {
			return ctx.Err()
		}
		links, err := w.visit(ctx, c)
		w.done(links)
		if err != nil {
			return err
		}
	}
}

// next returns what to visit; false at the end of the walk or of ctx.
func (w *walk) next(ctx context.Context) (cid.Cid, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.todo) == 0 && w.busy > 0 && ctx.Err() == nil {
		w.cond.Wait()
	}
	if len(w.todo) == 0 || ctx.Err() != nil {
		return cid.Undef, false
	}
	c := w.todo[len(w.todo)-1]
	w.todo = w.todo[:len(w.todo)-1]
	w.busy++
	return c, true
}

func (w *walk) done(links []cid.Cid) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy--
	for i := len(links) - 1; i >= 0; i-- { // the first link is visited first
		w.todo = append(w.todo, links[i])
	}
	for range min(len(links), w.hires) {
		w.hires--
		w.hire()
	}
	if len(links) > 0 || w.busy == 0 {
		w.cond.Broadcast()
	}
}

// visit gets block c onto the node and returns its links, none if c was visited.
func (w *walk) visit(ctx context.Context, c cid.Cid) ([]cid.Cid, error) {
	leaf := dag.IsLeaf(c)
	if !leaf && !w.enter(c) {
		return nil, nil
	}
	size, here, first, err := w.lease.Touch(ctx, c)
	if err != nil {
		return nil, err
	}
	var data []byte
	switch {
	case !here:
		b, err := w.n.fetch(ctx, api.Cid{Cid: c}, w.lease, w.session)
		if err != nil {
			return nil, err
		}
		data, size = b.RawData(), uint64(len(b.RawData()))
	case !leaf:
		b, err := w.n.blocks.Get(ctx, c)
		if err != nil {
			return nil, err
		}
		data = b.RawData()
	}
	w.arrived(size, first)
	return dag.Links(c, data)
}

func (w *walk) enter(c cid.Cid) (first bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, known := w.inner[c.KeyString()]
	w.inner[c.KeyString()] = struct{}{}
	return !known
}

func (w *walk) arrived(size uint64, first bool) {
	w.stall.Reset(w.n.o.Stall)
	if !first {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bytes += size
	w.progress(w.bytes)
}
