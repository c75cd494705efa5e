package pinsvc

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
)

func TestPins_SeveralRequestsOfOneCID(t *testing.T) {
	c := newCluster(t, web.Options{})
	a, b := c.add(1, "a", "k", "v"), c.add(1, "b")
	if a.RequestID == b.RequestID || a.Created.Equal(b.Created) || a.Pin.Meta["k"] != "v" || a.Status != pinned || len(a.Delegates) != 3 {
		t.Fatalf("got %+v and %+v", a, b)
	}
	again := decode[pinStatus](t, c.ask("GET", "/pins/"+a.RequestID, ""), 200)
	if fmt.Sprint(again) != fmt.Sprint(a) {
		t.Fatalf("looked at: %+v, made: %+v", again, a)
	}
	if w := c.ask("DELETE", "/pins/"+a.RequestID, ""); w.Code != 202 || w.Body.Len() != 0 {
		t.Fatalf("delete: %d %s", w.Code, w.Body)
	}
	for _, method := range []string{"GET", "DELETE", "POST"} {
		got := decode[failure](t, c.ask(method, "/pins/"+a.RequestID, `{"cid":"`+testCid(2).String()+`"}`), 404)
		if got.Error.Reason != "NOT_FOUND" {
			t.Errorf("%s of what is gone: %+v", method, got)
		}
	}
	if ok, err := c.st.Has(t.Context(), testCid(1)); !ok || err != nil {
		t.Fatalf("the content went with the first request: %v", err)
	}
	c.ask("DELETE", "/pins/"+b.RequestID, "")
	if ok, err := c.st.Has(t.Context(), testCid(1)); ok || err != nil {
		t.Fatalf("the content stayed when the last request went: %v", err)
	}
}

func TestPins_Replace(t *testing.T) {
	c := newCluster(t, web.Options{})
	for n, to := range []int{1, 2} { // the same CID, another one
		old := c.add(1, "old")
		body := fmt.Sprintf(`{"cid":%q,"name":"new"}`, testCid(to))
		is := decode[pinStatus](t, c.ask("POST", "/pins/"+old.RequestID, body), 202)
		if is.RequestID == old.RequestID || is.Pin.Name != "new" || is.Pin.Cid != testCid(to) || !is.Created.After(old.Created) {
			t.Fatalf("%d: got %+v for %+v", n, is, old)
		}
		c.wantList("", "new")
		decode[failure](t, c.ask("POST", "/pins/"+old.RequestID, body), 404)
		c.wantList("", "new")
		c.ask("DELETE", "/pins/"+is.RequestID, "")
	}
	if n := c.st.Stats().Pins; n != 0 {
		t.Fatalf("%d pins are left", n)
	}
}

// Of many clients that replace one request at once, one does.
func TestPins_ReplacedOnce(t *testing.T) {
	c := newCluster(t, web.Options{})
	old := c.add(0, "old")
	var all sync.WaitGroup
	codes := make([]int, 8)
	for i := range codes {
		all.Go(func() {
			codes[i] = c.ask("POST", "/pins/"+old.RequestID, fmt.Sprintf(`{"cid":%q,"name":"new"}`, testCid(i%4))).Code
		})
	}
	all.Wait()
	slices.Sort(codes)
	if !slices.Equal(codes, []int{202, 404, 404, 404, 404, 404, 404, 404}) {
		t.Fatalf("got %v", codes)
	}
	c.wantList("", "new")
}

func TestPins_ThoseOfOtherDoors(t *testing.T) {
	c := newCluster(t, web.Options{})
	c.plain(1, "plain")
	got := decode[pinStatus](t, c.ask("GET", "/pins/"+testCid(1).String(), ""), 200)
	if got.RequestID != testCid(1).String() || got.Pin.Name != "plain" {
		t.Fatalf("got %+v", got)
	}
	c.add(1, "asked")
	if now := decode[pinStatus](t, c.ask("GET", "/pins/"+got.RequestID, ""), 200); fmt.Sprint(now) != fmt.Sprint(got) {
		t.Fatalf("beside a request: %+v, alone: %+v", now, got)
	}
	names, n := c.list("")
	slices.Sort(names)
	if n != 2 || !slices.Equal(names, []string{"asked", "plain"}) {
		t.Fatalf("both: %v", names)
	}
	if w := c.ask("DELETE", "/pins/"+got.RequestID, ""); w.Code != 202 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	c.wantList("", "asked")
}

