package main

import (
	"context"
	"iter"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/pintracker"
)

// localPage is how many statuses are read at once.
const localPage = 500

// local is this peer's tracker as the REST API asks it with local=true: the same
// objects, of one peer.
type local struct{ t *pintracker.Tracker }

func (l local) Status(ctx context.Context, c api.Cid) (g api.GlobalPinInfo, err error) {
	g.Merge(l.t.Status(ctx, c))
	return g, nil
}

func (l local) Recover(ctx context.Context, c api.Cid) (g api.GlobalPinInfo, err error) {
	info, err := l.t.Recover(ctx, c)
	g.Merge(info)
	return g, err
}

func (l local) List(ctx context.Context, filter api.TrackerStatus) iter.Seq2[api.GlobalPinInfo, error] {
	return l.ListAfter(ctx, filter, api.CidUndef)
}

// ListAfter is List past the CID after.
func (l local) ListAfter(ctx context.Context, filter api.TrackerStatus, after api.Cid) iter.Seq2[api.GlobalPinInfo, error] {
	return pages(ctx, filter, after, l.t.StatusPage)
}

func (l local) RecoverAll(ctx context.Context) iter.Seq2[api.GlobalPinInfo, error] {
	return pages(ctx, api.StatusUndefined, api.CidUndef, l.t.RecoverAll)
}

// pages yields the items of all pages.
func pages(ctx context.Context, filter api.TrackerStatus, after api.Cid, page func(context.Context, api.StatusQuery) (api.StatusPage, error)) iter.Seq2[api.GlobalPinInfo, error] {
	return func(yield func(api.GlobalPinInfo, error) bool) {
		q := api.StatusQuery{After: after, Limit: localPage, Filter: filter}
		for {
			p, err := page(ctx, q)
			if err != nil {
				yield(api.GlobalPinInfo{}, err)
				return
			}
			for _, info := range p.Items {
				var g api.GlobalPinInfo
				g.Merge(info)
				if !yield(g, nil) {
					return
				}
			}
			if !p.More {
				return
			}
			q.After = p.Last
		}
	}
}
