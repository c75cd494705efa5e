package proxy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/apitest"
	"github.com/pinfold-cluster/pinfold/api/proxy"
	"github.com/pinfold-cluster/pinfold/api/web"
	"github.com/pinfold-cluster/pinfold/ipfsconn/kubo"
	"github.com/pinfold-cluster/pinfold/ipfsconn/kubo/kubotest"
)

func parseCid(t *testing.T, s string) api.Cid {
	t.Helper()
	c, err := cid.Decode(s)
	if err != nil {
		t.Fatal(err)
	}
	return api.Cid{Cid: c}
}

// request makes one that is not a plain POST of a command.
func request(t *testing.T, method, url string, header http.Header, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		r.Header[k] = v
	}
	return r
}

// openKubo serves the proxy over a real Kubo.
func openKubo(t *testing.T) (string, *cluster) {
	t.Helper()
	addr := kubotest.Daemon(t)
	n, err := kubo.New(kubo.Options{NodeMultiaddress: addr}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	c := &cluster{node: n, pins: map[string]api.Pin{}}
	p := c.parts()
	p.Kubo = addr
	return serve(t, p, proxy.Options{ExtractHeadersExtra: []string{"X-Never"}}), c
}

// TestD12_CrossOriginRequestsAreRefused holds both kinds of proxy to Kubo's rules: on
// IPFS Cluster a page of any origin could unpin, even by GET.
func TestD12_CrossOriginRequestsAreRefused(t *testing.T) {
	native, nativePins := open(t)
	passing, passingPins := openKubo(t)
	for name, door := range map[string]struct {
		url  string
		pins *cluster
	}{"embedded": {native, nativePins}, "kubo": {passing, passingPins}} {
		t.Run(name, func(t *testing.T) {
			if a := post(t, door.url, "add", "a.txt", "hello\n"); a.status != 200 {
				t.Fatal(a)
			}
			for name, tc := range map[string]struct {
				method string
				header http.Header
				status int
			}{
				"get":               {"GET", nil, 405},
				"put":               {"PUT", nil, 405},
				"delete":            {"DELETE", nil, 405},
				"other origin":      {"POST", http.Header{"Origin": {"http://evil.example"}}, 403},
				"null origin":       {"POST", http.Header{"Origin": {"null"}}, 403},
				"other port":        {"POST", http.Header{"Origin": {"http://127.0.0.1:1"}}, 403},
				"other referer":     {"POST", http.Header{"Referer": {"http://evil.example/page"}}, 403},
				"bad referer":       {"POST", http.Header{"Referer": {"http://%zz"}}, 403},
				"silent browser":    {"POST", http.Header{"User-Agent": {"Mozilla/5.0"}}, 403},
				"own page, other's": {"POST", http.Header{"Origin": {door.url}, "Referer": {"http://evil.example/"}}, 403},
			} {
				a := send(t, request(t, tc.method, door.url+"/api/v0/pin/rm?arg="+hello, tc.header, ""))
				if a.status != tc.status || a.header.Get("Access-Control-Allow-Origin") == "http://evil.example" {
					t.Errorf("%s: got %d %q %v, want %d", name, a.status, a.body, a.header, tc.status)
				}
			}
			if _, err := door.pins.Get(t.Context(), parseCid(t, hello)); err != nil {
				t.Fatalf("a refused request has unpinned: %v", err)
			}
			a := send(t, request(t, "OPTIONS", door.url+"/api/v0/pin/rm", http.Header{"Origin": {"http://evil.example"}, "Access-Control-Request-Method": {"POST"}}, ""))
			if got := a.header.Get("Access-Control-Allow-Origin"); got != "" {
				t.Errorf("preflight: allows %q", got)
			}
			for name, header := range map[string]http.Header{
				"own origin": {"Origin": {door.url}}, "own referer": {"Referer": {door.url + "/webui"}}, "no browser": {"User-Agent": {"curl/8"}},
				"companion": {"Origin": {"chrome-extension://nibjojkomfdiaoajekhjakgkdhaomnch"}},
			} {
				a := send(t, request(t, "POST", door.url+"/api/v0/pin/ls?arg="+hello, header, ""))
				if a.status != 200 || a.header.Get("Access-Control-Allow-Origin") != header.Get("Origin") && header.Get("Origin") != "" {
					t.Errorf("%s: got %d %q %v", name, a.status, a.body, a.header)
				}
			}
		})
	}
}

// Pages of the origins that the settings name are let in, with either backend; a
// preflight says so, and to nobody else.
func TestCrossOrigin_AllowedOnes(t *testing.T) {
	const webui, other = "https://webui.example.org", "https://other.example.org"
	_, c := open(t)
	_, k := openKubo(t)
	native, passing := c.parts(), k.parts()
	native.Node, passing.Kubo = c.node.(proxy.Node), kubotest.Daemon(t)
	for name, url := range map[string]string{
		"embedded": serve(t, native, proxy.Options{CORSAllowedOrigins: []string{webui}}),
		"kubo":     serve(t, passing, proxy.Options{CORSAllowedOrigins: []string{webui}}),
	} {
		for _, command := range []string{"pin/ls", "version"} { // ours, and what a daemon answers
			for origin, want := range map[string]int{webui: 200, other: 403, "null": 403} {
				a := send(t, request(t, "POST", url+"/api/v0/"+command, http.Header{"Origin": {origin}, "Referer": {origin + "/page"}}, ""))
				if got := a.header.Get("Access-Control-Allow-Origin"); a.status != want || (got == origin) != (want == 200) {
					t.Errorf("%s, %s from %s: got %d, allows %q; want %d", name, command, origin, a.status, got, want)
				}
				a = send(t, request(t, "OPTIONS", url+"/api/v0/"+command, http.Header{"Origin": {origin}, "Access-Control-Request-Method": {"POST"}}, ""))
				if got := a.header.Get("Access-Control-Allow-Origin"); (got == origin) != (want == 200) {
					t.Errorf("%s, preflight of %s from %s: allows %q", name, command, origin, got)
				}
			}
		}
	}
	anyone := serve(t, native, proxy.Options{CORSAllowedOrigins: []string{"*"}})
	if a := send(t, request(t, "POST", anyone+"/api/v0/version", http.Header{"Origin": {other}}, "")); a.status != 200 || a.header.Get("Access-Control-Allow-Origin") != other {
		t.Errorf("any: got %d, %v", a.status, a.header)
	}
	for _, bad := range []string{"webui.example.org", "https://a/b", "https://", ""} {
		if err := (proxy.Options{CORSAllowedOrigins: []string{bad}}).Validate(); api.KindOf(err) != api.Invalid {
			t.Errorf("%q: got %v, want an invalid setting", bad, err)
		}
	}
}

// TestD12_OnlyHashAddsNothing: on IPFS Cluster it gave an error and added all the same.
func TestD12_OnlyHashAddsNothing(t *testing.T) {
	url, c := open(t)
	a := post(t, url, "add?only-hash=true", "a.txt", "hello\n")
	if a.status != 200 || a.body != `{"Name":"a.txt","Hash":"`+hello+`","Size":"14"}`+"\n" {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	if _, err := c.Get(t.Context(), parseCid(t, hello)); api.KindOf(err) != api.NotFound {
		t.Errorf("it is pinned: %v", err)
	}
	for range c.All(t.Context()) {
		t.Error("something is pinned")
	}
}

// TestD12_PinLsKnowsTypes: IPFS Cluster listed all pins whatever the type asked for.
func TestD12_PinLsKnowsTypes(t *testing.T) {
	for _, door := range []func(*testing.T) (string, *cluster){func(t *testing.T) (string, *cluster) { return open(t) }, openKubo} {
		url, _ := door(t)
		post(t, url, "add?pin-name=named", "a.txt", "hello\n")
		if a := post(t, url, "pin/ls?type=direct"); a.body != "{}\n" {
			t.Errorf("direct: got %s", a.body)
		}
		if a := post(t, url, "pin/ls?type=recursive&names=true"); a.body != `{"Keys":{"`+hello+`":{"Type":"recursive","Name":"named"}}}`+"\n" {
			t.Errorf("recursive: got %s", a.body)
		}
	}
}

// With a daemon behind, what is not the cluster's business is answered by it, and what
// is pinned is pinned in the cluster.
func TestPassthrough(t *testing.T) {
	url, c := openKubo(t)
	if a := post(t, url, "add", "a.txt", "hello\n"); a.status != 200 || a.header.Get("Server") != "pinfold" {
		t.Fatalf("add: got %d %s, %v", a.status, a.body, a.header)
	}
	if a := post(t, url, "cat?arg="+hello); a.body != "hello\n" || a.header.Get("Server") != "kubo/0.42.0" || a.header.Get("X-Stream-Output") != "1" {
		t.Errorf("cat: got %q, %v", a.body, a.header)
	}
	big := strings.Repeat("0123456789abcdef", 1<<16)
	if a := post(t, url, "files/write?create=true&arg=/big", "data", big); a.status != 200 {
		t.Errorf("files/write: got %d %s", a.status, a.body)
	}
	if a := post(t, url, "files/read?arg=/big"); a.body != big {
		t.Errorf("files/read: got %d bytes, want %d", len(a.body), len(big))
	}
	if a := post(t, url, "files/rm?arg=/none"); a.trailer != "can't remove some files" {
		t.Errorf("the daemon's trailer: got %q", a.trailer)
	}
	if a := send(t, request(t, "GET", url+"/webui", nil, "")); a.status/100 != 3 {
		t.Errorf("GET /webui: got %d", a.status)
	}
	if a := send(t, request(t, "POST", url+"/api/v0/id", http.Header{"Origin": {url}}, "")); a.status != 200 || a.header.Get("Access-Control-Allow-Origin") != url {
		t.Errorf("a page of our own: got %d, %v", a.status, a.header)
	}
	for ask, want := range map[string]string{"block/put?pin=true": "QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN", "block/put": ""} {
		a := post(t, url, ask, "b", "block of "+ask)
		var line struct{ Key string }
		if err := json.Unmarshal([]byte(a.body), &line); err != nil {
			t.Fatalf("%s: got %d %q", ask, a.status, a.body)
		}
		if _, err := c.Get(t.Context(), parseCid(t, line.Key)); (err == nil) != (want != "") {
			t.Errorf("%s: pinned: %v", ask, err)
		}
	}
	a := post(t, url, "dag/put?pin=true", "n", `{"a":1}`)
	if _, err := c.Get(t.Context(), parseCid(t, cbor)); err != nil || a.body != `{"Cid":{"/":"`+cbor+`"}}`+"\n" {
		t.Errorf("dag/put: got %q, %v", a.body, err)
	}
	if a := post(t, url, "dag/put?pin=true&input-codec=nothing", "n", `{"a":1}`); a.status != 500 || !strings.Contains(a.body, `"Message"`) {
		t.Errorf("dag/put, wrong: got %d %q", a.status, a.body)
	}
	if a := post(t, url, "repo/stat"); a.status != 200 || !strings.Contains(a.body, `"Version":"fs-repo@18"`) {
		t.Errorf("repo/stat: got %d %q", a.status, a.body)
	}
	if a := post(t, url, "pin/add?arg=/ipfs/"+hello+"&progress=true"); a.status != 200 || !strings.HasSuffix(a.body, `{"Pins":["`+hello+`"]}`+"\n") {
		t.Errorf("pin/add: got %d %q", a.status, a.body)
	}
}

// A daemon that is down is told of in Kubo's words.
func TestPassthrough_DaemonIsDown(t *testing.T) {
	_, c := open(t)
	p := c.parts()
	p.Kubo = "/ip4/127.0.0.1/tcp/1"
	url := serve(t, p, proxy.Options{})
	a := post(t, url, "id")
	var e struct{ Message, Type string }
	if err := json.Unmarshal([]byte(a.body), &e); err != nil || a.status != 502 || e.Type != "error" {
		t.Fatalf("got %d %q, want 502 and an error object", a.status, a.body)
	}
	if a := send(t, request(t, "POST", url+"/api/v0/pin/ls", http.Header{"Origin": {"http://other.example"}}, "")); a.status != 403 {
		t.Errorf("nobody can say whether the origin is allowed: got %d", a.status)
	}
}

// What a client breaks off ends at the daemon, too; a body that ends too early is the
// client's fault, and it is told so if it still listens.
func TestPassthrough_BrokenOffByTheClient(t *testing.T) {
	began, ended := make(chan struct{}), make(chan struct{})
	kubo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began <- struct{}{}
		_, _ = io.Copy(io.Discard, r.Body)
		if strings.HasSuffix(r.URL.Path, "/log/tail") {
			_, _ = io.WriteString(w, "{}")
			_ = http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
		ended <- struct{}{}
	}))
	defer kubo.Close()
	addr := passTo(t, kubo)
	for name, tc := range map[string]struct {
		sends  string
		closes bool // at once; else it only ends its half, and listens
		want   string
	}{
		"while it sends":      {"POST /api/v0/block/put HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf", true, ""},
		"while it waits":      {"POST /api/v0/swarm/peers HTTP/1.1\r\nHost: a\r\n\r\n", true, ""},
		"while it reads":      {"POST /api/v0/log/tail HTTP/1.1\r\nHost: a\r\n\r\n", true, ""},
		"half a body":         {"POST /api/v0/block/put HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf", false, "cut off"},
		"half a body, chunks": {"POST /api/v0/block/put HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", false, "cut off"},
	} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, tc.sends); err != nil {
			t.Fatal(err)
		}
		<-began
		if tc.closes {
			conn.Close()
		} else if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-ended:
		case <-time.After(time.Minute):
			t.Fatalf("%s: it goes on at the daemon", name)
		}
		if tc.closes {
			continue
		}
		answer, err := io.ReadAll(conn)
		conn.Close()
		_, body, _ := strings.Cut(string(answer), "\r\n\r\n")
		var e struct{ Message, Type string }
		if json.Unmarshal([]byte(body), &e) != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") || e.Type != "error" || !strings.Contains(e.Message, tc.want) {
			t.Errorf("%s: got %q (%v)", name, answer, err)
		}
	}
}

