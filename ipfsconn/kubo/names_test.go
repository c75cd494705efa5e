package kubo

import (
	"net/url"
	"testing"

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
}
