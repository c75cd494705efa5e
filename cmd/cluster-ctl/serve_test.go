package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

func TestDocument_ServesTheNewestLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		var down, refuses atomic.Bool
		var told strings.Builder
		d := &document{errw: &told, fresh: func(context.Context) (api.FollowLink, error) {
			n := asked.Add(1)
			switch {
			case down.Load():
				return api.FollowLink{}, errors.New("down")
			case refuses.Load():
				return api.FollowLink{}, api.Conflict.Errorf("refused")
			}
			return api.FollowLink{Document: map[string]any{"n": n}}, nil
		}}
		get := func(method string) (int, float64) {
			w := httptest.NewRecorder()
			d.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, "/follow.json", nil))
			var doc struct{ N float64 }
			_ = json.Unmarshal(w.Body.Bytes(), &doc) // an error is no document
			return w.Code, doc.N
		}
		want := func(what string, status int, n float64) {
			t.Helper()
			if got, doc := get(http.MethodGet); got != status || doc != n {
				t.Errorf("%s: got %d, link %v; want %d, link %v", what, got, doc, status, n)
			}
		}
		down.Store(true)
		want("the peer is down", 503, 0)
		down.Store(false)
		want("a moment later", 503, 0)
		time.Sleep(linkFresh)
		want("the peer is back", 200, 2)
		want("at once again", 200, 2)
		time.Sleep(linkFresh)
		want("later", 200, 3)
		down.Store(true)
		time.Sleep(linkFresh)
		want("down again", 200, 3)
		time.Sleep(linkFresh)
		want("still down", 200, 3)
		down.Store(false)
		refuses.Store(true)
		time.Sleep(linkFresh)
		want("it refuses", 503, 0)
		want("at once again", 503, 0)
		if got := told.String(); got != "the peer gives no link: down\nthe peer gives no link: down\nthe peer gives no link: refused\n" {
			t.Errorf("told: %q", got)
		}
		if got, _ := get(http.MethodPost); got != 405 {
			t.Errorf("POST: %d", got)
		}
	})
}
