package pinsvc

import (
	"context"
	"errors"
	"iter"
	"maps"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
)

// asksAtOnce is how many pins of a page peers are asked about at the same time.
const asksAtOnce = 16

// list answers with a page of requests, the newest first.
func (h *handler) list(w http.ResponseWriter, r *http.Request) error {
	if err := noBody(r); err != nil {
		return err
	}
	q, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		return err
	}
	ctx := r.Context()
	select {
	case h.lists <- struct{}{}:
		defer func() { <-h.lists }()
	case <-ctx.Done():
		return ctx.Err()
	}
	s, err := h.survey(ctx)
	if err != nil {
		return err
	}
	l := &listing{h: h, q: q, survey: s}
	if err := l.read(ctx); err != nil {
		return err
	}
	return web.WriteJSON(w, l.results(ctx))
}

// found is one request that passes.
type found struct {
	pin      api.Pin
	request  api.PinRequest
	at       time.Time
	progress progress
}

// listing finds the newest requests that pass a query, and counts all that do.
type listing struct {
	h      *handler
	q      query
	survey *survey
	found  []found // more than a page of the newest: see keep
	count  int
}

// read chooses the index that leads to the least.
func (l *listing) read(ctx context.Context) error {
	q := &l.q
	switch {
	case len(q.cids) > 0:
		return l.pins(ctx, l.byCid(ctx))
	case q.name != "" && q.match == exact:
		return l.pins(ctx, l.h.Pinset.NamedRequests(ctx, q.name))
	case len(q.meta) > 0:
		key := slices.Min(slices.Collect(maps.Keys(q.meta)))
		return l.pins(ctx, l.h.Pinset.PairedRequests(ctx, key, q.meta[key]))
	case len(q.statuses) > 0 && !slices.Contains(q.statuses, pinned):
		return l.pins(ctx, l.unfinished(ctx))
	case q.byTimeOnly():
		return l.byTime(ctx)
	default:
		return l.scan(ctx)
	}
}

// byCid gives the pins of the CIDs asked for.
func (l *listing) byCid(ctx context.Context) iter.Seq2[api.Pin, error] {
	return l.pinsOf(ctx, slices.Values(l.q.cids))
}

// unfinished gives the pins about which peers have something to do.
func (l *listing) unfinished(ctx context.Context) iter.Seq2[api.Pin, error] {
	return l.pinsOf(ctx, maps.Keys(l.survey.busy))
}

// pinsOf gives the pins of cids; those that are gone are left out.
func (l *listing) pinsOf(ctx context.Context, cids iter.Seq[api.Cid]) iter.Seq2[api.Pin, error] {
	return func(yield func(api.Pin, error) bool) {
		for c := range cids {
			p, err := l.h.Pinset.Get(ctx, c)
			if errors.Is(err, api.NotFound) {
				continue
			}
			if !yield(p, err) || err != nil {
				return
			}
		}
	}
}

// pins takes what passes of pins that come in any order.
func (l *listing) pins(ctx context.Context, pins iter.Seq2[api.Pin, error]) error {
	for p, err := range pins {
		if err != nil {
			return err
		}
		l.take(ctx, p, func(time.Time) bool { return true })
	}
	return nil
}

// take takes those of p's requests, of the times wanted, that pass.
func (l *listing) take(ctx context.Context, p api.Pin, wanted func(time.Time) bool) {
	if p.Type != api.PinData {
		return // parts of a sharded DAG are nobody's request
	}
	for _, r := range p.AllRequests() {
		at := p.RequestTime(r)
		if !wanted(at) || !l.q.matches(r, at) {
			continue
		}
		var s progress
		if !l.q.anyStatus() {
			if s = l.survey.progress(ctx, p); !l.q.wants(s.status) {
				continue
			}
		}
		l.count++
		l.keep(found{pin: p, request: r, at: at, progress: s})
	}
}

// keep adds f and, now and then, drops what is too old for the page.
func (l *listing) keep(f found) {
	l.found = append(l.found, f)
	if len(l.found) >= 4*(maxLimit+1) {
		l.cut()
	}
}

// cut leaves the page and one more, in order.
func (l *listing) cut() {
	slices.SortFunc(l.found, func(a, b found) int { return b.at.Compare(a.at) })
	if n := l.q.limit + 1; len(l.found) > n {
		clear(l.found[n:])
		l.found = l.found[:n]
	}
}

// scan reads all requests in order of time: no index serves a part of a name.
func (l *listing) scan(ctx context.Context) error {
	for e, err := range l.h.Pinset.Requests(ctx, l.q.after, l.q.before) {
		if err != nil {
			return err
		}
		if err := l.entry(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

func (l *listing) entry(ctx context.Context, e api.RequestEntry) error {
	p, err := l.h.Pinset.Get(ctx, e.Cid)
	if errors.Is(err, api.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	l.take(ctx, p, e.At.Equal)
	return nil
}

// byTime reads a page, and counts the rest without reading it: all of that time but
// those that do not pass, which are among the unfinished or on the page.
func (l *listing) byTime(ctx context.Context) error {
	read := 0
	for e, err := range l.h.Pinset.Requests(ctx, l.q.after, l.q.before) {
		if err != nil {
			return err
		}
		if len(l.found) > l.q.limit {
			break
		}
		read++
		if err := l.entry(ctx, e); err != nil {
			return err
		}
	}
	total, err := l.h.Pinset.CountRequests(ctx, l.q.after, l.q.before)
	if err != nil {
		return err
	}
	if total <= read || len(l.found) == 0 {
		return nil // all of them were looked at
	}
	last := l.found[len(l.found)-1].at
	missed := 0
	if !l.q.anyStatus() {
		for p, err := range l.unfinished(ctx) {
			if err != nil {
				return err
			}
			for _, r := range p.AllRequests() {
				if at := p.RequestTime(r); at.Before(last) && l.q.matches(r, at) && !l.q.wants(l.survey.progress(ctx, p).status) {
					missed++
				}
			}
		}
	}
	l.count = max(l.count, l.count+total-read-missed)
	return nil
}

// results shows the page.
func (l *listing) results(ctx context.Context) pinResults {
	l.cut()
	page := l.found[:min(len(l.found), l.q.limit)]
	if len(l.found) > len(page) {
		page = beforeTie(page, l.found[len(page)].at)
	}
	out := pinResults{Count: l.count, Results: make([]pinStatus, len(page))}
	known := l.h.Peers.Delegates()
	var asks errgroup.Group
	asks.SetLimit(asksAtOnce)
	for i, f := range page {
		asks.Go(func() error {
			s := f.progress
			if s.status == "" {
				s = l.survey.progress(ctx, f.pin)
			}
			out.Results[i] = objectOf(f.pin, f.request, l.survey.detailed(ctx, f.pin, s), known)
			return nil
		})
	}
	_ = asks.Wait() // none of them fails
	return out
}

// beforeTie ends a page where times differ: the next page begins before the time of its
// last, and would leave out what has the same. That is as good as never.
func beforeTie(page []found, next time.Time) []found {
	n := len(page)
	for n > 0 && page[n-1].at.Equal(next) {
		n--
	}
	if n == 0 {
		return page
	}
	return page[:n]
}
