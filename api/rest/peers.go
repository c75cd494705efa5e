package rest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
)

// peersTimeout bounds asking all peers who they are.
const peersTimeout = 15 * time.Second

// maxInvitation is how long a join token may be good for.
const maxInvitation = 365 * 24 * time.Hour

func (h *handler) id(w http.ResponseWriter, r *http.Request) error {
	self, err := h.Peers.Self(r.Context())
	if err != nil {
		return err
	}
	return web.WriteJSON(w, self)
}

func (h *handler) version(w http.ResponseWriter, _ *http.Request) error {
	return web.WriteJSON(w, api.Version{Version: h.Version})
}

// peers asks all peers who they are. They come as they answer; on pages, by ID.
func (h *handler) peers(w http.ResponseWriter, r *http.Request) error {
	l, err := paging(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), peersTimeout)
	defer cancel()
	asked := rows[api.Peer]{items: h.Parts.Peers.Peers(ctx), encode: encodeJSON[api.Peer]}
	if l.all() {
		return answer(h, w, r, l, asked)
	}
	var peers []api.Peer
	for p, err := range asked.items {
		if err != nil {
			return err
		}
		peers = append(peers, p)
	}
	return answerLines(h, w, r, l, peers, func(p api.Peer) string { return p.ID.String() })
}

// maxPeerRequest bounds the body that names a peer, in bytes.
const maxPeerRequest = 4 << 10

// addPeer tells who a peer of the cluster is. Another one cannot be added from here: it
// joins by itself, with a token.
func (h *handler) addPeer(w http.ResponseWriter, r *http.Request) error {
	var req api.PeerRequest
	text, err := io.ReadAll(web.NewBody(w, &http.Request{Body: http.MaxBytesReader(w, r.Body, maxPeerRequest)}))
	if api.KindOf(err) == api.TooLarge {
		return err
	}
	if err != nil || json.Unmarshal(text, &req) != nil {
		return api.Invalid.Errorf(`error decoding request body: want {"peer_id":"..."}`)
	}
	id, err := api.ParsePeerID(req.ID)
	if err != nil {
		return api.Invalid.Errorf("error decoding peer_id: %w", err)
	}
	peer, err := h.Parts.Peers.Peer(r.Context(), id)
	if errors.Is(err, api.NotFound) {
		return api.Denied.Errorf("%s is not a peer of this cluster and cannot be made one from here: make a token with "+
			"'cluster-ctl peers invite' and join with it on that machine, 'cluster-service join TOKEN'", id)
	}
	if err != nil {
		return err
	}
	return web.WriteJSON(w, peer)
}

func (h *handler) removePeer(w http.ResponseWriter, r *http.Request) error {
	s, err := param(r, "peer")
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
	params := params{q: q}
	revoke := params.boolean("revoke", false)
	if params.err != nil {
		return params.err
	}
	ctx, cancel := context.WithTimeout(r.Context(), writeTimeout)
	defer cancel()
	index, err := h.Parts.Peers.Remove(ctx, id, revoke)
	setIndex(w, index)
	if err != nil {
		return err
	}
	web.NoContent(w)
	return nil
}

// invite answers with a join token; "ttl" is a Go duration of at least a second.
func (h *handler) invite(w http.ResponseWriter, r *http.Request) error {
	q, err := query(r)
	if err != nil {
		return err
	}
	p := params{q: q}
	var ttl time.Duration
	if s := p.text("ttl"); s != "" {
		ttl, err = time.ParseDuration(s)
		if err != nil || ttl < time.Second || ttl > maxInvitation {
			p.fail("parameter ttl invalid: %q is not a duration of one second to a year, like 24h", s)
		}
	}
	if p.err != nil {
		return p.err
	}
	token, err := h.Parts.Peers.Invite(r.Context(), ttl)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, api.Invitation{Token: token})
}

func (h *handler) health(w http.ResponseWriter, _ *http.Request) error {
	web.NoContent(w)
	return nil
}

// leaderLimit is how long a question that only the leader answers waits for one.
const leaderLimit = 5 * time.Second

func (h *handler) repair(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), leaderLimit)
	defer cancel()
	status, err := h.Repairs.Repair(ctx)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, status)
}

func (h *handler) gc(w http.ResponseWriter, r *http.Request) error {
	q, err := query(r)
	if err != nil {
		return err
	}
	p := params{q: q}
	local := p.local()
	if p.err != nil {
		return p.err
	}
	result, err := h.GC.GC(r.Context(), local)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, shownGC(result))
}

// shownGC makes absent lists empty ones.
func shownGC(g api.GlobalRepoGC) api.GlobalRepoGC {
	shown := api.GlobalRepoGC{PeerMap: make(map[string]api.RepoGC, len(g.PeerMap))}
	for id, p := range g.PeerMap {
		p.Keys = orEmpty(p.Keys)
		shown.PeerMap[id] = p
	}
	return shown
}

// orEmpty makes no list an empty one: [] and not null in JSON.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
