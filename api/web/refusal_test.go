package web

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/apitest"
)

// one tells whether text is one error object and no more.
func one(text string, status int) error {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	var e api.Error
	if err := dec.Decode(&e); err != nil || e.Code != status || e.Message == "" {
		return errors.Join(err, errors.New("no error object: "+text))
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("more than one object: " + text)
	}
	return nil
}

// What net/http refuses by itself is one JSON object, also on a connection that has had a
// good answer before.
func TestServer_WordsWhatNetHTTPRefuses(t *testing.T) {
	addr := strings.TrimPrefix(serve(t, Options{}, ok), "http://")
	apitest.RefusedRaw(t, addr, func(t *testing.T, status int, _, body string) {
		if err := one(body, status); err != nil {
			t.Error(err)
		}
	})
	answer := apitest.SendRaw(t, addr, "GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n"+"GIMME\r\n\r\n")
	all := strings.Split(answer, "HTTP/1.1 ")
	if len(all) != 4 || !strings.HasPrefix(all[1], "204 ") || !strings.HasPrefix(all[2], "204 ") {
		t.Fatalf("got %q, want two answers and a refusal", answer)
	}
	if _, body, _ := strings.Cut(all[3], "\r\n\r\n"); one(body, 400) != nil {
		t.Errorf("got %q", all[3])
	}
}

// An answer of a handler goes out as it is, also one that looks like net/http's refusals.
func TestServer_LeavesAnswersOfHandlersAlone(t *testing.T) {
	const refusal = "HTTP/1.1 400 Bad Request: x\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n400 Bad Request: x"
	addr := strings.TrimPrefix(serve(t, Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hijack":
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_, _ = io.WriteString(c, refusal)
		case "/lines": // each line is a write of its own to the connection
			w.Header()["Date"] = nil
			for range 3 {
				_, _ = io.WriteString(w, refusal)
				_ = http.NewResponseController(w).Flush()
			}
		default:
			w.Header()["Date"] = nil
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.Header().Set("Connection", "close")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, "400 Bad Request")
		}
	})), "http://")
	for path, want := range map[string]string{
		"/":       "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\nVary: Origin\r\nContent-Length: 15\r\n\r\n400 Bad Request",
		"/hijack": refusal,
		"/lines":  strings.Repeat(refusal, 3),
	} {
		got := apitest.SendRaw(t, addr, "GET "+path+" HTTP/1.0\r\nHost: a\r\n\r\n")
		if path == "/lines" {
			_, got, _ = strings.Cut(got, "\r\n\r\n")
		}
		if sameHead(got) != sameHead(want) {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
	if got := apitest.SendRaw(t, addr, "OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
		t.Errorf("OPTIONS *: got %q", got)
	}
}

// sameHead hides the protocol that net/http answers HTTP/1.0 in.
func sameHead(s string) string { return strings.Replace(s, "HTTP/1.0 ", "HTTP/1.1 ", 1) }

// Who speaks no TLS at a door that does is told so in JSON; who does has HTTP/2.
func TestServer_WordsWhatHasNoTLS(t *testing.T) {
	cert, key := filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	selfSigned(t, cert, key)
	url := serve(t, Options{SSLCertFile: cert, SSLKeyFile: key}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto)
	}))
	addr := strings.TrimPrefix(url, "http://")
	answer := apitest.SendRaw(t, addr, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if _, body, _ := strings.Cut(answer, "\r\n\r\n"); one(body, 400) != nil || !strings.Contains(body, "HTTPS") {
		t.Errorf("got %q", answer)
	}
	for _, want := range []string{"HTTP/2.0", "HTTP/1.1"} {
		c := &http.Client{Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", addr)
			},
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: want == "HTTP/2.0"}}
		defer c.CloseIdleConnections()
		res, err := c.Get("https://" + addr)
		if err != nil {
			t.Fatal(err)
		}
		if got := text(t, res); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		res.Body.Close()
	}
}
