package proxy

import (
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pinfold-cluster/pinfold/api/web"
)

// Once a request is answered, little of its body is left to net/http, and nothing to the
// transport, which may go on reading: net/http looks for the next request there.
func TestUpload_IsNotReadOnceAnswered(t *testing.T) {
	for size, rest := range map[int]int{8: 0, 100: 0, 1 << 20: 1<<20 - 8 - maxLeft - 1} {
		text := strings.NewReader(strings.Repeat("x", size))
		u := &upload{Body: web.NewBody(httptest.NewRecorder(), httptest.NewRequest("POST", "/", io.NopCloser(text)))}
		if _, err := io.ReadFull(u, make([]byte, 8)); err != nil {
			t.Fatal(err)
		}
		u.end()
		if text.Len() != rest {
			t.Errorf("of %d bytes %d are left, want %d", size, text.Len(), rest)
		}
		if n, err := u.Read(make([]byte, 8)); n != 0 || err == nil || text.Len() != rest {
			t.Errorf("read %d bytes (%v) after the end", n, err)
		}
	}
}
