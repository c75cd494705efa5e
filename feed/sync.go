package feed

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/state"
	"golang.org/x/sync/errgroup"
)

const (
	syncWorkers = serverSlots * askedAtOnce // pages fetched at once: with fewer, slow servers would be asked as often as quick ones
	syncBatch   = 1 << 20                   // bytes of rows written at once
	maxPages    = 1 << 18                   // of a pinset: at 32 KiB, 8 GiB of rows
)

// Sync makes the pinset of st that of root, with the pages that get gives: those that
// st's own pinset lacks. Nobody else may write st meanwhile.
//
// The state is one of no index (0) until it is whole. A Sync that broke off, at whatever
// moment, goes on from there with the next, be it of another root. When the error is nil
// the state is at root.Index, with its digest, and on disk.
//
// The error is get's, or Invalid when the pages under root.Hash are not a pinset with its
// digest: whoever signed root lied. Others are of this machine, and the context's.
func Sync(ctx context.Context, st *state.State, root Root, get GetPage) error {
	if root.Index == 0 {
		return api.Unavailable.Errorf("a pinset of no index cannot be copied")
	}
	if st.Applied() != 0 {
		if err := st.NewBatch().CommitAt(0); err != nil {
			return err
		}
	}
	frozen, err := st.Freeze()
	if err != nil {
		return err
	}
	own, err := BuildTree(ctx, frozen)
	if err != nil {
		return err
	}
	defer own.Close()

	s := &pageSync{own: own, get: get, st: st}
	leaves, err := s.walk(ctx, root)
	if err == nil {
		err = s.each(ctx, leaves, s.replace)
	}
	if flushed := s.flush(); err == nil { // what is there need not come again
		err = flushed
	}
	if err != nil {
		return fmt.Errorf("copy the pinset of index %d: %w", root.Index, err)
	}
	if st.Digest().Pins != root.Digest {
		if err := st.Verify(ctx); err != nil { // perhaps it is us
			return err
		}
		return api.Invalid.Errorf("the pages of index %d have the digest %x, not %x", root.Index, st.Digest().Pins, root.Digest)
	}
	if err := st.NewBatch().CommitAt(root.Index); err != nil {
		return err
	}
	return st.Sync()
}

// A pageSync is one call of Sync.
type pageSync struct {
	own *Tree // of the state as it was
	get GetPage
	st  *state.State

	mu    sync.Mutex // one page is applied at a time
	batch *state.Batch
	bytes int // of rows in batch
}

// A span is a page to fetch, and the keys of which it tells all: from from, inclusive,
// to to, exclusive; nil is no bound.
type span struct {
	part
	level    int // -1 where it is yet to be seen
	from, to []byte
}

// walk gives the pages of rows that are missing, in order. Of what it does not give the
// state's own rows are right already, or have been put right.
func (s *pageSync) walk(ctx context.Context, root Root) ([]span, error) {
	level := []span{{part: part{hash: root.Hash, rows: root.Pins}, level: -1}}
	for pages := 1; ; {
		missing := level[:0]
		for _, sp := range level {
			here, err := s.have(ctx, sp)
			if err != nil {
				return nil, err
			}
			if !here {
				missing = append(missing, sp)
			}
		}
		if len(missing) == 0 || missing[0].level == 0 {
			return missing, nil
		}
		below := make([][]span, len(missing))
		err := s.each(ctx, missing, func(ctx context.Context, i int, sp span, p page) error {
			if pages += len(p.parts); pages > maxPages {
				return api.Invalid.Errorf("more than %d pages", maxPages)
			}
			if p.level == 0 { // the root
				return s.replace(ctx, i, sp, p)
			}
			below[i] = children(sp, p)
			return nil
		})
		if err != nil {
			return nil, err
		}
		level = nil
		for _, spans := range below {
			level = append(level, spans...)
		}
	}
}

// have tells whether the rows of sp are those of a page of the own tree. Then it deletes
// what else lies in the span.
func (s *pageSync) have(ctx context.Context, sp span) (bool, error) {
	at, ok := s.own.where[sp.hash]
	if !ok {
		return false, nil
	}
	n := s.own.levels[at.level][at.i]
	if err := sp.fits(at.level, n.rows, n.first, n.last); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.merge(ctx, sp.from, []byte(n.first), nil)
	if err == nil {
		err = s.merge(ctx, after(n.last), sp.to, nil)
	}
	return err == nil, err
}

