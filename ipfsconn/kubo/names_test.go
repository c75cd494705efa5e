package kubo

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn/ipfsconntest"
	"github.com/pinfold-cluster/pinfold/ipfsconn/kubo/kubotest"
)

// A path of /ipns leads to what the daemon has published under the name.
func TestResolve_Names(t *testing.T) {
	n, err := New(Options{NodeMultiaddress: kubotest.Daemon(t)}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	file := ipfsconntest.File(t, 1, 1, 100)
	dir := ipfsconntest.Directory(t, map[string]ipfsconntest.Tree{"f": file})
	ipfsconntest.Add(t, n, dir)
	var out struct{ Name string }
	if err := n.call(t.Context(), &out, "name/publish", url.Values{"arg": {"/ipfs/" + dir.Root.String()}, "allow-offline": {"true"}}); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]api.Cid{"/ipns/" + out.Name: dir.Root, "/ipns/" + out.Name + "/f": file.Root} {
		if got, err := n.Resolve(t.Context(), path); err != nil || got != want {
			t.Errorf("%s leads to %v (%v), want %v", path, got, err, want)
		}
	}
	for _, path := range []string{"/ipns/" + out.Name + "/none", "/ipns/x/y", "/ipns/example.com", "/ipns/" + dir.Root.String()} {
		if got, err := n.Resolve(t.Context(), path); api.KindOf(err) != api.NotFound {
			t.Errorf("%s leads to %v, error %v of kind %q; want none found", path, got, err, api.KindOf(err))
		}
	}
}

// A name that Kubo goes on looking for is given up, and the error says so, not that
// Kubo were down.
func TestResolve_NameNotFoundInTime(t *testing.T) {
	asked, ended := make(chan struct{}, 100), make(chan struct{}, 100)
	kubo := map[string]http.HandlerFunc{"dag/resolve": func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
		ended <- struct{}{}
	}}
	// Where the machine is slow, Kubo is not asked within the time.
	for wait := 50 * time.Millisecond; len(asked) == 0 && wait < time.Minute; wait *= 2 {
		got, err := at(t, Options{IPFSRequestTimeout: wait}, kubo).Resolve(t.Context(), "/ipns/docs.ipfs.tech")
		if api.KindOf(err) != api.Unavailable || !strings.Contains(err.Error(), "in time") {
			t.Errorf("leads to %v, error %v of kind %q", got, err, api.KindOf(err))
		}
	}
	if len(asked) == 0 {
		t.Fatal("Kubo is not asked")
	}
	<-ended // Kubo is told to stop, too
}
