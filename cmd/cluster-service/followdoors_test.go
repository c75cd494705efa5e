package main

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/rest"
	"github.com/pinfold-cluster/pinfold/config"
)

// Whatever routes the REST API has: on a follower those that read go on, and those whose
// work is the follower's own. All others are refused, with the reason.
func TestReadOnly_RefusesEveryRouteThatWrites(t *testing.T) {
	own := []string{"/pins/recover", "/pins/{cid}/recover", "/ipfs/gc"}
	refused := 0
	err := chi.Walk(rest.New(rest.Parts{}, quiet).(chi.Routes), func(method, pattern string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		path := strings.NewReplacer("{", "", "}", "", "*", "recover").Replace(pattern)
		w := httptest.NewRecorder()
		w.Code = 0
		readOnly(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })).
			ServeHTTP(w, httptest.NewRequest(method, path, nil))
		if method == http.MethodGet || method == http.MethodPost && slices.Contains(own, pattern) {
			if w.Code != http.StatusNoContent {
				t.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
			}
			return nil
		}
		refused++
		if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "this is a follower") {
			t.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
		}
		return nil
	})
	if err != nil || refused < 10 {
		t.Errorf("%d routes are refused: %v", refused, err)
	}
}

// Nobody but this machine reaches what a new follower serves its owner.
func TestFollowed_ServesItsOwnerAlone(t *testing.T) {
	d := initFollowed(t, t.TempDir(), "archive", encodeLink(t, newLink(t)))
	c, _, err := config.LoadFollower(string(d.directory), nil)
	if err != nil {
		t.Fatal(err)
	}
	if doors := c.API.REST.HTTPListenMultiaddress; len(doors) > 0 {
		t.Errorf("the REST API is at %v beside its socket", doors)
	}
	if at, err := multiaddr.NewMultiaddr(c.Embedded.Gateway.ListenMultiaddress); err != nil || !manet.IsIPLoopback(at) {
		t.Errorf("the gateway is at %s: %v", at, err)
	}
}

// Followers of several clusters on one machine are peers of their own: nobody can tell that
// they are one owner's by their keys.
func TestFollowed_SeveralShareNoIdentity(t *testing.T) {
	base, seen := t.TempDir(), map[api.PeerID]string{}
	for _, name := range []string{"one", "two", "three"} {
		d := initFollowed(t, base, name, encodeLink(t, newLink(t)))
		ids, err := d.loadIdentities()
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range []api.PeerID{ids.cluster.ID, ids.data.ID} {
			if seen[id] != "" {
				t.Errorf("%s and %s are the same peer", name, seen[id])
			}
			seen[id] = name
		}
	}
}