// A body is never taken for requests, though the daemon answers before it has all of it:
// a page of another origin could send them in a body that the daemon refuses.
func TestPassthrough_TakesNoRequestOutOfABody(t *testing.T) {
	daemon := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
	}))
	defer daemon.Close()
	addr := passTo(t, daemon)
	inner := "POST /api/v0/pin/rm?arg=nonsense HTTP/1.1\r\nHost: a\r\nX: "
	inner += strings.Repeat("p", 128-len(inner)-4) + "\r\n\r\n"
	for i := range 64 {
		body := strings.Repeat("#", 2*i) + strings.Repeat(inner, 20000)
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			_, _ = fmt.Fprintf(conn, "POST /api/v0/version HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body) // it may be cut off
			_, _ = io.WriteString(conn, "POST /api/v0/last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		}()
		answer, _ := io.ReadAll(conn) // a reset ends it, too
		conn.Close()
		<-sent
		answers := strings.Split(string(answer), "HTTP/1.1 ")[1:]
		if len(answers) > 2 || len(answers) == 2 && !strings.HasPrefix(answers[1], "403 ") {
			t.Fatalf("%d answers, the second %.120q", len(answers), answers[1])
		}
	}
}

// A daemon that refuses a command while the body still comes ends the connection, and its
// answer may be lost with it: the client learns as much, and not of sockets.
func TestPassthrough_DaemonHangsUpBeforeTheBodyEnds(t *testing.T) {
	daemon := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		if err := conn.(*net.TCPConn).SetLinger(0); err != nil { // a reset, and not an end
			t.Error(err)
		}
		conn.Close()
	}))
	defer daemon.Close()
	body := make([]byte, 8<<20) // more than what sockets hold
	res, err := http.Post("http://"+passTo(t, daemon)+"/api/v0/block/put", "", struct{ io.Reader }{bytes.NewReader(body)})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var e struct{ Message, Type string }
	if err := json.NewDecoder(res.Body).Decode(&e); err != nil || res.StatusCode != 500 || e.Type != "error" || !strings.Contains(e.Message, "may have refused the command") {
		t.Errorf("%d %+v (%v)", res.StatusCode, e, err)
	}
}