func TestList_Filters(t *testing.T) {
	c := newCluster(t, web.Options{})
	first := c.add(1, "Alpha", "app", "x", "n", "1")
	second := c.add(2, "alphabet", "app", "x", "n", "2")
	third := c.add(3, "beta", "app", "y")
	c.add(1, "gamma")
	c.set(3, api.PinInfoShort{Status: api.StatusPinning})
	at := func(p pinStatus) string { return url.QueryEscape(p.Created.Format(time.RFC3339Nano)) }
	for query, want := range map[string]string{
		"":                                       "gamma alphabet Alpha",
		"?limit=100":                             "gamma alphabet Alpha",
		"?status=pinned":                         "gamma alphabet Alpha",
		"?status=pinning":                        "beta",
		"?status=queued,pinning&status=failed":   "beta",
		"?status=queued,pinning,pinned,failed":   "gamma beta alphabet Alpha",
		"?status=queued&status=failed":           "",
		"?name=beta":                             "beta",
		"?name=beta&status=pinned":               "",
		"?name=alpha":                            "",
		"?name=alpha&match=iexact":               "Alpha",
		"?name=lpha&match=partial":               "alphabet Alpha",
		"?name=ALPHA&match=ipartial":             "alphabet Alpha",
		"?name=BET&match=ipartial&status=pinned": "alphabet",
		"?cid=" + testCid(1).String():            "gamma Alpha",
		"?cid=" + testCid(1).String() + "," + testCid(2).String():     "gamma alphabet Alpha",
		"?cid=" + testCid(1).String() + "&cid=" + testCid(3).String(): "gamma beta Alpha",
		"?cid=" + testCid(9).String():                                 "",
		"?cid=" + testCid(1).String() + "&name=gamma":                 "gamma",
		"?meta=" + url.QueryEscape(`{"app":"x"}`):                     "alphabet Alpha",
		"?meta=" + url.QueryEscape(`{"app":"x","n":"2"}`):             "alphabet",
		"?meta=" + url.QueryEscape(`{"app":"x","n":"3"}`):             "",
		"?meta=" + url.QueryEscape(`{"app":"y"}`) + "&status=pinning": "beta",
		"?before=" + at(third):                                        "alphabet Alpha",
		"?after=" + at(second):                                        "gamma beta",
		"?after=" + at(first) + "&before=" + at(third):                "alphabet",
		"?after=" + at(first) + "&before=" + at(third) + "&name=beta": "",
		"?before=0001-01-01T00:00:00Z":                                "",
		"?after=9999-12-31T23:59:59Z":                                 "",
	} {
		c.wantList(query, strings.Fields(want)...)
	}
	if names, count := c.list("?limit=2"); len(names) != 2 || count != 3 {
		t.Errorf("a page of two: %v of %d", names, count)
	}
}

// Pages by time give everything once, also what other doors pinned in one second.
func TestList_PagesGiveEverythingOnce(t *testing.T) {
	c := newCluster(t, web.Options{})
	want := map[string]bool{}
	for i := range 40 {
		if i%2 == 0 {
			c.plain(i, fmt.Sprint("plain", i))
			want[fmt.Sprint("plain", i)] = true
		}
		c.add(i/3, fmt.Sprint("asked", i))
		want[fmt.Sprint("asked", i)] = true
	}
	c.set(0, api.PinInfoShort{Status: api.StatusPinQueued})
	for _, query := range []string{"?limit=7&status=queued,pinning,pinned,failed", "?limit=7&status=pinned", "?limit=7&name=a&match=partial"} {
		_, total := c.list(query)
		got := map[string]bool{}
		for before := ""; ; {
			page := decode[pinResults](t, c.ask("GET", "/pins"+query+before, ""), 200)
			if page.Count != total-len(got) {
				t.Fatalf("%s: %d are told to be left after %d of %d", query, page.Count, len(got), total)
			}
			for _, r := range page.Results {
				if got[r.RequestID] {
					t.Fatalf("%s: %s is there twice", query, r.RequestID)
				}
				got[r.RequestID] = true
			}
			if page.Count == len(page.Results) {
				break
			}
			before = "&before=" + url.QueryEscape(page.Results[len(page.Results)-1].Created.Format(time.RFC3339Nano))
		}
		if len(got) != total || query == "?limit=7&status=queued,pinning,pinned,failed" && total != len(want) {
			t.Fatalf("%s: got %d of %d, made %d", query, len(got), total, len(want))
		}
	}
}

