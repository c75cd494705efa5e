package rest

import (
	"iter"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/apitest"
	"github.com/pinfold-cluster/pinfold/api/web"
	"github.com/pinfold-cluster/pinfold/events"
)

// sent is one request of a route's row.
type sent struct {
	path, body, media string
	status            int
}

// row is what the routes' test asks of a route, beside what it asks of all: without and
// with wrong credentials, with too little scope, by another method.
type row struct {
	valid     sent
	malformed sent
	large     sent // absent: the valid request with a body that is too large
}

const boundaryType = multipartType + "; boundary=b"

func upload(name, content string) string {
	return "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" + name + "\"\r\nContent-Type: application/octet-stream\r\n\r\n" + content + "\r\n--b--\r\n"
}

var rowsOfRoutes = map[string]row{
	"GET /id":              {valid: sent{path: "/id"}, malformed: sent{path: "/id?a=%zz"}},
	"GET /version":         {valid: sent{path: "/version"}, malformed: sent{path: "/version?a=%zz"}},
	"GET /peers":           {valid: sent{path: "/peers?limit=1"}, malformed: sent{path: "/peers?limit=0"}},
	"POST /peers":          {valid: sent{path: "/peers", body: `{"peer_id":"` + p0 + `"}`}, malformed: sent{path: "/peers", body: `{"peer_id":`}},
	"POST /peers/invite":   {valid: sent{path: "/peers/invite?ttl=1h"}, malformed: sent{path: "/peers/invite?ttl=h"}},
	"DELETE /peers/{peer}": {valid: sent{path: "/peers/" + p1, status: 204}, malformed: sent{path: "/peers/" + p1 + "x"}},
	"GET /followers":       {valid: sent{path: "/followers"}, malformed: sent{path: "/followers?limit=0"}},
	"GET /followers/{id}":  {valid: sent{path: "/followers/" + p1}, malformed: sent{path: "/followers/" + p1 + "x"}},
	"POST /followers/link": {valid: sent{path: "/followers/link"}, malformed: sent{path: "/followers/link?a=%zz"}},
	"POST /add": {valid: sent{path: "/add", body: upload("a", "abc"), media: boundaryType}, malformed: sent{path: "/add", body: "abc"},
		large: sent{path: "/add", body: upload(strings.Repeat("a", 20<<10), "abc"), media: boundaryType, status: 400}},
	"GET /allocations":       {valid: sent{path: "/allocations?count=true"}, malformed: sent{path: "/allocations?filter=x"}},
	"GET /allocations/{cid}": {valid: sent{path: "/allocations/" + cid0}, malformed: sent{path: "/allocations/" + cid0[1:]}},
	"GET /pins":              {valid: sent{path: "/pins?fields=cid"}, malformed: sent{path: "/pins?cursor=a"}},
	"POST /pins": {valid: sent{path: "/pins", body: `{"cid":"` + cid0 + `"}`}, malformed: sent{path: "/pins?a=%zz"},
		large: sent{path: "/pins", body: strings.Repeat("x", maxBulkLine+1), status: 200}},
	"POST /pins/recover":          {valid: sent{path: "/pins/recover"}, malformed: sent{path: "/pins/recover?local=x"}},
	"GET /pins/{cid}":             {valid: sent{path: "/pins/" + cid0}, malformed: sent{path: "/pins/0"}},
	"POST /pins/{cid}":            {valid: sent{path: "/pins/" + cid0 + "?name=a"}, malformed: sent{path: "/pins/" + cid0 + "?replication=x"}},
	"DELETE /pins/{cid}":          {valid: sent{path: "/pins/" + cid0}, malformed: sent{path: "/pins/%ff"}},
	"POST /pins/{cid}/recover":    {valid: sent{path: "/pins/" + cid0 + "/recover"}, malformed: sent{path: "/pins/0/recover"}},
	"POST /ipfs/gc":               {valid: sent{path: "/ipfs/gc"}, malformed: sent{path: "/ipfs/gc?local=0.5"}},
	"GET /health":                 {valid: sent{path: "/health", status: 204}, malformed: sent{path: "/health?a=%zz"}},
	"GET /health/graph":           {valid: sent{path: "/health/graph"}, malformed: sent{path: "/health/graph?a=%zz"}},
	"GET /health/bandwidth":       {valid: sent{path: "/health/bandwidth"}, malformed: sent{path: "/health/bandwidth?a=%zz"}},
	"GET /health/alerts":          {valid: sent{path: "/health/alerts"}, malformed: sent{path: "/health/alerts?cursor=!"}},
	"GET /monitor/metrics":        {valid: sent{path: "/monitor/metrics"}, malformed: sent{path: "/monitor/metrics?limit=x"}},
	"GET /monitor/metrics/{name}": {valid: sent{path: "/monitor/metrics/ping"}, malformed: sent{path: "/monitor/metrics/ping?count=x"}},
	"GET /repair":                 {valid: sent{path: "/repair"}, malformed: sent{path: "/repair?a=%zz"}},
	"POST /token":                 {valid: sent{path: "/token?scope=read"}, malformed: sent{path: "/token?scope=root"}},
	"DELETE /token/{id}":          {valid: sent{path: "/token/ABCDEFGHIJKLMNOPQRSTUVW234", status: 204}, malformed: sent{path: "/token/a.b"}},
	"GET /events":                 {valid: sent{path: "/events?types=pinned"}, malformed: sent{path: "/events?types=x"}},
	"GET /metrics":                {valid: sent{path: "/metrics"}, malformed: sent{path: "/metrics?a=%zz"}},
	"GET /openapi.json":           {valid: sent{path: "/openapi.json"}, malformed: sent{path: "/openapi.json?a=%zz"}},
	"POST /pins/ipfs/{path}":      {valid: sent{path: "/pins/ipfs/" + cid0}, malformed: sent{path: "/pins/ipfs/x"}},
	"DELETE /pins/ipfs/{path}":    {valid: sent{path: "/pins/ipfs/" + cid0}, malformed: sent{path: "/pins/ipfs/x"}},
	"POST /pins/ipns/{path}":      {valid: sent{path: "/pins/ipns/a.b"}, malformed: sent{path: "/pins/ipns/../../id"}},
	"DELETE /pins/ipns/{path}":    {valid: sent{path: "/pins/ipns/a.b"}, malformed: sent{path: "/pins/ipns/../../id"}},
	"POST /pins/ipld/{path}":      {valid: sent{path: "/pins/ipld/" + cid0}, malformed: sent{path: "/pins/ipld/x"}},
	"DELETE /pins/ipld/{path}":    {valid: sent{path: "/pins/ipld/" + cid0}, malformed: sent{path: "/pins/ipld/x"}},
}

