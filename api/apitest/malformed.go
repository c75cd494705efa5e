package apitest

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Malformed are requests, as bytes, that net/http refuses before any handler, with the
// status and a part of the reason.
var Malformed = map[string]struct {
	Raw    string
	Status int
	Reason string
}{
	"no HTTP":           {"GIMME\r\n\r\n", 400, "no valid HTTP"},
	"no path":           {"GET  HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad request: "},
	"bad escape":        {"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad request: "},
	"no host":           {"GET /id HTTP/1.1\r\n\r\n", 400, "missing required Host header"},
	"two hosts":         {"GET /id HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "no valid HTTP"},
	"bad host":          {"POST /id HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "malformed Host header"},
	"bad header name":   {"GET /id HTTP/1.1\r\nHost: a\r\nA B: c\r\n\r\n", 400, "invalid header name"},
	"bad header value":  {"GET /id HTTP/1.1\r\nHost: a\r\nA: b\x01\r\n\r\n", 400, "no valid HTTP"},
	"header, no colon":  {"GET /id HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n", 400, "bad request: "},
	"huge head":         {"GET /id HTTP/1.1\r\nHost: a\r\nA: " + strings.Repeat("a", 1_100_000) + "\r\n\r\n", 431, "headers"},
	"bad length":        {"POST /id HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400, "bad request: "},
	"two lengths":       {"POST /id HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400, "bad request: "},
	"transfer encoding": {"POST /id HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 400, "transfer encoding"},
	"HTTP/3.0":          {"GET /id HTTP/3.0\r\nHost: a\r\n\r\n", 400, "unsupported protocol version"},
	"expectation":       {"POST /id HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: miracles\r\n\r\na", 417, "100-continue"},
	"a body after it":   {"POST /id HTTP/1.1\r\nHost: a b\r\nContent-Length: 300000\r\n\r\n" + strings.Repeat("b", 300_000), 400, "malformed Host header"},
}

// SendRaw sends bytes to addr and reads all that is answered until the connection ends.
func SendRaw(tb testing.TB, addr, raw string) string {
	tb.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		tb.Fatal(err)
	}
	if _, err := io.WriteString(c, raw); err != nil {
		tb.Fatal(err)
	}
	if half, ok := c.(*net.TCPConn); ok {
		if err := half.CloseWrite(); err != nil {
			tb.Fatal(err)
		}
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		tb.Fatal(err)
	}
	return string(answer)
}

// RefusedRaw sends each of Malformed to the door at addr and gives check the body of each
// answer, one that has the status that it ought to and is JSON by its header.
func RefusedRaw(t *testing.T, addr string, check func(t *testing.T, status int, reason, body string)) {
	for name, m := range Malformed {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answer := SendRaw(t, addr, m.Raw)
			head, body, _ := strings.Cut(answer, "\r\n\r\n")
			if !strings.HasPrefix(head, "HTTP/1.1 ") || !strings.Contains(head, "\r\nContent-Type: application/json") || !strings.Contains(head, "\r\nConnection: close") {
				t.Fatalf("got %q, want JSON and an end of the connection", answer)
			}
			if want := http.StatusText(m.Status); !strings.HasPrefix(strings.SplitN(head, " ", 3)[2], want) {
				t.Errorf("got %q, want %q", head, want)
			}
			if !strings.Contains(body, m.Reason) {
				t.Errorf("got %q, which does not say %q", body, m.Reason)
			}
			check(t, m.Status, m.Reason, body)
		})
	}
}
