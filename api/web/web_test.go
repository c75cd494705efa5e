package web

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

var quiet = slog.New(slog.DiscardHandler)

// serve runs a Server of h on a free port and returns its URL.
func serve(t *testing.T, o Options, h http.Handler) string {
	t.Helper()
	o.HTTPListenMultiaddress = []string{"/ip4/127.0.0.1/tcp/0"}
	s, err := New(o, h, quiet)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return "http://" + s.Addrs()[0].String()
}

func ask(t *testing.T, method, url string, header http.Header) *http.Response {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res
}

func text(t *testing.T, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var ok = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { NoContent(w) })

func TestErrorOf_KindsAreStatuses(t *testing.T) {
	for kind, want := range map[api.Kind]int{
		api.Invalid: 400, api.NotFound: 404, api.Conflict: 409, api.Denied: 403, api.TooLarge: 413, api.Full: 507,
		api.Unavailable: 503, api.Unknown: 504, api.Unsupported: 501, api.Internal: 500, api.Lagging: 202, "a new one": 500,
	} {
		got := ErrorOf(fmt.Errorf("ask: %w", kind.Errorf("what\nhappened")))
		if want := (api.Error{Code: want, Message: "ask: what happened"}); *got != want {
			t.Errorf("%s: got %+v, want %+v", kind, *got, want)
		}
	}
	for err, want := range map[error]int{
		errors.New("no kind"): 500, context.DeadlineExceeded: 503, &http.MaxBytesError{Limit: 1}: 413, &api.Error{Code: 418, Message: "x"}: 418,
	} {
		if got := ErrorOf(err).Code; got != want {
			t.Errorf("%v: got %d, want %d", err, got, want)
		}
	}
}

func TestServer_RedirectsTrailingSlash(t *testing.T) {
	url := serve(t, Options{}, ok)
	for path, want := range map[string]string{
		"/id/": "/id", "/pins/?a=b%20c": "/pins?a=b%20c", "//evil.example/": "/evil.example", "/a%2Fb/": "/a%2Fb",
	} {
		res := ask(t, "GET", url+path, nil)
		if res.StatusCode != 307 || res.Header.Get("Location") != want {
			t.Errorf("%s: got %d to %q, want 307 to %q", path, res.StatusCode, res.Header.Get("Location"), want)
		}
		if body := text(t, res); !strings.HasPrefix(body, "<a href=") || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") {
			t.Errorf("%s: got %s %q, want an HTML link", path, res.Header.Get("Content-Type"), body)
		}
	}
}

func TestServer_PanicIsAnsweredOnce(t *testing.T) {
	url := serve(t, Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/late" {
			NewStream(w).Start()
		}
		panic("secret")
	}))
	res := ask(t, "GET", url+"/early", nil)
	if body := text(t, res); res.StatusCode != 500 || body != `{"code":500,"message":"internal error"}`+"\n" {
		t.Fatalf("got %d %q", res.StatusCode, body)
	}
	res = ask(t, "GET", url+"/late", nil)
	if _, err := io.ReadAll(res.Body); err == nil {
		t.Fatal("an answer that had begun ended as if it were whole")
	}
}

func TestServer_RefusesLargeHead(t *testing.T) {
	url := serve(t, Options{}, ok)
	for name, tc := range map[string]struct {
		path string
		head int
		want int
	}{"small": {"/", 3000, 204}, "headers": {"/", 9000, 431}, "huge headers": {"/", 900_000, 431}, "address": {"/" + strings.Repeat("a", 9000), 1, 431}} {
		res := ask(t, "GET", url+tc.path, http.Header{"X-Big": {strings.Repeat("x", tc.head)}})
		if res.StatusCode != tc.want {
			t.Errorf("%s: got %d, want %d", name, res.StatusCode, tc.want)
		}
		var e api.Error
		if body := text(t, res); tc.want == 431 && (json.Unmarshal([]byte(body), &e) != nil || e.Code != 431) {
			t.Errorf("%s: got %q, want one error object", name, body)
		}
	}
}

