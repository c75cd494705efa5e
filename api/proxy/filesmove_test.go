package proxy_test

import (
	"net/url"
	"strings"
	"testing"
)

// A directory that is moved into itself stays where it was, with what is in it: Kubo
// loses it.
func TestFilesMv_IntoItselfLosesNothing(t *testing.T) {
	base, _ := open(t)
	if a := post(t, base, "files/write?create=true&parents=true&arg=/a/b/f", "data", "kept"); a.status != 200 {
		t.Fatalf("write: %d %s", a.status, a.body)
	}
	for _, move := range [][2]string{{"/a", "/a"}, {"/a", "/a/"}, {"/a/", "/a"}, {"/a", "/a/b"}, {"/a", "/a/b/in"}, {"/a", "/a/b/../b/in"}, {"/a/b", "/a/b/x"}, {"/", "/a"}, {"/", "/"}} {
		a := post(t, base, "files/mv?"+url.Values{"arg": move[:]}.Encode())
		if a.status != 500 || !strings.Contains(a.body, `"Message":"`) {
			t.Errorf("%s: %d %s", move, a.status, a.body)
		}
		if a := post(t, base, "files/read?arg=/a/b/f"); a.body != "kept" {
			t.Fatalf("after %s: %d %s", move, a.status, a.body)
		}
	}
	for _, move := range [][2]string{{"/a/b/f", "/a/b/f"}, {"/a", "/ab"}, {"/ab/b", "/ab/bb"}, {"/ab/bb", "/"}} {
		if a := post(t, base, "files/mv?"+url.Values{"arg": move[:]}.Encode()); a.status != 200 {
			t.Errorf("%s: %d %s", move, a.status, a.body)
		}
	}
	if a := post(t, base, "files/read?arg=/bb/f"); a.body != "kept" {
		t.Errorf("after moves elsewhere: %d %s", a.status, a.body)
	}
}
