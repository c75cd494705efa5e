package proxy

import (
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pinfold-cluster/pinfold/api/web"
)

// closing counts how often it was closed.
type closing int

func (c *closing) Close() error { *c++; return nil }

// Once a request is answered its body is closed as net/http does that, and the transport,
// which may go on reading, gets nothing more: net/http looks for the next request there.
func TestUpload_IsNotReadOnceAnswered(t *testing.T) {
	text := strings.NewReader(strings.Repeat("x", 100))
	r := httptest.NewRequest("POST", "/", io.NopCloser(text))
	var whole closing
	u := &upload{Body: web.NewBody(httptest.NewRecorder(), r), whole: &whole}
	if _, err := io.ReadFull(u, make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	u.end()
	if whole != 1 {
		t.Errorf("closed %d times", whole)
	}
	if n, err := u.Read(make([]byte, 8)); n != 0 || err == nil || text.Len() != 92 {
		t.Errorf("read %d bytes (%v) after the end", n, err)
	}
}