// Whatever a request is, the answer is an error of Kubo's kind, nothing is pinned, and
// the door goes on.
func TestBadInput(t *testing.T) {
	url, c := open(t)
	form := func(body string) (http.Header, string) {
		return http.Header{"Content-Type": {"multipart/form-data; boundary=xx"}}, body
	}
	part := "--xx\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\nContent-Type: application/octet-stream\r\n\r\n"
	many := strings.Repeat("&arg=x", 10_001)
	for name, tc := range map[string]struct {
		ask    string
		body   string
		status int
	}{
		"query escapes":         {"pin/add?arg=%zz", "", 400},
		"query semicolons":      {"pin/add?arg=a;b", "", 400},
		"too many arguments":    {"pin/add?" + many[1:], "", 400},
		"long argument":         {"pin/add?arg=" + strings.Repeat("x", 70_000), "", 400},
		"empty argument":        {"pin/add?arg=", "", 500},
		"zero bytes":            {"pin/add?arg=%00%00", "", 500},
		"not a CID":             {"pin/add?arg=QmNothing", "", 500},
		"not UTF-8":             {"files/mkdir?arg=/%ff%fe", "", 200}, // Kubo takes any bytes
		"path tricks":           {"files/mkdir?arg=/../../etc", "", 200},
		"traversal in the path": {"../../../etc/passwd", "", 404},
		"unknown command":       {"no/such/command", "", 404},
		"bad boolean":           {"pin/add?recursive=perhaps&arg=" + hello, "", 400},
		"bad number":            {"cat?offset=1e9&arg=" + hello, "", 400},
		"huge number":           {"cat?offset=99999999999999999999&arg=" + hello, "", 400},
		"option twice":          {"pin/ls?type=all&type=direct", "", 400},
		"option by two names":   {"pin/ls?type=all&t=direct", "", 400},
		"bad timeout":           {"id?timeout=soon", "", 400},
		"negative timeout":      {"id?timeout=-1s", "", 400},
		"bad encoding":          {"id?encoding=klingon", "", 400},
		"bad base":              {"block/stat?cid-base=base1000&arg=" + hello, "", 500},
		"truncated body":        {"add", part + "some", 500},
		"no parts":              {"add", "--xx--\r\n", 500},
		"no boundary":           {"add", "nothing at all", 500},
		"bad replication":       {"add?replication-min=5&replication-max=2", part + "x\r\n--xx--\r\n", 500},
		"bad expiry":            {"add?expire-in=1ns", part + "x\r\n--xx--\r\n", 500},
		"key with a path":       {"key/gen?arg=../../x", "", 200}, // a name is coded before it is one of a file
		"long key":              {"key/gen?arg=" + strings.Repeat("k", 500), "", 500},
		"huge rsa":              {"key/gen?type=rsa&size=1000000&arg=k", "", 500},
		"huge ping":             {"ping?count=1000000&arg=12D3KooWEqnTdgqHnkkwarSrJjeMP2ZJiADWLYADaNvUb6SQNyPF", "", 500},
		"negative depth":        {"refs?recursive=true&max-depth=-7&arg=" + none, "", 200},
		"big block":             {"block/put", part + strings.Repeat("x", 3<<20) + "\r\n--xx--\r\n", 500},
		"huge block":            {"block/put?allow-big-block=true", part + strings.Repeat("x", 5<<20) + "\r\n--xx--\r\n", 500},
		"deep JSON":             {"dag/put", part + strings.Repeat("[", 1<<20) + "\r\n--xx--\r\n", 500},
		"not a CAR":             {"dag/import", part + "\xff\xff\xff\xff\x0f\r\n--xx--\r\n", 500},
		"long inlining":         {"add?inline=true&inline-limit=129", part + "x\r\n--xx--\r\n", 500},
		"times, raw leaves":     {"add?mtime=1&raw-leaves=true", part + "x\r\n--xx--\r\n", 500},
		"nanoseconds alone":     {"add?mtime-nsecs=1", part + "x\r\n--xx--\r\n", 500},
		"too many nanoseconds":  {"add?mtime=1&mtime-nsecs=1000000000", part + "x\r\n--xx--\r\n", 500},
	} {
		t.Run(name, func(t *testing.T) {
			r := request(t, "POST", url+"/api/v0/"+tc.ask, nil, "")
			if tc.body != "" {
				h, body := form(tc.body)
				r = request(t, "POST", url+"/api/v0/"+tc.ask, h, body)
			}
			a := send(t, r)
			if a.status != tc.status {
				t.Fatalf("got %d %.300q, want %d", a.status, a.body, tc.status)
			}
			if a.status == 500 {
				var e struct {
					Message, Type string
					Code          *int
				}
				if err := json.NewDecoder(bytes.NewReader([]byte(a.body))).Decode(&e); err != nil || e.Message == "" || e.Type != "error" || e.Code == nil {
					t.Errorf("got %q, want an error object", a.body)
				}
			}
			for p := range c.All(t.Context()) {
				t.Fatalf("%s is pinned", p.Cid)
			}
		})
	}
}

