package rest

import (
	"context"
	"iter"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
)

// statusesAtOnce is how many CIDs of one request are asked for at the same time.
const statusesAtOnce = 16

// tracker is the one that the request's "local" parameter chooses.
func (h *handler) tracker(r *http.Request) (Tracker, *params, error) {
	q, err := query(r)
	if err != nil {
		return nil, nil, err
	}
	p := &params{q: q}
	t := h.Tracker
	if p.local() {
		t = h.Local
	}
	return t, p, p.err
}

func (h *handler) status(w http.ResponseWriter, r *http.Request) error {
	q, err := query(r)
	if err != nil {
		return err
	}
	wait, err := h.waitParam(q)
	if err != nil {
		return err
	}
	if wait == nil {
		return h.one(w, r, Tracker.Status)
	}
	defer wait.done()
	if p := (params{q: q}); p.local() {
		return api.Invalid.Errorf("parameter wait invalid: all holders are waited for, and local=true asks one peer")
	}
	return h.one(w, r, func(_ Tracker, ctx context.Context, c api.Cid) (api.GlobalPinInfo, error) {
		ctx, cancel := context.WithTimeout(ctx, wait.timeout)
		defer cancel()
		info, _, err := wait.feed.AwaitPinned(ctx, c)
		return info, err
	})
}

func (h *handler) recover(w http.ResponseWriter, r *http.Request) error {
	return h.one(w, r, Tracker.Recover)
}

func (h *handler) one(w http.ResponseWriter, r *http.Request, ask func(Tracker, context.Context, api.Cid) (api.GlobalPinInfo, error)) error {
	c, err := cidParam(r)
	if err != nil {
		return err
	}
	t, p, err := h.tracker(r)
	if err != nil {
		return err
	}
	followers := r.Method == http.MethodGet && p.boolean("followers", false)
	if p.err != nil {
		return p.err
	}
	info, err := ask(t, r.Context(), c)
	if err != nil {
		return err
	}
	if followers {
		if err := h.addCopies(r.Context(), []*api.GlobalPinInfo{&info}, p.local()); err != nil {
			return err
		}
	}
	return web.WriteJSON(w, shownInfo(info, time.Now()))
}

func (h *handler) statuses(w http.ResponseWriter, r *http.Request) error {
	t, p, err := h.tracker(r)
	if err != nil {
		return err
	}
	var cids []api.Cid
	for _, s := range p.list("cids") {
		c, err := parseCid(s)
		if err != nil {
			return err
		}
		cids = append(cids, c)
	}
	filter, err := api.ParseStatusFilter(p.text("filter"))
	followers := p.boolean("followers", false)
	if p.err != nil {
		return p.err
	}
	if len(cids) > 0 {
		if err := p.alone("cids", listParams); err != nil {
			return err
		}
		list := statusOf(r.Context(), t, cids)
		if followers {
			if len(cids) > maxCopies {
				return errCopies()
			}
			list = withCopies(r.Context(), h, list, func(info *api.GlobalPinInfo) *api.GlobalPinInfo { return info }, p.local())
		}
		return h.infos(w, r, list)
	}
	if err != nil {
		return err
	}
	return h.answerStatuses(w, r, t, p, filter)
}

func (h *handler) recoverAll(w http.ResponseWriter, r *http.Request) error {
	t, _, err := h.tracker(r)
	if err != nil {
		return err
	}
	return h.infos(w, r, t.RecoverAll(r.Context()))
}

// infos streams statuses.
func (h *handler) infos(w http.ResponseWriter, r *http.Request, list iter.Seq2[api.GlobalPinInfo, error]) error {
	s := web.NewStream(w)
	now := time.Now()
	var enc api.Encoder
	var failed error
	for info, err := range list {
		if err == nil {
			info = shownInfo(info, now)
			err = s.Append(func(b []byte) ([]byte, error) { return enc.AppendInfo(b, &info) })
		}
		if err != nil {
			failed = err
			break
		}
	}
	return h.end(r, s, failed)
}

// statusOf asks t for each of cids, several at once. An error is the last thing it
// yields.
func statusOf(ctx context.Context, t Tracker, cids []api.Cid) iter.Seq2[api.GlobalPinInfo, error] {
	return func(yield func(api.GlobalPinInfo, error) bool) {
		for some := range slices.Chunk(cids, statusesAtOnce) {
			infos := make([]api.GlobalPinInfo, len(some))
			g, ctx := errgroup.WithContext(ctx)
			for i, c := range some {
				g.Go(func() (err error) {
					infos[i], err = t.Status(ctx, c)
					return err
				})
			}
			if err := g.Wait(); err != nil {
				yield(api.GlobalPinInfo{}, err)
				return
			}
			for _, info := range infos {
				if !yield(info, nil) {
					return
				}
			}
		}
	}
}