// whole is a cluster that has an answer to everything.
func whole(t *testing.T) *cluster {
	t.Helper()
	c, pins := listed(t)
	c.pin = func(p api.Pin) (api.Pin, uint64, error) { return p, 42, nil }
	c.unpin = func(api.Cid) (api.Pin, uint64, error) { return pins[0], 43, nil }
	c.pinMany = func(reqs []api.Request) []api.Result { return make([]api.Result, len(reqs)) }
	c.get = func(api.Cid) (api.Pin, error) { return pins[0], nil }
	c.status = func(id api.Cid) (api.GlobalPinInfo, error) { return api.GlobalPinInfo{Cid: id}, nil }
	c.list = func(api.TrackerStatus) iter.Seq2[api.GlobalPinInfo, error] {
		return seq(nil, api.GlobalPinInfo{Cid: pins[0].Cid})
	}
	c.resolve = func(string) (api.Cid, error) { return apitest.Cid(t, cid0), nil }
	c.peers = seq(nil, api.Peer{ID: apitest.PeerID(t, p0)}, api.Peer{ID: apitest.PeerID(t, p1)})
	c.followers = []api.Follower{{FollowerStatus: api.FollowerStatus{ID: apitest.PeerID(t, p1)}}}
	c.events = events.New(7, c)
	return c
}

// ask sends a request as user, and hangs up on an answer without an end.
func (s sent) ask(t *testing.T, url, method, user, password string) (*http.Response, string) {
	t.Helper()
	if s.path == "/events?types=pinned" && method == "GET" && password == "right" && s.body == "" {
		return &http.Response{StatusCode: 200}, "" // events_test.go has it
	}
	req := httptest.NewRequest(method, "/", nil)
	req.SetBasicAuth(user, password)
	header := []string{"Authorization", req.Header.Get("Authorization"), "Content-Type", s.media}
	if user == "" {
		header = nil
	}
	return do(t, method, url+s.path, strings.NewReader(s.body), header...)
}

