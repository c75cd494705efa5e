package rest

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// noQuorum is a pinset whose changes wait for a majority that does not come.
type noQuorum struct{ *cluster }

func (noQuorum) Pin(ctx context.Context, _ api.Pin) (api.Pin, uint64, error) {
	<-ctx.Done()
	return api.Pin{}, 0, api.Unavailable.Errorf("timed out waiting for leader: %w", ctx.Err())
}

func (q noQuorum) Unpin(ctx context.Context, _ api.Cid) (api.Pin, uint64, error) {
	return q.Pin(ctx, api.Pin{})
}

func TestPins_ChangesGiveUpWithoutAQuorum(t *testing.T) {
	for _, method := range []string{http.MethodPost, http.MethodDelete} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := New(Parts{Pins: noQuorum{&cluster{}}}, quiet)
				w := httptest.NewRecorder()
				began := time.Now()
				h.ServeHTTP(w, httptest.NewRequest(method, "/pins/"+cid0, nil).WithContext(t.Context()))
				if took := time.Since(began); took != writeTimeout || w.Code != http.StatusServiceUnavailable {
					t.Fatalf("answered %d after %s, want 503 after %s", w.Code, took, writeTimeout)
				}
			})
		})
	}
}
