package rest

import (
	"context"
	"iter"
	"net/http"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
)

// Followers makes followers and knows those that full peers serve. With local it tells
// what the contacted peer knows alone. On a follower it knows itself.
type Followers interface {
	// Link returns what makes followers. The error is Conflict where that is not to be.
	Link(ctx context.Context) (api.FollowLink, error)
	// List gives the followers past after, by the bytes of their IDs.
	List(ctx context.Context, after api.PeerID, local bool) iter.Seq2[api.Follower, error]
	// Get gives one. The error is NotFound where it is not known.
	Get(ctx context.Context, id api.PeerID, local bool) (api.Follower, error)
	// Copies asks followers which of the CIDs, at most copiesAsked, they hold or are to
	// hold. What they say may be false. Those that say nothing of a CID are left out.
	Copies(ctx context.Context, cids []api.Cid, local bool) ([]api.PinInfo, error)
}

const (
	// copiesAsked is how many CIDs followers are asked about at once, and maxCopies in
	// one request.
	copiesAsked = 64
	maxCopies   = 4 * copiesAsked
)

var followersParam = queryParam{"followers", boolean, "true asks connected followers for their copies, too, which are told of apart: in a list it needs limit or cids, for at most 256 pins"}

// followLink answers with a link. It holds the swarm's secret.
func (h *handler) followLink(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), writeTimeout)
	defer cancel()
	link, err := h.Followers.Link(ctx)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, link)
}

func (h *handler) followers(w http.ResponseWriter, r *http.Request) error {
	q, err := query(r)
	if err != nil {
		return err
	}
	p := params{q: q}
	local, l := p.local(), p.paging()
	if p.err != nil {
		return p.err
	}
	var after api.PeerID
	if l.cursor != "" {
		if after, err = api.ParsePeerID(l.cursor); err != nil {
			return errCursor()
		}
	}
	return answer(h, w, r, l, rows[api.Follower]{
		items:  h.Followers.List(r.Context(), after, local),
		encode: func(b []byte, f api.Follower) ([]byte, error) { return encodeJSON(b, shownFollower(f)) },
		cursor: func(f api.Follower) string { return f.ID.String() },
	})
}

func (h *handler) follower(w http.ResponseWriter, r *http.Request) error {
	s, err := param(r, "id")
	if err != nil {
		return err
	}
	id, err := api.ParsePeerID(s)
	if err != nil {
		return err
	}
	q, err := query(r)
	if err != nil {
		return err
	}
	p := params{q: q}
	local := p.local()
	if p.err != nil {
		return p.err
	}
	f, err := h.Followers.Get(r.Context(), id, local)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, shownFollower(f))
}

func shownFollower(f api.Follower) api.Follower {
	f.Addresses = orEmpty(f.Addresses)
	return f
}

func errCopies() error {
	return api.Invalid.Errorf("parameter followers invalid: followers are asked about at most %d pins in a request: set limit, or name the pins with cids", maxCopies)
}

// addCopies adds what followers say to the infos.
func (h *handler) addCopies(ctx context.Context, infos []*api.GlobalPinInfo, local bool) error {
	cids := make([]api.Cid, len(infos))
	for i, info := range infos {
		cids[i] = info.Cid
	}
	copies, err := h.Followers.Copies(ctx, cids, local)
	if err != nil {
		return err
	}
	for _, info := range infos {
		info.Followers = map[string]api.PinInfoShort{}
		for _, c := range copies {
			if c.Cid == info.Cid {
				info.Followers[c.Peer.String()] = c.PinInfoShort
			}
		}
	}
	return nil
}

// withCopies adds what followers say to the rows of a list, some at a time. info gives
// the part of a row that it is added to.
func withCopies[T any](ctx context.Context, h *handler, items iter.Seq2[T, error], info func(*T) *api.GlobalPinInfo, local bool) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		some := make([]T, 0, copiesAsked)
		tell := func() bool {
			infos := make([]*api.GlobalPinInfo, len(some))
			for i := range some {
				infos[i] = info(&some[i])
			}
			if err := h.addCopies(ctx, infos, local); err != nil {
				yield(none, err)
				return false
			}
			for _, row := range some {
				if !yield(row, nil) {
					return false
				}
			}
			some = some[:0]
			return true
		}
		for row, err := range items {
			if err != nil {
				yield(none, err)
				return
			}
			if some = append(some, row); len(some) == copiesAsked && !tell() {
				return
			}
		}
		if len(some) > 0 {
			tell()
		}
	}
}
