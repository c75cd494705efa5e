package rest

import (
	"net/http"
	"strings"
	"testing"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/apitest"
)

func TestToken(t *testing.T) {
	const basic = "Basic YW5uOnNlY3JldA==" // ann:secret
	c := &cluster{}
	url := c.serve(t)
	for name, tc := range map[string]struct {
		method, path, auth string
		status             int
		body, effect       string
	}{
		"ninety days":     {"POST", "/token", basic, 200, `{"token":"of ann","id":"ID","expires":"1970-04-01T00:00:00Z"}`, ""},
		"as long as said": {"POST", "/token?ttl=24h", basic, 200, `{"token":"of ann","id":"ID","expires":"1970-01-02T00:00:00Z"}`, ""},
		"for a token":     {"POST", "/token", "Bearer x", 401, `"message":"unauthorized: a token is made with a user and a password, not with another token"`, ""},
		"for nothing":     {"POST", "/token", "", 401, `"code":401`, ""},
		"for ever":        {"POST", "/token?ttl=999999h", basic, 400, `parameter ttl invalid`, ""},
		"no duration":     {"POST", "/token?ttl=1", basic, 400, `parameter ttl invalid`, ""},
		"revoke":          {"DELETE", "/token/ABCDEFGHIJKLMNOPQRSTUVW234", basic, 204, "", "revoke"},
		"revoke a word":   {"DELETE", "/token/x", basic, 400, "is not the ID of a token", ""},
		"revoke a part":   {"DELETE", "/token/ABCDEFGHIJKLMNOPQRSTUVW23", basic, 400, "is not the ID of a token", ""},
		"revoke too much": {"DELETE", "/token/ABCDEFGHIJKLMNOPQRSTUVW2345", basic, 400, "is not the ID of a token", ""},
		"revoke small":    {"DELETE", "/token/abcdefghijklmnopqrstuvw234", basic, 400, "is not the ID of a token", ""},
		"revoke no ID":    {"DELETE", "/token/a.b", basic, 400, "is not the ID of a token", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c.calls = nil
			res, body := do(t, tc.method, url+tc.path, nil, "Authorization", tc.auth)
			if res.StatusCode != tc.status || !strings.Contains(body, tc.body) || c.effects() != tc.effect {
				t.Errorf("got %d %s, calls %q", res.StatusCode, body, c.effects())
			}
			if got := res.Header.Get(api.IndexHeader); (got == "44") != (tc.effect != "") {
				t.Errorf("got index %q", got)
			}
			if got := res.Header.Get("WWW-Authenticate"); (got != "") != (tc.status == 401) {
				t.Errorf("got WWW-Authenticate %q", got)
			}
		})
	}
}

func TestPeers_AddIsOfThoseThatAreThere(t *testing.T) {
	c := &cluster{peers: seq(nil, api.Peer{ID: apitest.PeerID(t, p0), PeerName: "zero"})}
	url := c.serve(t)
	for body, want := range map[string]struct {
		status int
		text   string
	}{
		`{"peer_id":"` + p0 + `"}`: {200, `"peername":"zero"`},
		`{"peer_id":"` + p1 + `"}`: {403, "cluster-ctl peers invite"},
		`{"peer_id":"x"}`:          {400, "error decoding peer_id"},
		`{}`:                       {400, "error decoding peer_id"},
		`{"peer_id":1}`:            {400, "error decoding request body"},
		`[`:                        {400, "error decoding request body"},
		`{"peer_id":"` + strings.Repeat("x", maxPeerRequest) + `"}`: {413, "over"},
	} {
		res, text := do(t, http.MethodPost, url+"/peers", strings.NewReader(body))
		if res.StatusCode != want.status || !strings.Contains(text, want.text) {
			t.Errorf("%.60s: got %d %s, want %d %s", body, res.StatusCode, text, want.status, want.text)
		}
	}
}
