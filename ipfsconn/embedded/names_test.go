package embedded

import (
	"testing"
	"time"

	"github.com/ipfs/boxo/ipns"
	"github.com/ipfs/boxo/path"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn/ipfsconntest"
)

// publish keeps a record that is good for valid, of a name made for it: of target, or of
// the name itself where that is "".
func publish(t *testing.T, n *Node, target string, valid time.Duration) string {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(nil)
	if err != nil {
		t.Fatal(err)
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	name := ipns.NameFromPeer(id).String()
	if target == "" {
		target = "/ipns/" + name
	}
	p, err := path.NewPath(target)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := ipns.NewRecord(key, p, 1, time.Now().Add(valid), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := ipns.MarshalRecord(rec)
	if err == nil {
		err = n.PutName(id, raw)
	}
	if err != nil {
		t.Fatal(err)
	}
	return "/ipns/" + name
}

// A path of /ipns leads to what was published on the node under the name.
func TestResolve_Names(t *testing.T) {
	n := offLine(t, Options{})
	file := ipfsconntest.File(t, 1, 1, 100)
	dir := ipfsconntest.Directory(t, map[string]ipfsconntest.Tree{"f": file})
	ipfsconntest.Add(t, n, dir)
	site := publish(t, n, "/ipfs/"+dir.Root.String(), time.Hour)
	alias := publish(t, n, site+"/f", time.Hour)
	for path, want := range map[string]api.Cid{site: dir.Root, site + "/f": file.Root, alias: file.Root} {
		if got, err := n.Resolve(t.Context(), path); err != nil || got != want {
			t.Errorf("%s leads to %v (%v), want %v", path, got, err, want)
		}
	}
	for path, kind := range map[string]api.Kind{
		site + "/none": api.NotFound, publish(t, n, "", time.Hour): api.NotFound, publish(t, n, site, -time.Hour): api.NotFound,
		"/ipns/example.com": api.Invalid, "/ipns/" + dir.Root.String(): api.Invalid, "/ipns/x/y": api.Invalid,
	} {
		if got, err := n.Resolve(t.Context(), path); api.KindOf(err) != kind {
			t.Errorf("%s leads to %v, error %v; want one of kind %q", path, got, err, kind)
		}
	}
}
