package embedded

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn/ipfsconntest"
)

// A path whose content no peer has is given up after RetrievalTimeout, not when the
// caller does.
func TestResolve_GivesUp(t *testing.T) {
	n := onLine(t, Options{RetrievalTimeout: 100 * time.Millisecond})
	_, err := n.Resolve(within(t, time.Minute), "/ipfs/"+ipfsconntest.File(t, 9, 1, 10).Root.String()+"/a/path")
	if api.KindOf(err) != api.Unavailable || !strings.Contains(err.Error(), "no peer of the cluster gave the content in time") {
		t.Fatalf("error %v of kind %q", err, api.KindOf(err))
	}
}

func TestBlock_FetchesAndResolves(t *testing.T) {
	file := ipfsconntest.File(t, 1, 2, 1000)
	dir := ipfsconntest.Directory(t, map[string]ipfsconntest.Tree{"f": file})
	holder := onLine(t, Options{})
	ipfsconntest.Add(t, holder, dir)
	n := onLine(t, Options{}, holder)
	got, err := n.Block(within(t, time.Minute), api.Cid{Cid: file.Blocks[0].Cid()})
	if err != nil || !bytes.Equal(got, file.Blocks[0].RawData()) {
		t.Fatal(err)
	}
	c, err := n.Resolve(within(t, time.Minute), "/ipfs/"+dir.Root.String()+"/f")
	if err != nil || c != file.Root {
		t.Fatalf("%v, %v", c, err)
	}
	for _, inFile := range []api.Cid{file.Root, {Cid: file.Blocks[0].Cid()}} { // a path that goes on inside a file
		if _, err := n.Resolve(within(t, time.Minute), "/ipfs/"+inFile.String()+"/f"); api.KindOf(err) != api.NotFound {
			t.Fatalf("error %v of kind %q", err, api.KindOf(err))
		}
	}
	_, err = n.Block(within(t, 100*time.Millisecond), ipfsconntest.File(t, 9, 1, 10).Root)
	if api.KindOf(err) != api.Unavailable {
		t.Fatalf("error %v of kind %q", err, api.KindOf(err))
	}
}

// What is fetched for readers takes bounded memory.
func TestRecent_IsBounded(t *testing.T) {
	r := newRecent(offLine(t, Options{}).local)
	for i := range 40 {
		if err := r.Put(t.Context(), ipfsconntest.Leaf(t, uint64(i), 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if r.bytes > recentBytes || r.bytes < recentBytes-1<<20 || r.lru.Len() != r.bytes>>20 {
		t.Fatalf("%d bytes in %d blocks", r.bytes, r.lru.Len())
	}
	last := ipfsconntest.Leaf(t, 39, 1<<20)
	if ok, err := r.Has(t.Context(), last.Cid()); err != nil || !ok {
		t.Fatal("the last is not there", err)
	}
	if ok, err := r.Has(t.Context(), ipfsconntest.Leaf(t, 0, 1<<20).Cid()); err != nil || ok {
		t.Fatal("the first is still there", err)
	}
}
