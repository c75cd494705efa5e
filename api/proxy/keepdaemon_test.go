package proxy

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn/kubo"
	"github.com/pinfold-cluster/pinfold/ipfsconn/kubo/kubotest"
)

// The CIDs of "hello\n" and of an empty directory.
const (
	helloCid = "QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN"
	emptyCid = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"
)

// What comes into the files of a Kubo daemon through the proxy is kept, what its owner
// has there is not, and neither is what a page of another site asks for.
func TestKeeper_FilesOfADaemon(t *testing.T) {
	addr := kubotest.Daemon(t)
	quiet := slog.New(slog.DiscardHandler)
	open := func() (*kubo.Node, *kubo.Files, string) {
		n, err := kubo.New(kubo.Options{NodeMultiaddress: addr}, quiet)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = n.Close() }) // it only drops idle connections
		f := n.Files()
		h, err := New(Parts{Kubo: addr, Files: f}, Options{}, quiet)
		if err != nil {
			t.Fatal(err)
		}
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return n, f, s.URL
	}
	_, files, url := open()
	direct, err := newDaemon(addr, Options{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(base, command string, header ...string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/api/v0/"+command, strings.NewReader("--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nhello\n\r\n--x--\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	owner := direct.base.String()
	if code := ask(owner, "add?pin=false") + ask(owner, "files/cp?arg=/ipfs/"+helloCid+"&arg=/private"); code != 400 {
		t.Fatal(code)
	}
	w := &wishes{pins: map[string]api.Pin{}}
	k := NewKeeper("self", files, w, w, quiet)
	hello, empty := tail(cid.MustParse(helloCid)), tail(cid.MustParse(emptyCid))
	for _, step := range []struct {
		ask    string
		header []string
		status int
		want   string
	}{
		{"files/cp?arg=/ipfs/" + helloCid + "&arg=/a", nil, 200, "/a=" + hello},
		{"files/cp?arg=/ipfs/" + helloCid + "&arg=/b", []string{"Origin", "http://evil.example"}, 403, "/a=" + hello},
		{"files/stat?arg=/private", nil, 200, "/a=" + hello},
		{"files/mkdir?arg=/d%25%20e", nil, 200, "/a=" + hello + " /d% e=" + empty},
		{"files/mv?arg=/a&arg=/c", nil, 200, "/c=" + hello + " /d% e=" + empty},
		{"files/cp?arg=/ipfs/" + helloCid + "&arg=/", nil, 200, "/" + helloCid + "=" + hello + " /c=" + hello + " /d% e=" + empty},
		{"files/rm?arg=/c&arg=/" + helloCid, nil, 200, "/d% e=" + empty},
		{"files/cp?arg=/none&arg=/never", nil, 500, "/d% e=" + empty},
		{"files/cp?arg=/ipfs/" + helloCid + "&arg=/w", nil, 200, "/d% e=" + empty + " /w=" + hello},
		// Kubo would lose it, and what is in it.
		{"files/mv?arg=/d%25%20e&arg=/d%25%20e/in", nil, 500, "/d% e=" + empty + " /w=" + hello},
		{"files/mv?arg=/d%25%20e&arg=/d%25%20e", nil, 500, "/d% e=" + empty + " /w=" + hello},
		{"files/mv?arg=/d%25%20e/&arg=/x/../d%25%20e/in/", nil, 500, "/d% e=" + empty + " /w=" + hello},
		{"files/rm?recursive=true&arg=/d%25%20e", nil, 200, "/w=" + hello},
	} {
		if code := ask(url, step.ask, step.header...); code != step.status {
			t.Fatalf("%s: got %d, want %d", step.ask, code, step.status)
		}
		if err := k.sync(t.Context()); err != nil {
			t.Fatalf("%s: %v", step.ask, err)
		}
		if got := w.names(); got != step.want {
			t.Errorf("%s: got %q, want %q", step.ask, got, step.want)
		}
	}

	// A peer that dies right after the daemon's answer makes it good when it is back.
	done, err := files.Change(t.Context(), "late")
	if err != nil || ask(owner, "files/cp?arg=/ipfs/"+emptyCid+"&arg=/late") != 200 {
		t.Fatal(err)
	}
	_ = done // it never comes to that
	_, files, _ = open()
	k = NewKeeper("self", files, w, w, quiet)
	for range 2 {
		if err := k.sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := w.names(), "/late="+empty+" /w="+hello; got != want {
		t.Errorf("after a crash: got %q, want %q", got, want)
	}

	if kept, err := files.KeptFiles(t.Context()); err != nil || len(kept) != 2 {
		t.Errorf("kept: %v, %v", kept, err)
	}
}