func TestServer_FixedHeadersAndVary(t *testing.T) {
	url := serve(t, Options{Headers: map[string][]string{"X-Mine": {"a", "b"}}, BasicAuthCredentials: map[string]string{"u": "p"}}, ok)
	res := ask(t, "GET", url+"/id", nil)
	if got := res.Header["X-Mine"]; !reflect.DeepEqual(got, []string{"a", "b"}) {
		t.Errorf("got %q", got)
	}
	if got := res.Header.Get("Vary"); got != "Origin" {
		t.Errorf("Vary: got %q", got)
	}
}

func TestServer_Auth(t *testing.T) {
	url := serve(t, Options{BasicAuthCredentials: map[string]string{"ann": "secret", "bob": "other"}}, ok)
	basic := func(user, password string) http.Header {
		r := httptest.NewRequest("GET", "/", nil)
		r.SetBasicAuth(user, password)
		return r.Header
	}
	const realm = `realm="Restricted IPFS Cluster API"`
	for name, tc := range map[string]struct {
		method, path string
		header       http.Header
		status       int
		message      string
		challenges   []string
	}{
		"nothing":           {"GET", "/id", nil, 401, "unauthorized: no auth provided", []string{"Bearer " + realm, "Basic " + realm}},
		"right":             {"GET", "/id", basic("ann", "secret"), 204, "", nil},
		"right, second":     {"POST", "/id", basic("bob", "other"), 204, "", nil},
		"another's":         {"GET", "/id", basic("ann", "other"), 401, "unauthorized: access denied", []string{"Basic " + realm}},
		"unknown user":      {"GET", "/id", basic("eve", "secret"), 401, "unauthorized: access denied", []string{"Basic " + realm}},
		"empty":             {"GET", "/id", basic("", ""), 401, "unauthorized: access denied", []string{"Basic " + realm}},
		"prefix":            {"GET", "/id", basic("ann", "secre"), 401, "unauthorized: access denied", []string{"Basic " + realm}},
		"not base64":        {"GET", "/id", http.Header{"Authorization": {"Basic %%%"}}, 401, "unauthorized: access denied", []string{"Basic " + realm}},
		"token":             {"GET", "/id", http.Header{"Authorization": {"bearer abc"}}, 401, "unauthorized: invalid token", []string{"Bearer " + realm + `, error="invalid_token"`}},
		"health":            {"GET", "/health", nil, 204, "", nil},
		"health, not GET":   {"POST", "/health", nil, 401, "unauthorized: no auth provided", []string{"Bearer " + realm, "Basic " + realm}},
		"under health":      {"GET", "/health/alerts", nil, 401, "unauthorized: no auth provided", []string{"Bearer " + realm, "Basic " + realm}},
		"options":           {"OPTIONS", "/id", nil, 204, "", nil},
		"health with slash": {"GET", "/health/", nil, 401, "unauthorized: no auth provided", []string{"Bearer " + realm, "Basic " + realm}},
	} {
		t.Run(name, func(t *testing.T) {
			res := ask(t, tc.method, url+tc.path, tc.header)
			body := text(t, res)
			if res.StatusCode != tc.status {
				t.Fatalf("got %d %s, want %d", res.StatusCode, body, tc.status)
			}
			if tc.status == 401 && body != fmt.Sprintf(`{"code":401,"message":%q}`+"\n", tc.message) {
				t.Errorf("got %s", body)
			}
			if got := res.Header["Www-Authenticate"]; !reflect.DeepEqual(got, tc.challenges) {
				t.Errorf("got challenges %q, want %q", got, tc.challenges)
			}
		})
	}
}