// Clients that are slow with their head, or send too large a one, are answered or cut off
// in bounded time, and hold up nobody.
func TestSlowAndHuge(t *testing.T) {
	_, c := open(t)
	p := c.parts()
	p.Node = c.node.(proxy.Node)
	h, err := proxy.New(p, proxy.Options{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	o := proxy.Options{ListenMultiaddress: []string{"/ip4/127.0.0.1/tcp/0"}, ReadHeaderTimeout: 200 * time.Millisecond}
	addr := run(t, o, h)
	var slow []net.Conn
	for range 20 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write([]byte("POST /api/v0/id HTTP/1.1\r\nHost: x\r\nX-Slow:")); err != nil {
			t.Fatal(err)
		}
		slow = append(slow, conn)
	}
	a := send(t, request(t, "POST", "http://"+addr+"/api/v0/version", http.Header{"X-Large": {strings.Repeat("a", 20_000)}}, ""))
	var e struct{ Message, Type string }
	if err := json.Unmarshal([]byte(a.body), &e); a.status != 431 || err != nil || e.Type != "error" || e.Message == "" {
		t.Errorf("a huge header: got %d %q, want 431 and an error object", a.status, a.body)
	}
	if a := send(t, request(t, "POST", "http://"+addr+"/api/v0/version", nil, "")); a.status != 200 {
		t.Errorf("beside the slow ones: got %d", a.status)
	}
	for _, conn := range slow {
		if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, conn); err != nil {
			t.Fatalf("a slow head is not cut off: %v", err)
		}
	}
}

