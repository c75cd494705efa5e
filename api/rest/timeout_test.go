package rest

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
)

// noQuorum is a pinset whose changes wait for a majority that does not come.
type noQuorum struct{ *cluster }

func (noQuorum) Pin(ctx context.Context, _ api.Pin) (api.Pin, uint64, error) {
	<-ctx.Done()
	return api.Pin{}, 0, api.Unavailable.Errorf("timed out waiting for leader: %w", ctx.Err())
}

func (q noQuorum) PinMany(ctx context.Context, reqs []api.Request) []api.Result {
	_, _, err := q.Pin(ctx, api.Pin{})
	results := make([]api.Result, len(reqs))
	for i := range results {
		results[i].Fault = api.FaultOf(err)
	}
	return results
}

func (q noQuorum) Remove(ctx context.Context, _ api.PeerID, _ bool) (uint64, error) {
	_, index, err := q.Pin(ctx, api.Pin{})
	return index, err
}

func (q noQuorum) Unpin(ctx context.Context, _ api.Cid) (api.Pin, uint64, error) {
	return q.Pin(ctx, api.Pin{})
}

func TestPins_ChangesGiveUpWithoutAQuorum(t *testing.T) {
	const line = `{"cid":"` + cid0 + `"}` + "\n"
	for _, tc := range []struct {
		method, path, body string
		status             int
	}{
		{http.MethodPost, "/pins/" + cid0, "", http.StatusServiceUnavailable},
		{http.MethodDelete, "/pins/" + cid0, "", http.StatusServiceUnavailable},
		{http.MethodDelete, "/peers/" + p0, "", http.StatusServiceUnavailable},
		// More than one batch; the first is answered.
		{http.MethodPost, "/pins", strings.Repeat(line, 2*bulkBatch+2), http.StatusOK},
	} {
		t.Run(tc.method+" "+tc.path, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := web.Wrap(web.Options{}, New(Parts{Pins: noQuorum{&cluster{}}, Peers: noQuorum{&cluster{}}}, quiet), quiet, nil)
				w := httptest.NewRecorder()
				began := time.Now()
				h.ServeHTTP(w, httptest.NewRequest(tc.method, tc.path, strings.NewReader(tc.body)).WithContext(t.Context()))
				if took := time.Since(began); took != writeTimeout || w.Code != tc.status {
					t.Fatalf("answered %d after %s, want %d after %s", w.Code, took, tc.status, writeTimeout)
				}
				if tc.status != http.StatusOK {
					return
				}
				code := w.Result().Trailer.Get(api.StreamCodeTrailer)
				if n := strings.Count(w.Body.String(), `"code":503`); n == 0 || n > bulkBatch || code != "503" {
					t.Fatalf("%d lines answered 503 and code %q at the end, want one batch and 503", n, code)
				}
			})
		})
	}
}