func TestServer_CrossOrigin(t *testing.T) {
	defaults := serve(t, Options{}, ok)
	no := false
	own := serve(t, Options{CORSAllowedOrigins: []string{"https://*.example"}, CORSAllowedMethods: []string{"GET", "post"}, CORSAllowedHeaders: []string{"x-one"},
		CORSAllowCredentials: &no, CORSMaxAge: time.Minute, CORSExposedHeaders: []string{}}, ok)
	exposed := "Content-Type, X-Stream-Output, X-Chunked-Output, X-Content-Length"
	for name, tc := range map[string]struct {
		url, method, origin, asked, headers string
		status                              int
		want                                map[string]string // Access-Control- headers
	}{
		"no origin":             {defaults, "POST", "", "", "", 204, nil},
		"get":                   {defaults, "GET", "http://a.example", "", "", 204, map[string]string{"Allow-Origin": "*", "Allow-Credentials": "true", "Expose-Headers": exposed}},
		"post is refused":       {defaults, "POST", "http://a.example", "", "", 403, nil},
		"null origin":           {defaults, "DELETE", "null", "", "", 403, nil},
		"same origin":           {defaults, "POST", defaults, "", "", 204, nil},
		"preflight":             {defaults, "OPTIONS", "http://a.example", "GET", "", 204, map[string]string{"Allow-Origin": "*", "Allow-Credentials": "true", "Allow-Methods": "GET"}},
		"preflight, post":       {defaults, "OPTIONS", "http://a.example", "POST", "", 204, nil},
		"preflight, header":     {defaults, "OPTIONS", "http://a.example", "GET", "x-other", 204, nil},
		"own get":               {own, "GET", "https://a.example", "", "", 204, map[string]string{"Allow-Origin": "https://a.example"}},
		"own post":              {own, "POST", "https://a.example", "", "", 204, map[string]string{"Allow-Origin": "https://a.example"}},
		"own delete":            {own, "DELETE", "https://a.example", "", "", 403, nil},
		"own, another's post":   {own, "POST", "https://a.other", "", "", 403, nil},
		"own, another's get":    {own, "GET", "https://a.other", "", "", 204, nil},
		"own preflight":         {own, "OPTIONS", "https://a.example", "POST", "X-One, content-type", 204, map[string]string{"Allow-Origin": "https://a.example", "Allow-Methods": "POST", "Allow-Headers": "X-One, Content-Type", "Max-Age": "60"}},
		"own preflight, origin": {own, "OPTIONS", "https://a.other", "POST", "", 204, nil},
	} {
		t.Run(name, func(t *testing.T) {
			h := http.Header{}
			for k, v := range map[string]string{"Origin": tc.origin, "Access-Control-Request-Method": tc.asked, "Access-Control-Request-Headers": tc.headers} {
				if v != "" {
					h.Set(k, v)
				}
			}
			res := ask(t, tc.method, tc.url+"/id", h)
			if res.StatusCode != tc.status {
				t.Fatalf("got %d, want %d", res.StatusCode, tc.status)
			}
			got := map[string]string{}
			for k, v := range res.Header {
				if name, ok := strings.CutPrefix(k, "Access-Control-"); ok {
					got[name] = v[0]
				}
			}
			if len(got)+len(tc.want) > 0 && !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestServer_TLSAndLog(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	selfSigned(t, cert, key)
	logFile := filepath.Join(dir, "requests")
	url := serve(t, Options{SSLCertFile: cert, SSLKeyFile: key, HTTPLogFile: logFile}, ok)
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequest("GET", strings.Replace(url, "http:", "https:", 1)+`/id?q="x`, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("a\nb", "p")
	res, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 204 || res.ProtoMajor != 2 {
		t.Fatalf("got %s %d, want HTTP/2 and 204", res.Proto, res.StatusCode)
	}
	line, err := os.ReadFile(logFile)
	if err != nil {
		t.Fatal(err)
	}
	if s := string(line); strings.Count(s, "\n") != 1 || !strings.HasPrefix(s, `127.0.0.1 - a\nb [`) || !strings.HasSuffix(s, `] "GET /id?q=\"x HTTP/2.0" 204 0`+"\n") {
		t.Fatalf("got log %q", s)
	}
}

func TestServer_UnixSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "web") // t.TempDir is too long for a socket's name
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")
	s, err := New(Options{HTTPListenMultiaddress: []string{"/unix" + path}}, ok, quiet)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	tr := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) }}
	res, err := (&http.Client{Transport: tr}).Get("http://unix/id")
	if err != nil || res.StatusCode != 204 {
		t.Fatalf("got %v, %v", res, err)
	}
	res.Body.Close()
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// A socket that a killed process left is taken over, one that is in use is not, nor is
// what is no socket.
func TestListen_UnixSocketThatIsThere(t *testing.T) {
	dir, err := os.MkdirTemp("", "web")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	left, used, file := filepath.Join(dir, "left"), filepath.Join(dir, "used"), filepath.Join(dir, "file")
	for _, path := range []string{left, used} {
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		if path == left {
			l.Close()
		} else {
			defer l.Close()
		}
	}
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, ok := range map[string]bool{left: true, used: false, file: false} {
		l, err := listenOn("/unix" + path)
		if (err == nil) != ok {
			t.Errorf("%s: got %v", path, err)
		}
		if err == nil {
			l.Close()
		}
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "x" {
		t.Errorf("the file is now %q, %v", text, err)
	}
}

func TestServer_RunLetsRequestsEnd(t *testing.T) {
	o := Options{HTTPListenMultiaddress: []string{"/ip4/127.0.0.1/tcp/0"}}
	entered, leave := make(chan bool), make(chan bool)
	s, err := New(o, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		entered <- true
		<-leave
		if r.Context().Err() != nil {
			t.Error("the request's context ended before the request")
		}
		NoContent(w)
	}), quiet)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	status := make(chan int, 1)
	go func() {
		res, err := http.Get("http://" + s.Addrs()[0].String())
		if err != nil {
			t.Error(err)
			status <- 0
			return
		}
		res.Body.Close()
		status <- res.StatusCode
	}()
	<-entered
	cancel()
	leave <- true
	if got := <-status; got != 204 {
		t.Fatalf("got %d, want the answer of the request in progress", got)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("tcp", s.Addrs()[0].String()); err == nil {
		t.Fatal("the address still answers")
	}
}

func TestServer_ClosesConnectionsThatSendNothing(t *testing.T) {
	url := serve(t, Options{ReadHeaderTimeout: 50 * time.Millisecond, IdleTimeout: 50 * time.Millisecond}, ok)
	for name, sent := range map[string]string{"half a head": "GET /id HTTP/1.1\r\nHost: x\r\n", "idle": "GET /id HTTP/1.1\r\nHost: x\r\n\r\n"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		// Where the machine is slow it may be closed before that is sent, or read.
		if _, err := io.WriteString(conn, sent); err != nil {
			continue
		}
		if _, err := io.Copy(io.Discard, bufio.NewReader(conn)); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: got %v, want the connection closed", name, err)
		}
	}
}

func TestNew_RefusesWrongOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"address":       {HTTPListenMultiaddress: []string{"localhost:1"}},
		"udp":           {HTTPListenMultiaddress: []string{"/ip4/127.0.0.1/udp/1"}},
		"long socket":   {HTTPListenMultiaddress: []string{"/unix/" + strings.Repeat("a", 200)}},
		"key only":      {SSLKeyFile: "x"},
		"negative":      {IdleTimeout: -1},
		"small head":    {MaxHeaderBytes: 100},
		"no users":      {BasicAuthCredentials: map[string]string{}},
		"no password":   {BasicAuthCredentials: map[string]string{"u": ""}},
		"second is bad": {HTTPListenMultiaddress: []string{"/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/1"}},
	} {
		if s, err := New(o, ok, quiet); api.KindOf(err) != api.Invalid {
			t.Errorf("%s: got %v, %v, want an Invalid error", name, s, err)
		}
	}
}
