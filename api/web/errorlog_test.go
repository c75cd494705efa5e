package web

import (
	"bytes"
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// What panics outside of what observe sees is logged as an error, over both kinds of
// HTTP; a client's fault is not.
func TestErrorLog_PanicsAreErrors(t *testing.T) {
	var logs bytes.Buffer
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("a fault of ours") }))
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = ErrorLog(slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug})))
	srv.StartTLS()
	for _, two := range []bool{false, true} {
		tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: two}
		defer tr.CloseIdleConnections()
		if res, err := (&http.Client{Transport: tr}).Get(srv.URL); err == nil {
			res.Body.Close()
			t.Error("a handler that panics has answered")
		}
	}
	if res, err := http.Get(srv.URL); err == nil { // which trusts nobody
		res.Body.Close()
		t.Error("a stranger's certificate is taken")
	}
	srv.Close() // the log is whole
	if got := logs.String(); strings.Count(got, "level=ERROR") != 2 || strings.Count(got, "a fault of ours") != 2 ||
		!strings.Contains(got, "msg=\"http: panic serving") || !strings.Contains(got, "msg=\"http2: panic serving") || strings.Count(got, "level=DEBUG msg=\"http: TLS handshake error") != 1 {
		t.Errorf("the log is\n%s", got)
	}
}
