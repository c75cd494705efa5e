package main

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// session runs command lines with a file of contexts of its own.
type session struct {
	t    *testing.T
	file string
}

func newSession(t *testing.T) session {
	file := filepath.Join(t.TempDir(), "sub", "ctl.json")
	for name, value := range map[string]string{configVariable: file, "CLUSTER_CREDENTIALS": "", "CLUSTER_TOKEN": "", "CLUSTER_SECRET": "", "CLUSTER_CTL_CONTEXT": ""} {
		t.Setenv(name, value)
	}
	return session{t, file}
}

// run runs one, and wants its exit code and, somewhere in what it prints, a text.
func (s session) run(code int, args, want string) string {
	s.t.Helper()
	var out, errw bytes.Buffer
	if got := run(s.t.Context(), strings.Fields(args), strings.NewReader(""), &out, &errw); got != code || !strings.Contains(out.String()+errw.String(), want) {
		s.t.Errorf("%s: exit code %d, want %d, and %q in\n%s%s", args, got, code, want, out.String(), errw.String())
	}
	return out.String() + errw.String()
}

// asked serves a peer that tells who asked as its version.
func asked(t *testing.T) (url string) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(`{"version":"` + r.Header.Get("Authorization") + `."}`))
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func TestContext(t *testing.T) {
	s, one, other := newSession(t), asked(t), asked(t)
	s.run(0, "context ls", "")
	s.run(0, "context add one --force-http --token first --host "+one, "")
	if info, err := os.Stat(s.file); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the file: %v, %v", info, err)
	}
	s.run(0, "version", "Bearer first.")
	s.run(0, "context add two --force-http --basic-auth ann:pw --host "+other, "")
	s.run(0, "version", "Bearer first.")
	s.run(0, "--context two version", "Basic YW5uOnB3.")
	s.run(0, "context use two", "")
	s.run(0, "version", "Basic YW5uOnB3.")
	if out := s.run(0, "context ls", "* two | "+other+" | password of ann\n"); strings.Contains(out, "first") || strings.Contains(out, "pw") {
		t.Errorf("a secret is listed: %s", out)
	}
	s.run(0, "--enc=json context ls", `{"name":"one","current":false,"host":"`+one+`","credentials":"token"}`)

	// Flags and environment go before a context, and its credentials to its host alone.
	s.run(0, "--token mine version", "Bearer mine.")
	if out := s.run(0, "--host "+one+" version", "."); strings.Contains(out, "Basic") {
		t.Errorf("the context's password went to another host: %s", out)
	}
	t.Setenv("CLUSTER_CTL_CONTEXT", "one")
	s.run(0, "version", "Bearer first.")
	t.Setenv("CLUSTER_CTL_CONTEXT", "")

	s.run(exitUsage, "context add two --host "+other, `there is one named "two"; --replace`)
	s.run(0, "context add two --replace --force-http --token new --host "+other, "")
	s.run(0, "version", "Bearer new.")
	s.run(0, "context rm two", "")
	s.run(exitUsage, "context rm two", `no context "two": it names one; 'cluster-ctl context add two`)
}

func TestContext_Faults(t *testing.T) {
	s := newSession(t)
	s.run(exitUsage, "--context gone version", `reading --context: `+s.file+` has no context "gone": there is none yet`)
	s.run(exitUsage, "context use gone", `no context "gone"`)
	s.run(exitUsage, "context add x", "reading --host: a context needs the address")
	s.run(exitUsage, "context add x --host nonsense", "reading --host: address \"nonsense\"")
	s.run(exitUsage, "context add x --host h:1 --secret 12", "reading --secret")
	s.run(exitUsage, "context add x --host h:1 --token a --basic-auth b:c", "give one of them")
	s.run(exitUsage, "--context a --host h:1 version", "give one of them")
	if _, err := os.Stat(s.file); err == nil {
		t.Error("what was refused made a file")
	}
	if err := os.MkdirAll(filepath.Dir(s.file), 0o700); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{"{": "mend it", `{"contexts":{"a":{"hosts":"x"}}}`: "unknown field", strings.Repeat(" ", maxConfig+1): "has over"} {
		if err := os.WriteFile(s.file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s.run(exitUsage, "version", want)
	}
	if err := os.WriteFile(s.file, []byte(`{"contexts":{}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(s.file, 0o644); err != nil {
		t.Fatal(err)
	}
	s.run(0, "context ls", "others can read it: chmod 600")
}

// Over a Unix socket a password crosses no network.
func TestAccess_UnixSocket(t *testing.T) {
	s := newSession(t)
	dir, err := os.MkdirTemp("", "ctl") // t.TempDir is too long for a socket's name
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	srv := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(`{"version":"` + r.Header.Get("Authorization") + `."}`))
	})}}
	srv.Start()
	t.Cleanup(srv.Close)
	s.run(0, "--host unix:"+dir+"/s --token t version", "Bearer t.")
	s.run(0, "--host /unix"+dir+"/s --basic-auth ann:pw version", "Basic YW5uOnB3.")
	s.run(exitUsage, "--host unix:"+dir+"/s,"+asked(t)+" --token t --https version", "--force-http")
	s.run(exitUsage, "--host unix:"+dir+"/none version", "no such file")
}

// Wrong ways in are told with what to do.
func TestAccess_Faults(t *testing.T) {
	s := newSession(t)
	plain := asked(t)
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(secure.Close)
	secure.Config.ErrorLog = quiet
	guarded := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"code":401,"message":"unauthorized: access denied"}`))
	}))
	t.Cleanup(guarded.Close)
	s.run(exitUsage, "--host "+plain+" --basic-auth ann:pw version", "--force-http sends them in the clear")
	s.run(exitUsage, "--host "+secure.URL+" version", "--no-check-certificate takes any")
	s.run(exitRefused, "--host "+secure.URL+" --no-check-certificate version", "404")
	s.run(exitRefused, "--host "+strings.Replace(secure.URL, "https", "http", 1)+" version", "note: the peer speaks https there")
	s.run(exitRefused, "--host "+guarded.URL+" -f --token x version", "Code: 401")
	s.run(exitRefused, "--host "+guarded.URL+" version", "note: --basic-auth USER:PASSWORD, --token TOKEN or a context")
	s.run(exitUsage, "--host 127.0.0.1:1 version", "no peer listens there; start it, or name another")
	s.run(exitUsage, "--host "+secure.URL+" --ca-cert /none version", "reading --ca-cert")
	cert := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(cert, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.run(exitUsage, "--host "+secure.URL+" --ca-cert "+cert+" version", "holds no certificate in PEM")
}
