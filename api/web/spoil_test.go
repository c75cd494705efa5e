package web

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/pinfold-cluster/pinfold/api/apitest"
)

// What follows a body that broke off is no request, also where the handler was in full
// duplex: then net/http goes on with it.
func TestServer_TakesNoRequestOutOfABody(t *testing.T) {
	var asked []string
	addr := strings.TrimPrefix(serve(t, Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path)
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		if _, err := io.Copy(io.Discard, NewBody(w, r)); err == nil {
			t.Error("the body is whole")
		}
	})), "http://")
	answer := apitest.SendRaw(t, addr, "POST /first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nGET /second HTTP/1.1\r\nHost: a\r\n\r\n")
	if strings.Count(answer, "HTTP/1.1 ") != 1 || len(asked) != 1 {
		t.Errorf("asked for %q, answered %q", asked, answer)
	}
}