// Every route, with all that can be wrong with a request for it: what is refused says so
// in one object and changes nothing. A route without a row here fails.
func TestRoutes_EachAnswersAndRefuses(t *testing.T) {
	o := web.Options{BasicAuthCredentials: map[string]string{"none": "right", "read": "right", "write": "right", "admin": "right"},
		BasicAuthScopes: map[string]string{"read": "read", "write": "write"}}
	below := map[api.Scope]string{api.ScopeWrite: "read", api.ScopeAdmin: "write"}
	exact := map[api.Scope]string{api.ScopeNone: "", api.ScopeRead: "read", api.ScopeWrite: "write", api.ScopeAdmin: "admin"}
	c := whole(t)
	server := httptest.NewServer(c.handlerWith(o))
	defer server.Close()
	for _, rt := range (&handler{}).routes() {
		key := rt.method + " " + rt.path
		row, ok := rowsOfRoutes[key]
		if !ok {
			t.Errorf("%s has no row in this test", key)
			continue
		}
		t.Run(key, func(t *testing.T) {
			refuses := func(what string, s sent, method, user, password string, status int, says string) {
				t.Helper()
				c.calls = nil
				res, body := s.ask(t, server.URL, method, user, password)
				if res.StatusCode != status && status != 0 || res.StatusCode/100 != 4 || !strings.Contains(body, says) {
					t.Errorf("%s: got %d %s, want %d %q", what, res.StatusCode, body, status, says)
				}
				refused(t, c, res.StatusCode, body)
			}
			user := exact[rt.scope]
			res, body := row.valid.ask(t, server.URL, rt.method, user, "right")
			if want := max(row.valid.status, 200); res.StatusCode != want && !(want == 200 && res.StatusCode == 204) {
				t.Errorf("valid: got %d %s, want %d", res.StatusCode, body, want)
			}
			refuses("malformed", row.malformed, rt.method, "admin", "right", 400, "")
			refuses("another method", row.valid, "PATCH", "admin", "right", 405, "these are: ")
			if user != "" {
				refuses("no credentials", row.valid, rt.method, "", "", 401, "no auth provided")
				refuses("a wrong password", row.valid, rt.method, user, "wrong", 401, "access denied")
			}
			if less := below[rt.scope]; less != "" {
				refuses("too little scope", row.valid, rt.method, less, "right", 403, "the scope "+rt.scope.String())
			}
			large := row.large
			if large.path == "" {
				large = sent{path: row.valid.path, body: strings.Repeat("x", maxIgnoredBody+1), status: 413}
			}
			if large.status >= 400 {
				refuses("a large body", large, rt.method, "admin", "right", large.status, "")
			} else if _, body := large.ask(t, server.URL, rt.method, "admin", "right"); !strings.Contains(body, `"code":413`) {
				t.Errorf("a large line: got %.200s", body)
			}
		})
	}
	if got := len((&handler{}).routes()); got != len(rowsOfRoutes) {
		t.Errorf("%d routes and %d rows: some row is of a route that is gone", got, len(rowsOfRoutes))
	}
}

func TestToken_NoMoreThanItsUser(t *testing.T) {
	o := web.Options{BasicAuthCredentials: map[string]string{"ann": "right"}, BasicAuthScopes: map[string]string{"ann": "write"}}
	c := &cluster{}
	server := httptest.NewServer(c.handlerWith(o))
	defer server.Close()
	for path, want := range map[string]string{
		"/token?scope=read":  `"scope":"read"`,
		"/token?scope=write": `"scope":"write"`,
		"/token":             `"id":"ID"`,
		"/token?scope=admin": `"code":403`,
		"/token?scope=":      `"id":"ID"`,
		"/token?scope=all":   `"code":400`,
	} {
		if _, body := (sent{path: path}).ask(t, server.URL, "POST", "ann", "right"); !strings.Contains(body, want) {
			t.Errorf("%s: got %s, want %s", path, body, want)
		}
	}
}
