package rest

import (
	"context"
	"net/http"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
)

// Followers makes followers and knows those that this peer serves. On a follower it
// knows itself alone.
type Followers interface {
	// Link returns what makes followers. The error is Conflict where that is not to be.
	Link(ctx context.Context) (api.FollowLink, error)
	// List gives the followers connected with this peer, by ID.
	List() []api.Follower
}

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
	l, err := paging(r)
	if err != nil {
		return err
	}
	list := h.Followers.List()
	for i := range list {
		list[i].Addresses = orEmpty(list[i].Addresses)
	}
	return answerLines(h, w, r, l, list, func(f api.Follower) string { return f.ID.String() })
}