// What net/http refuses by itself is an error as Kubo words it.
func TestWordsWhatNetHTTPRefuses(t *testing.T) {
	_, c := open(t)
	p := c.parts()
	p.Node = c.node.(proxy.Node)
	h, err := proxy.New(p, proxy.Options{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	o := proxy.Options{ListenMultiaddress: []string{"/ip4/127.0.0.1/tcp/0"}}
	apitest.RefusedRaw(t, run(t, o, h), func(t *testing.T, _ int, _, body string) {
		var e struct {
			Message, Type string
			Code          *int
		}
		dec := json.NewDecoder(strings.NewReader(body))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&e); err != nil || e.Type != "error" || e.Message == "" || e.Code == nil || dec.More() {
			t.Errorf("got %q: %v; want one of Kubo's error objects", body, err)
		}
	})
}

// passTo has a proxy with this daemon behind take requests until the test ends, and
// returns where.
func passTo(t *testing.T, daemon *httptest.Server) string {
	t.Helper()
	_, c := open(t)
	p := c.parts()
	_, port, err := net.SplitHostPort(daemon.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	p.Kubo = "/ip4/127.0.0.1/tcp/" + port
	h, err := proxy.New(p, proxy.Options{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, proxy.Options{ListenMultiaddress: []string{"/ip4/127.0.0.1/tcp/0"}}, h)
}

// run has a server of h take requests until the test ends, and returns where.
func run(t *testing.T, o proxy.Options, h http.Handler) string {
	t.Helper()
	s, err := web.NewPlain(o.WithDefaults().Door(), h, quiet)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-ended, s.Close()); err != nil {
			t.Error(err)
		}
	})
	return s.Addrs()[0].String()
}
