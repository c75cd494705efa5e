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
	// A name that is the same in both places is no reason to leave it in the first.
	for _, path := range []string{"/x/d/f", "/x/d/g", "/y/d/h", "/z/f/f"} {
		if a := post(t, base, "files/write?create=true&parents=true&arg="+path, "data", path); a.status != 200 {
			t.Fatalf("write: %d %s", a.status, a.body)
		}
	}
	for _, move := range [][3]string{{"/x/d/f", "/y/d/f", "/y/d/f"}, {"/x/d/g", "/y/d", "/y/d/g"}, {"/y/d/h", "/x/d/", "/x/d/h"}, {"/z/f/f", "/", "/f"}, {"/f", "/z/f/f", "/z/f/f"}} {
		if a := post(t, base, "files/mv?"+url.Values{"arg": move[:2]}.Encode()); a.status != 200 {
			t.Errorf("%s: %d %s", move, a.status, a.body)
		}
		if a := post(t, base, "files/read?"+url.Values{"arg": move[2:]}.Encode()); a.status != 200 || !strings.HasSuffix(a.body, move[2][len(move[2])-2:]) {
			t.Errorf("after %s: %d %s", move, a.status, a.body)
		}
		if a := post(t, base, "files/stat?"+url.Values{"arg": move[:1]}.Encode()); a.status != 500 {
			t.Errorf("after %s it is still there: %s", move, a.body)
		}
	}
	if a := post(t, base, "files/mv?arg=/z/f/f&arg=/z/f"); a.status == 200 { // it is there
		t.Errorf("into its own directory: %s", a.body)
	}
	if a := post(t, base, "files/read?arg=/z/f/f"); a.status != 200 {
		t.Errorf("lost: %s", a.body)
	}
	if a := post(t, base, "files/read?arg=/bb/f"); a.body != "kept" {
		t.Errorf("after moves elsewhere: %d %s", a.status, a.body)
	}
}