func TestPins_IDsSurviveARestart(t *testing.T) {
	c := newCluster(t, web.Options{})
	is := c.add(1, "a")
	// Another peer, or a later life.
	h := web.Wrap(web.Options{}, New(Parts{Pins: c.p, Pinset: c.st, Tracker: c, Peers: c}, quiet), quiet, nil)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/pins/"+is.RequestID, nil))
	if got := decode[pinStatus](t, w, 200); fmt.Sprint(got) != fmt.Sprint(is) {
		t.Fatalf("got %+v, want %+v", got, is)
	}
}

func TestPins_TellsWhyItFailed(t *testing.T) {
	c := newCluster(t, web.Options{})
	c.set(1, api.PinInfoShort{Status: api.StatusPinError, Cause: api.CauseNoProvider, Error: "nobody has it", AttemptCount: 9})
	is := c.add(1, "a")
	if is.Status != failed || is.Info["status_details"] != "no provider: nobody has it" {
		t.Fatalf("got %+v", is)
	}
	got := decode[pinResults](t, c.ask("GET", "/pins?status=failed", ""), 200)
	if got.Count != 1 || got.Results[0].Info["status_details"] != "no provider: nobody has it" {
		t.Fatalf("listed: %+v", got)
	}
}

func TestJudge(t *testing.T) {
	one := func(s api.TrackerStatus) report { return report{status: s} }
	broken := func(attempts int, cause api.Cause) report {
		return report{status: api.StatusPinError, attempts: attempts, cause: cause}
	}
	ok, gone := one(api.StatusPinned), one(api.StatusClusterError)
	for name, tt := range map[string]struct {
		low     int
		reports []report
		want    status
	}{
		"all have it":               {2, []report{ok, ok}, pinned},
		"enough have it":            {1, []report{ok, one(api.StatusPinning)}, pinned},
		"one is unreachable":        {2, []report{ok, ok, gone}, pinned},
		"one fetches":               {2, []report{ok, one(api.StatusPinning)}, pinning},
		"one waits":                 {2, []report{ok, one(api.StatusPinQueued)}, queued},
		"one does not know yet":     {1, []report{one(api.StatusUnpinned)}, queued},
		"one lost it":               {1, []report{one(api.StatusUnexpectedlyUnpinned)}, queued},
		"nobody answers":            {1, []report{gone}, queued},
		"nobody is to":              {1, nil, queued},
		"a first attempt failed":    {1, []report{broken(1, api.CauseNoProvider)}, queued},
		"many attempts failed":      {1, []report{broken(patience, api.CauseNoProvider)}, failed},
		"no room":                   {1, []report{broken(1, api.CauseDiskFull)}, failed},
		"one failed, one fetches":   {2, []report{broken(9, ""), one(api.StatusPinning)}, pinning},
		"everywhere":                {-1, []report{ok, ok, ok}, pinned},
		"everywhere, most":          {-1, []report{ok, ok, one(api.StatusPinning)}, pinned},
		"everywhere, few":           {-1, []report{ok, one(api.StatusPinning), one(api.StatusPinQueued)}, pinning},
		"everywhere, of those here": {-1, []report{ok, gone, gone}, pinned},
	} {
		p := api.Pin{}
		p.ReplicationFactorMin = tt.low
		if got := judge(p, tt.reports); got.status != tt.want {
			t.Errorf("%s: got %s, want %s", name, got.status, tt.want)
		}
	}
	long := judge(api.Pin{}, []report{{status: api.StatusPinError, attempts: 9, text: strings.Repeat("é", 10_000)}})
	if len(long.details) > maxDetails+3 || !strings.HasSuffix(long.details, "...") {
		t.Errorf("details of %d bytes", len(long.details))
	}
}

func TestDelegates_AtMostTwentyOfTheHolders(t *testing.T) {
	p := api.Pin{Allocations: []api.PeerID{testPeer(0)}}
	known := delegatesOf(30)
	known[testPeer(1)] = delegatesOf(1)[testPeer(0)]
	if got := delegates(p, known); len(got) != maxDelegates {
		t.Errorf("%d of 30", len(got))
	}
	p.Allocations = []api.PeerID{testPeer(2)} // nothing is known of it
	if got := delegates(p, delegatesOf(2)); len(got) != 2 {
		t.Errorf("of a holder not known: %v", got)
	}
}

