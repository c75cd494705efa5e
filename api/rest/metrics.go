package rest

import "net/http"

// figures answers Prometheus.
func (h *handler) figures(w http.ResponseWriter, r *http.Request) error {
	h.Metrics.ServeHTTP(w, r)
	return nil
}
