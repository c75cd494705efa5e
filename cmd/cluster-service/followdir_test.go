package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/multiformats/go-multiaddr"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/config"
	"github.com/pinfold-cluster/pinfold/p2p"
	"github.com/pinfold-cluster/pinfold/state"
)

func newLink(t *testing.T) p2p.Link {
	t.Helper()
	id, dataID := randomPeer(t), randomPeer(t)
	c, err := p2p.NewCluster("garden", id, dataID)
	if err != nil {
		t.Fatal(err)
	}
	return p2p.Link{Name: c.Name, Key: c.Key, Incarnation: c.Incarnation, Secret: p2p.NewSecret(), Hold: config.HoldAll,
		Addresses: []api.Multiaddr{multiaddr.StringCast("/ip4/127.0.0.1/tcp/9/p2p/" + id.String())}}
}

// initFollowed makes the directory of a follower of source.
func initFollowed(t *testing.T, base, name, source string) followed {
	t.Helper()
	d, err := followedIn(base, name)
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := config.FollowerFromEnv(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.init(t.Context(), source, c, io.Discard); err != nil {
		t.Fatal(err)
	}
	return d
}

func encodeLink(t *testing.T, l p2p.Link) string {
	t.Helper()
	text, err := l.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// D18: the incumbent's list of a follower that does not run prints nothing, and leaves an
// empty database of another kind.
func TestD18_ListWorksOffline(t *testing.T) {
	d := initFollowed(t, t.TempDir(), "archive", encodeLink(t, newLink(t)))
	var out strings.Builder
	if err := d.list(t.Context(), &out); err == nil || !strings.Contains(err.Error(), "never fetched") {
		t.Errorf("before the pinset was fetched: %v, %q", err, out.String())
	}
	if _, err := os.Stat(d.state()); err == nil {
		t.Error("a list made a database")
	}
	st, err := state.Open(d.state(), state.Options{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.list(t.Context(), &out); err == nil || !strings.Contains(err.Error(), "never fetched") || out.Len() > 0 {
		t.Errorf("after it ran and found nobody: %v, %q", err, out.String())
	}
	if st, err = state.Open(d.state(), state.Options{}, quiet); err != nil {
		t.Fatal(err)
	}
	named, bare := api.NewPin(randomCid(), copies(-1), time.Now()), api.NewPin(randomCid(), copies(1), time.Now())
	named.Name = "a \x1b[31mname"
	b := st.NewBatch()
	for _, p := range []api.Pin{named, bare} {
		if err := b.Put(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Commit(7); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.list(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"offline              " + bare.Cid.String() + "\n", "offline              " + named.Cid.String() + " a \ufffd[31mname\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("got\n%s\nwithout %q", out.String(), want)
		}
	}
	release, err := d.lock() // it let go of everything
	if err != nil {
		t.Fatal(err)
	}
	release()
}

// The URL of a link is read anew. What it says of the same cluster counts; another cluster
// is refused, and what cannot be read changes nothing.
func TestFollowed_RenewsItsLink(t *testing.T) {
	link := newLink(t)
	status, answer := http.StatusOK, ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	defer server.Close()
	serve := func(l p2p.Link) {
		text, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		status, answer = http.StatusOK, string(text)
	}
	serve(link)
	d := initFollowed(t, t.TempDir(), "archive", server.URL)
	warned := 0
	renew := func() (p2p.Link, error) { return d.renewLink(t.Context(), server.URL, func(error) { warned++ }) }

	moved := link
	moved.Addresses = []api.Multiaddr{multiaddr.StringCast("/ip4/127.0.0.1/tcp/10/p2p/" + randomPeer(t).String())}
	serve(moved)
	if got, err := renew(); err != nil || !got.Addresses[0].Equal(moved.Addresses[0]) {
		t.Errorf("new addresses: got %v, %v", got.Addresses, err)
	}
	for _, broken := range []struct {
		status int
		text   string
	}{{http.StatusNotFound, answer}, {http.StatusOK, "<html>"}, {http.StatusOK, strings.Repeat(" ", p2p.MaxLink+1)}} {
		status, answer = broken.status, broken.text
		before := warned
		if got, err := renew(); err != nil || warned != before+1 || !got.Addresses[0].Equal(moved.Addresses[0]) {
			t.Errorf("%d %.10s: got %v, %v, %d warnings", broken.status, broken.text, got.Addresses, err, warned-before)
		}
	}
	served := func(want string) {
		t.Helper()
		var out strings.Builder
		if err := d.info(t.Context(), &out); err != nil || !strings.Contains(out.String(), server.URL+" ("+want) {
			t.Errorf("info says %v\n%s\nwant it to say: %s", err, out.String(), want)
		}
	}
	served("cannot be read now: get " + server.URL)
	serve(moved)
	served("readable)")
	another := newLink(t)
	another.Name = "orchard"
	serve(another)
	if _, err := renew(); err == nil || !strings.Contains(err.Error(), "another cluster") {
		t.Errorf("another cluster: %v", err)
	}
	served(`it leads to another cluster now, "orchard": archive cannot start by it`)
	if kept, err := d.loadLink(); err != nil || !kept.Key.Equal(link.Key) {
		t.Errorf("the link kept is of %x, %v", kept.Key, err)
	}

	// Of another incarnation the old pinset means nothing; content stays.
	for _, dir := range []string{d.state(), d.feed(), filepath.Join(d.ipfs(), "blocks")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	anew := moved
	anew.Incarnation++
	serve(anew)
	served("readable: the cluster was started anew")
	if got, err := renew(); err != nil || got.Incarnation != anew.Incarnation {
		t.Errorf("a new incarnation: %x, %v", got.Incarnation, err)
	}
	if _, err := os.Stat(d.state()); err == nil {
		t.Error("the pinset of the old incarnation is still there")
	}
	if _, err := os.Stat(filepath.Join(d.ipfs(), "blocks")); err != nil {
		t.Errorf("content is gone with the incarnation: %v", err)
	}
}

// A link that a volunteer is given anew counts from then on, whatever is served where the
// first one came from.
func TestFollowed_GoesByTheLinkGivenLast(t *testing.T) {
	old := newLink(t)
	text, err := json.Marshal(old)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(text) }))
	defer server.Close()
	d := initFollowed(t, t.TempDir(), "archive", server.URL+"/first")
	atStart := func() (link p2p.Link, source string) {
		t.Helper()
		c, _, err := config.LoadFollower(string(d.directory), nil)
		if err != nil {
			t.Fatal(err)
		}
		if link, err = d.renewLink(t.Context(), c.Follow.Source, func(err error) { t.Error(err) }); err != nil {
			t.Fatal(err)
		}
		return link, c.Follow.Source
	}
	settings := d.path(config.FollowerFile) // what their owner wrote stays, a default too
	if err := os.WriteFile(settings, []byte(`{"follow":{"hold":"all","neighbours":8,"source":"`+server.URL+`/first"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	moved := old
	moved.Addresses = []api.Multiaddr{multiaddr.StringCast("/ip4/127.0.0.1/tcp/10/p2p/" + randomPeer(t).String())}
	var told strings.Builder
	if err := d.sameCluster(t.Context(), encodeLink(t, moved), &told); err != nil {
		t.Fatal(err)
	}
	if link, source := atStart(); !link.Addresses[0].Equal(moved.Addresses[0]) || source != "" || !strings.Contains(told.String(), server.URL+"/first") {
		t.Errorf("a new link: %v, source %q, told %q", link.Addresses, source, told.String())
	}
	if err := d.sameCluster(t.Context(), server.URL+"/second", &told); err != nil {
		t.Fatal(err)
	}
	if link, source := atStart(); !link.Addresses[0].Equal(old.Addresses[0]) || source != server.URL+"/second" {
		t.Errorf("a new URL: %v, source %q", link.Addresses, source)
	}
	if text, err := os.ReadFile(settings); err != nil || !strings.Contains(string(text), `"neighbours": 8`) {
		t.Errorf("settings: %s, %v", text, err)
	}
	server.Close()
	if err := d.sameCluster(t.Context(), server.URL+"/second", &told); err != nil {
		t.Errorf("the same URL while nobody serves it: %v", err)
	}
}

// The command line that began may be said again, by a service at each start. Flags that say
// something new are refused: they would change nothing.
func TestFollowed_FlagsSaidAgain(t *testing.T) {
	d := initFollowed(t, t.TempDir(), "archive", encodeLink(t, newLink(t)))
	if err := os.WriteFile(d.path(config.FollowerFile), []byte(`{"follow":{"capacity":1073741824}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		flags followFlags
		fine  bool
	}{
		{followFlags{}, true},
		{followFlags{init: "anything"}, true},
		{followFlags{capacity: "1GiB", init: "anything"}, true},
		{followFlags{capacity: "2GiB"}, false},
		{followFlags{capacity: "1GiB", bandwidth: "1MiB"}, false},
	} {
		if there, err := tt.flags.known(d); !there || (err == nil) != tt.fine {
			t.Errorf("%+v: %v, %v", tt.flags, there, err)
		}
	}
}

// Of several command lines that begin to follow under one name at once, one does: its
// link, ports and identities are what is there, and the others say so.
func TestFollowed_BeginsOnce(t *testing.T) {
	const lines = 8
	for round := range 10 {
		d, err := followedIn(t.TempDir(), "archive")
		if err != nil {
			t.Fatal(err)
		}
		var links [lines]p2p.Link
		var errs [lines]error
		var told [lines]strings.Builder
		var wg sync.WaitGroup
		for i := range lines {
			links[i] = newLink(t)
			text := encodeLink(t, links[i])
			c, _, err := config.FollowerFromEnv(nil)
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() { errs[i] = d.init(t.Context(), text, c, &told[i]) })
		}
		wg.Wait()
		won, made := -1, 0
		for i, err := range errs {
			switch {
			case err == nil && won < 0:
				won = i
			case err == nil:
				t.Errorf("round %d: two began", round)
			case !strings.Contains(err.Error(), "followed already") && !strings.Contains(err.Error(), "in use by another process"):
				t.Errorf("round %d: %v", round, err)
			}
			made += strings.Count(told[i].String(), "new identity")
		}
		if won < 0 {
			t.Fatalf("round %d: nobody began: %v", round, errs)
		}
		if kept, err := d.loadLink(); err != nil || !kept.Key.Equal(links[won].Key) {
			t.Errorf("round %d: another's link is kept: %v", round, err)
		}
		if _, err := d.loadIdentities(); err != nil || made != 1 {
			t.Errorf("round %d: %d made an identity, %v", round, made, err)
		}
	}
}

// Where something else than a link comes from a URL, the error tells what.
func TestReadLink_SaysWhatCame(t *testing.T) {
	link := newLink(t)
	text := "\ufeff" + encodeLink(t, link)
	mux := http.NewServeMux()
	page := func(status int, kind, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, text)
		}
	}
	mux.Handle("/marked", page(200, "text/plain", text))
	mux.Handle("/login", page(200, "text/html; charset=utf-8", "<!DOCTYPE html>"+strings.Repeat("x", p2p.MaxLink)))
	mux.Handle("/private", http.RedirectHandler("/login", http.StatusFound))
	mux.Handle("/forbidden", page(403, "text/html", "<html>"))
	mux.Handle("/strange", page(200, strings.Repeat("k", 5000), "hello"))
	server := httptest.NewServer(mux)
	defer server.Close()
	if got, err := readLink(t.Context(), server.URL+"/marked"); err != nil || !got.Key.Equal(link.Key) {
		t.Errorf("with a byte order mark: %v", err)
	}
	for path, want := range map[string]string{
		"/login":     "/login: 200 OK, text/html; charset=utf-8: follow link: this is a web page (HTML)",
		"/private":   "/private, which led to " + server.URL + "/login: 200 OK, text/html; charset=utf-8: follow link: this is a web page (HTML)",
		"/forbidden": "/forbidden: 403 Forbidden, text/html",
		"/strange":   "k: follow link: it must begin with",
	} {
		_, err := readLink(t.Context(), server.URL+path)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "get "+server.URL) || len(err.Error()) > 1000 {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

func TestFollowed_SeveralHavePortsOfTheirOwn(t *testing.T) {
	base, link := t.TempDir(), encodeLink(t, newLink(t))
	seen := map[string]string{}
	for _, name := range []string{"a", "b", "c.d-e_f"} {
		c, _, err := config.LoadFollower(string(initFollowed(t, base, name, link).directory), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, addr := range []string{c.Cluster.Listen[0].String(), c.Embedded.Data.Listen[0].String(), c.Embedded.Gateway.ListenMultiaddress} {
			port := addr[strings.LastIndexByte(addr, '/'):]
			if seen[port] != "" {
				t.Errorf("%s and %s listen at %s", seen[port], name, port)
			}
			seen[port] = name
		}
	}
	var out strings.Builder
	if err := listFollowed(base, &out); err != nil || strings.Count(out.String(), "(not running)") != 3 {
		t.Errorf("got %v\n%s", err, out.String())
	}
	for _, bad := range []string{"", ".", "..", "../x", "a/b", "-a", "a b", strings.Repeat("a", 65)} {
		if _, err := followedIn(base, bad); err == nil {
			t.Errorf("%q passes as a name", bad)
		}
	}
}

func TestReadOnly_RefusesWhatWouldChangeTheCluster(t *testing.T) {
	h := readOnly(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	for request, want := range map[string]int{
		"GET /pins": 204, "HEAD /id": 204, "OPTIONS /pins": 204, "POST /pins/recover": 204, "POST /pins/QmX/recover": 204, "POST /ipfs/gc": 204,
		"POST /pins": 403, "POST /pins/QmX": 403, "DELETE /pins/QmX": 403, "POST /add": 403, "POST /peers/invite": 403, "DELETE /peers/x": 403,
		"POST /followers/link": 403, "POST /token": 403, "PUT /pins/QmX": 403, "POST /pins/a/b/recover": 403, "POST /pins/ipfs/recover/recover": 403,
	} {
		method, path, _ := strings.Cut(request, " ")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		if w.Code != want {
			t.Errorf("%s: %d, want %d", request, w.Code, want)
		}
		if want == 403 && !strings.Contains(w.Body.String(), "this is a follower") {
			t.Errorf("%s: no reason: %s", request, w.Body)
		}
	}
}

func TestFollowFlags_TakeSizesAsSettingsDo(t *testing.T) {
	for text, want := range map[string]uint64{"50GiB": 50 << 30, "2000000": 2e6, "1.5 GiB": 3 << 29, "1,5GiB": 0, "2KiB": 0, "much": 0, "-1GiB": 0} {
		var c config.Follower
		err := followFlags{capacity: text}.apply(&c)
		if got := c.Follow.Capacity; (err == nil) != (want > 0) || got != want {
			t.Errorf("%s: %d, %v; want %d", text, got, err, want)
		}
	}
}