// each fetches pages, syncWorkers at once, and calls use with one at a time.
func (s *pageSync) each(whole context.Context, spans []span, use func(context.Context, int, span, page) error) error {
	g, ctx := errgroup.WithContext(whole)
	g.SetLimit(syncWorkers)
	for i, sp := range spans {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			b, err := s.get(ctx, sp.hash)
			if err != nil {
				return err
			}
			p, err := sp.parse(b)
			if err != nil {
				return err
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			return use(ctx, i, sp, p)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return whole.Err()
}

// parse reads the page of a span and checks that it is in its place.
func (sp span) parse(b []byte) (page, error) {
	p, err := parsePage(b)
	if err != nil {
		return page{}, sp.wrong("%w", err)
	}
	var first, last string
	rows := uint64(len(p.rows))
	if n := len(p.rows); n > 0 {
		first, last = p.rows[0].Cid.KeyString(), p.rows[n-1].Cid.KeyString()
	}
	for _, c := range p.parts {
		if c.rows > sp.rows-rows {
			return page{}, sp.wrong("its parts have more rows")
		}
		rows += c.rows
	}
	if n := len(p.parts); n > 0 {
		first, last = p.parts[0].first, p.parts[n-1].first
	}
	return p, sp.fits(p.level, rows, first, last)
}

// fits checks a page's level and rows, and that its first and last keys lie in the span.
func (sp span) fits(level int, rows uint64, first, last string) error {
	switch {
	case sp.level >= 0 && level != sp.level:
		return sp.wrong("it is of level %d", level)
	case rows != sp.rows:
		return sp.wrong("it has %d rows", rows)
	case sp.first != "" && first != sp.first:
		return sp.wrong("it begins at %x", first)
	case sp.to != nil && last >= string(sp.to):
		return sp.wrong("it goes on to %x, past %x", last, sp.to)
	}
	return nil
}

func (sp span) wrong(format string, args ...any) error {
	return api.Invalid.Errorf("page %s, for level %d and %d rows from %x on: %w", sp.hash, sp.level, sp.rows, sp.first, fmt.Errorf(format, args...))
}

// children are the spans of p's parts, which lie in sp without a gap.
func children(sp span, p page) []span {
	spans := make([]span, len(p.parts))
	for i, c := range p.parts {
		spans[i] = span{part: c, level: p.level - 1, from: []byte(c.first), to: sp.to}
		if i > 0 {
			spans[i-1].to = spans[i].from
		}
	}
	spans[0].from = sp.from
	return spans
}

// replace makes the rows of a span those of its page.
func (s *pageSync) replace(ctx context.Context, _ int, sp span, p page) error {
	return s.merge(ctx, sp.from, sp.to, p.rows)
}

// merge makes rows what lies between two keys.
func (s *pageSync) merge(ctx context.Context, from, to []byte, rows []state.Row) error {
	if from != nil && to != nil && bytes.Compare(from, to) >= 0 {
		return nil
	}
	for had, err := range s.own.frozen.Rows(ctx, from, to) {
		if err != nil {
			return err
		}
		for len(rows) > 0 && rows[0].Cid.KeyString() < had.Cid.KeyString() {
			if err := s.put(rows[0]); err != nil {
				return err
			}
			rows = rows[1:]
		}
		now := state.Row{Cid: had.Cid}
		if len(rows) > 0 && rows[0].Cid == had.Cid {
			now, rows = rows[0], rows[1:]
		}
		if !bytes.Equal(now.Value, had.Value) {
			if err := s.put(now); err != nil {
				return err
			}
		}
	}
	for _, r := range rows {
		if err := s.put(r); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (s *pageSync) put(r state.Row) error {
	if s.batch == nil {
		s.batch = s.st.NewBatch()
	}
	if err := s.batch.PutRow(r); err != nil {
		return err
	}
	if s.bytes += len(r.Cid.KeyString()) + len(r.Value); s.bytes < syncBatch {
		return nil
	}
	return s.flush()
}

// flush writes the rows put since the last.
func (s *pageSync) flush() error {
	if s.batch == nil {
		return nil
	}
	b := s.batch
	s.batch, s.bytes = nil, 0
	return b.CommitAt(0)
}