func TestDocument_NamesTheRoutes(t *testing.T) {
	c := newCluster(t, web.Options{})
	doc := decode[struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}](t, c.ask("GET", "/openapi.json", ""), 200)
	for path, methods := range doc.Paths {
		for method := range methods {
			if method == "parameters" {
				continue
			}
			w := c.ask(strings.ToUpper(method), strings.ReplaceAll(path, "{requestid}", "x"), "")
			if w.Code == 405 || w.Code == 404 && !strings.Contains(w.Body.String(), "pin request") {
				t.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
			}
		}
	}
}

func TestToken(t *testing.T) {
	c := newCluster(t, web.Options{BasicAuthCredentials: map[string]string{"ann": "secret"}})
	ask := func(method, path string, set func(*httptest.ResponseRecorder, map[string][]string)) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, nil)
		w := httptest.NewRecorder()
		set(w, r.Header)
		c.h.ServeHTTP(w, r)
		return w
	}
	none := func(*httptest.ResponseRecorder, map[string][]string) {}
	if got := decode[failure](t, ask("GET", "/pins", none), 401); got.Error.Reason != "UNAUTHORIZED" {
		t.Errorf("without: %+v", got)
	}
	r := httptest.NewRequest("POST", "/token", nil)
	r.SetBasicAuth("ann", "secret")
	w := httptest.NewRecorder()
	c.h.ServeHTTP(w, r)
	token := decode[api.Token](t, w, 200).Token
	for header, want := range map[string]int{"Bearer " + token: 200, "Bearer x": 401, "Bearer ": 401, "Basic x": 401} {
		got := ask("GET", "/pins", func(_ *httptest.ResponseRecorder, h map[string][]string) { h["Authorization"] = []string{header} })
		if got.Code != want {
			t.Errorf("%s: %d, want %d", header, got.Code, want)
		}
	}
	// With a token, but no password, none is given.
	if got := ask("POST", "/token", func(_ *httptest.ResponseRecorder, h map[string][]string) {
		h["Authorization"] = []string{"Bearer " + token}
	}); got.Code != 401 {
		t.Errorf("a token for a token: %d", got.Code)
	}
	open := newCluster(t, web.Options{})
	if got := open.ask("POST", "/token", ""); got.Code != 401 {
		t.Errorf("where all are let in: %d", got.Code)
	}
}

func TestErrors_AsSpecified(t *testing.T) {
	h := &handler{}
	for want, err := range map[string]error{
		"400 BAD_REQUEST":           api.Invalid.Errorf("x"),
		"409 CONFLICT":              api.Conflict.Errorf("x"),
		"413 TOO_LARGE":             api.TooLarge.Errorf("x"),
		"507 INSUFFICIENT_STORAGE":  api.Full.Errorf("x"),
		"503 UNAVAILABLE":           api.Unavailable.Errorf("x"),
		"504 OUTCOME_UNKNOWN":       api.Unknown.Errorf("x"),
		"500 INTERNAL_SERVER_ERROR": errors.New("x"),
		"418 CUSTOM_ERROR":          &api.Error{Code: 418, Message: "x"},
	} {
		w := httptest.NewRecorder()
		h.WriteError(w, web.ErrorOf(err))
		var f failure
		if e := json.Unmarshal(w.Body.Bytes(), &f); e != nil || fmt.Sprint(w.Code, " ", f.Error.Reason) != want || f.Error.Details != "x" {
			t.Errorf("%s: got %d %s", want, w.Code, w.Body)
		}
	}
}

func TestPins_ScopesOfUsers(t *testing.T) {
	c := newCluster(t, web.Options{BasicAuthCredentials: map[string]string{"ann": "secret", "bob": "secret"}, BasicAuthScopes: map[string]string{"bob": "read"}})
	for _, tt := range []struct {
		user, method, path, body string
		code                     int
	}{
		{"ann", "POST", "/pins", `{"cid":"` + goodCid + `"}`, 202},
		{"bob", "GET", "/pins", "", 200},
		{"bob", "POST", "/pins", `{"cid":"` + goodCid + `"}`, 403},
		{"bob", "POST", "/pins/" + goodCid, `{"cid":"` + goodCid + `"}`, 403},
		{"bob", "DELETE", "/pins/" + goodCid, "", 403},
	} {
		r := httptest.NewRequest(tt.method, tt.path, strings.NewReader(tt.body))
		r.SetBasicAuth(tt.user, "secret")
		w := httptest.NewRecorder()
		c.h.ServeHTTP(w, r)
		if w.Code != tt.code || tt.code == 403 && !strings.Contains(w.Body.String(), "scope write") {
			t.Errorf("%s %s %s: got %d %s, want %d", tt.user, tt.method, tt.path, w.Code, w.Body, tt.code)
		}
	}
}
