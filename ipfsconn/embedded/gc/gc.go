// Package gc removes the blocks that no pin needs, while the node goes on working.
//
// It marks what the pins of one moment reach, then sweeps what was there at that
// moment and is not marked. Whatever is put or pinned meanwhile goes through a lease
// (see package blocks), and leased blocks are spared. It never sweeps on an incomplete
// mark: a whole pin of which a block with links is missing ends the collection. Blocks
// without links are not looked for: what they are does not change what must stay.
package gc

import (
	"context"
	"fmt"
	"hash/maphash"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/multiformats/go-multihash"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded/blocks"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded/dag"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded/pins"
)

// KeepPartial is for how long after its last try a fetch that did not finish keeps the
// blocks it got.
const KeepPartial = 24 * time.Hour

// Roots are DAGs that are kept beside the pins, as far as they are here. They do not
// change while locked.
type Roots interface {
	sync.Locker
	In(r pebble.Reader) ([]api.Cid, error)
}

// begin begins a sweep at a moment when the roots do not change.
func begin(bs *blocks.Store, roots Roots) (*blocks.Sweep, error) {
	roots.Lock()
	defer roots.Unlock()
	return bs.BeginSweep()
}

// Collect removes garbage and yields each block that goes, as a raw CID of its hash.
// About one unneeded block in 300 is kept for the next time, when chance spares
// another. The error is Conflict while another collection runs.
func Collect(ctx context.Context, bs *blocks.Store, ps *pins.Store, roots Roots, log *slog.Logger) iter.Seq2[api.RepoGCKey, error] {
	return func(yield func(api.RepoGCKey, error) bool) {
		start := time.Now()
		sweep, err := begin(bs, roots)
		if err != nil {
			yield(api.RepoGCKey{}, err)
			return
		}
		defer func() {
			if err := sweep.Close(); err != nil {
				log.Error("close garbage collection", "err", err)
			}
		}()
		live, err := markPins(ctx, sweep, bs, ps, roots, start.Add(-KeepPartial))
		if err != nil {
			yield(api.RepoGCKey{}, fmt.Errorf("collect garbage: %w", err))
			return
		}
		removed := 0
		for c, err := range sweep.Remove(ctx, live.has) {
			if err != nil {
				yield(api.RepoGCKey{}, fmt.Errorf("collect garbage: %w", err))
				return
			}
			removed++
			if !yield(api.RepoGCKey{Key: api.Cid{Cid: c}}, nil) {
				return
			}
		}
		if removed > 0 {
			if err := sweep.Reclaim(ctx); err != nil {
				yield(api.RepoGCKey{}, fmt.Errorf("collect garbage: %w", err))
				return
			}
		}
		log.Info("garbage collected", "blocks", removed, "took", time.Since(start))
	}
}

// markPins returns what the pins in the sweep's snapshot reach. Partial pins last tried
// before forget are dropped.
func markPins(ctx context.Context, sweep *blocks.Sweep, bs *blocks.Store, ps *pins.Store, roots Roots, forget time.Time) (*live, error) {
	n, err := sweep.Count(ctx)
	if err != nil {
		return nil, err
	}
	filter := newLive(n)
	m := &marker{bs: bs, live: filter, inner: map[string]struct{}{}}
	for p, err := range pins.In(ctx, sweep.Snapshot()) {
		if err != nil {
			return nil, err
		}
		if p.State == pins.Partial && p.Tried < forget.Unix() {
			if err := ps.Forget(p.Cid, forget); err != nil {
				return nil, err
			}
			continue
		}
		if err := m.pin(ctx, p); err != nil {
			return nil, fmt.Errorf("mark pin %s: %w", p.Cid, err)
		}
	}
	kept, err := roots.In(sweep.Snapshot())
	if err != nil {
		return nil, err
	}
	for _, c := range kept {
		if err := m.pin(ctx, pins.Pin{Cid: c, State: pins.Partial}); err != nil {
			return nil, fmt.Errorf("mark %s: %w", c, err)
		}
	}
	return filter, nil
}

type marker struct {
	bs   *blocks.Store
	live interface{ add(multihash.Multihash) }
	// inner are the nodes whose links were followed. It must be exact: one taken for
	// another would leave a whole DAG unmarked.
	inner map[string]struct{}
}

func (m *marker) pin(ctx context.Context, p pins.Pin) error {
	todo := []cid.Cid{p.Cid.Cid}
	for len(todo) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		c := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		m.live.add(c.Hash())
		if p.Mode == api.PinDirect || dag.IsLeaf(c) {
			continue
		}
		if _, ok := m.inner[c.KeyString()]; ok {
			continue
		}
		b, err := m.bs.Get(ctx, c)
		if ipld.IsNotFound(err) {
			if p.State == pins.Whole {
				return missing(c)
			}
			continue
		}
		if err != nil {
			return err
		}
		links, err := dag.Links(c, b.RawData())
		if err != nil {
			if p.State == pins.Whole {
				return err
			}
			continue
		}
		m.inner[c.KeyString()] = struct{}{}
		todo = append(todo, links...)
	}
	return nil
}

func missing(c cid.Cid) error {
	return api.Internal.Errorf("block %s of a whole pin is missing; nothing was removed", c)
}

// live is a Bloom filter of multihashes: it may hold some that were not added, never
// lacks one that was.
type live struct {
	seed maphash.Seed
	bits []uint64
}

// minWords, 8 KiB, keeps what a filter of a few words would mix up: two hashes that start
// and step alike modulo its size.
const (
	bitsPerBlock = 12
	probes       = 8
	minWords     = 1 << 10
)

func newLive(blocks int) *live {
	return &live{seed: maphash.MakeSeed(), bits: make([]uint64, minWords+blocks*bitsPerBlock/64)}
}

func (l *live) add(h multihash.Multihash) {
	for i := range l.probe(h) {
		l.bits[i/64] |= 1 << (i % 64)
	}
}

func (l *live) has(h multihash.Multihash) bool {
	for i := range l.probe(h) {
		if l.bits[i/64]&(1<<(i%64)) == 0 {
			return false
		}
	}
	return true
}

func (l *live) probe(h multihash.Multihash) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		sum := maphash.Bytes(l.seed, h)
		a, b := sum, sum>>32|1
		for range probes {
			if !yield(a % uint64(len(l.bits)*64)) {
				return
			}
			a += b
		}
	}
}
