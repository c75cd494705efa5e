package rest

import (
	"context"
	"net/http"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
)

// Network tells what goes on between peers.
type Network interface {
	// Graph asks all peers at once, and leaves out what does not answer.
	Graph(ctx context.Context) (api.ConnectGraph, error)
	// Bandwidth is this peer's, by protocol.
	Bandwidth() map[string]api.Bandwidth
}

func (h *handler) graph(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), peersTimeout)
	defer cancel()
	g, err := h.Network.Graph(ctx)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, g)
}

func (h *handler) bandwidth(w http.ResponseWriter, _ *http.Request) error {
	return web.WriteJSON(w, h.Network.Bandwidth())
}
