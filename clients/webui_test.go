//go:build clients

package clients

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// browse opens a page in Chromium and leaves it open until done is closed, or the time is
// up.
func browse(t *testing.T, page string, limit time.Duration, done <-chan struct{}) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), limit)
	defer stop()
	cmd := chromium(ctx, t, "--remote-debugging-port=0", page) // which keeps it open
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-done:
	case <-ctx.Done():
		t.Errorf("nothing of the page within %s; Chromium said: %s", limit, said.String())
	}
	stop()
	_ = cmd.Wait() // it was killed
}

// chromium is a command that opens Debian's browser without a window.
func chromium(ctx context.Context, t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("%v: run these tests by make clients", err)
	}
	cmd := exec.CommandContext(ctx, program, append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--no-first-run", "--user-data-dir=" + t.TempDir()}, args...)...)
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// report is what a page tells of its calls.
type report struct {
	Passed int
	Failed []string
	CID    string
}

// site serves the page that calls what the WebUI calls, and gives what it reports.
func site(t *testing.T) (page string, reports <-chan report) {
	t.Helper()
	told := make(chan report, 1)
	client := filepath.Join(os.Getenv("NODE_MODULES"), "kubo-rpc-client/dist/index.min.js")
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, "webui_page.html") })
	mux.HandleFunc("GET /client.js", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, client) })
	mux.HandleFunc("POST /report", func(_ http.ResponseWriter, r *http.Request) {
		var got report
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Error(err)
		}
		told <- got
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL, told
}

// visit has Chromium open the page at url with the doors of p, and gives what it reports.
func visit(t *testing.T, page string, reports <-chan report, p peer) report {
	t.Helper()
	done := make(chan struct{})
	var got report
	go func() {
		defer close(done)
		select {
		case got = <-reports:
		case <-t.Context().Done():
		}
	}()
	browse(t, page+"/?"+url.Values{"proxy": {p.Proxy}, "gateway": {p.Gateway}}.Encode(), 2*time.Minute, done)
	return got
}

// What each page of the IPFS WebUI calls, by the client that it is built on, in a browser
// and from another origin: all of it works where the origin is allowed, and none where it
// is not.
func TestWebUI_InABrowser(t *testing.T) {
	allowed, reports := site(t)
	peers := cluster(t, "CLUSTER_IPFSPROXY_CORSALLOWEDORIGINS="+allowed)
	got := visit(t, allowed, reports, peers[0])
	t.Logf("%d calls pass", got.Passed)
	if len(got.Failed) > 0 || got.Passed < 20 {
		t.Errorf("%d calls pass; these fail:\n%s", got.Passed, strings.Join(got.Failed, "\n"))
	}
	other := newIPFS(t, peers[1].Proxy)
	eventually(t, 3*time.Minute, "what was pinned stays when the files are removed, on another peer too", func() bool {
		out, err := other.run("pin", "ls", "--names", "--type=recursive")
		return err == nil && strings.Contains(out, got.CID+" recursive") && !strings.Contains(out, "/folder") && !strings.Contains(out, "/imported.txt")
	})

	stranger, reports := site(t)
	if got := visit(t, stranger, reports, peers[1]); got.Passed > 1 { // the gateway's is for anyone, but has no CID to ask for
		t.Errorf("a page of another origin: %d calls pass; these fail:\n%s", got.Passed, strings.Join(got.Failed, "\n"))
	}
}

// The gateway's pages as a browser shows them: a listing, and a site of its own origin
// whose script runs and reads beside it.
func TestGateway_InABrowser(t *testing.T) {
	peers := cluster(t)
	c := newIPFS(t, peers[0].Proxy)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"list/a file.txt": "hello\n",
		"list/deep/b":     "b",
		"site/index.html": `<!doctype html><title>site</title><p id="p">not run</p><script src="app.js"></script>`,
		"site/app.js":     `fetch('data.json').then(r => r.json()).then(d => { document.getElementById('p').textContent = location.host + ' read ' + d.what })`,
		"site/data.json":  `{"what": "its data"}`,
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list := c.must("add", "-Q", "-r", "--cid-version=1", filepath.Join(dir, "list"))
	pages := c.must("add", "-Q", "-r", "--cid-version=1", filepath.Join(dir, "site"))
	// The other peer's gateway, whose node need not have it.
	gateway, err := url.Parse(peers[1].Gateway)
	if err != nil {
		t.Fatal(err)
	}
	for what, tc := range map[string]struct {
		page string
		want []string
	}{
		"a listing":          {"http://127.0.0.1:" + gateway.Port() + "/ipfs/" + list + "/", []string{"a file.txt", "deep", list, "6 B"}},
		"a site":             {"http://" + pages + ".ipfs.localhost:" + gateway.Port() + "/", []string{pages + ".ipfs.localhost", "read its data"}},
		"sent to its origin": {"http://localhost:" + gateway.Port() + "/ipfs/" + pages + "/", []string{pages + ".ipfs.localhost", "read its data"}},
		"a file":             {"http://127.0.0.1:" + gateway.Port() + "/ipfs/" + list + "/a%20file.txt", []string{"hello"}},
	} {
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		out, err := chromium(ctx, t, "--virtual-time-budget=5000", "--dump-dom", tc.page).Output()
		stop()
		for _, want := range tc.want {
			if !strings.Contains(string(out), want) {
				t.Errorf("%s: %v, without %q:\n%s", what, err, want, out)
			}
		}
	}
}
