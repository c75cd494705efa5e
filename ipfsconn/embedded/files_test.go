package embedded

import (
	"context"
	"errors"
	"maps"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/boxo/mfs"
	block "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/pinfold-cluster/pinfold/api"
)

// offline opens a node off line in dir.
func offlineNode(t *testing.T, dir string) *Node {
	t.Helper()
	n, err := New(nil, dir, Options{}, nil, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func change(t *testing.T, n *Node, f func(*mfs.Root) error) {
	t.Helper()
	if err := n.ChangeFiles(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, n *Node) (all []string) {
	t.Helper()
	err := n.ViewFiles(t.Context(), func(r *mfs.Root) (err error) {
		all, err = r.GetDirectory().ListNames(t.Context())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func file(text string) *merkledag.ProtoNode {
	return merkledag.NodeWithData(unixfs.FilePBData([]byte(text), uint64(len(text))))
}

func TestFiles_ChangeIsDurableAndOutlivesCollection(t *testing.T) {
	dir := t.TempDir()
	n, err := New(nil, dir, Options{}, nil, quiet)
	if err != nil {
		t.Fatal(err)
	}
	change(t, n, func(r *mfs.Root) error { return mfs.Mkdir(r, "/a/b", mfs.MkdirOpts{Mkparents: true, Flush: true}) })
	change(t, n, func(r *mfs.Root) error { return mfs.PutNode(r, "/a/b/f", file("kept")) })
	for _, err := range n.GC(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n = offlineNode(t, dir)
	err = n.ViewFiles(t.Context(), func(r *mfs.Root) error {
		_, err := mfs.Lookup(r, "/a/b/f")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFiles_FailedChangeLeavesNothing(t *testing.T) {
	n := offlineNode(t, t.TempDir())
	change(t, n, func(r *mfs.Root) error { return mfs.PutNode(r, "/one", file("1")) })
	broken := errors.New("broken")
	err := n.ChangeFiles(t.Context(), func(r *mfs.Root) error {
		if err := mfs.PutNode(r, "/two", file("2")); err != nil {
			return err
		}
		return broken
	})
	if !errors.Is(err, broken) {
		t.Fatalf("got %v, want the function's error", err)
	}
	if got := names(t, n); len(got) != 1 || got[0] != "one" {
		t.Fatalf("got %q, want the tree as it was", got)
	}
}

// What was garbage when a collection began, and is taken into the tree while it runs,
// stays.
func TestFiles_TakenInDuringCollectionStays(t *testing.T) {
	n := offlineNode(t, t.TempDir())
	leaf, other := file("leaf"), file("other")
	dir := unixfs.EmptyDirNode()
	if err := dir.AddNodeLink("leaf", leaf); err != nil {
		t.Fatal(err)
	}
	put(t, n, leaf, dir, other)
	sweep, err := n.blocks.BeginSweep()
	if err != nil {
		t.Fatal(err)
	}
	change(t, n, func(r *mfs.Root) error { return mfs.PutNode(r, "/d", dir) })
	for c, want := range map[cid.Cid]bool{leaf.Cid(): false, dir.Cid(): false, other.Cid(): true} {
		gone, err := sweep.RemoveOne(c.Hash())
		if err != nil || gone != want {
			t.Errorf("%s: removed %v, %v; want %v", c, gone, err, want)
		}
	}
	if err := sweep.Close(); err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, n *Node, nodes ...*merkledag.ProtoNode) {
	t.Helper()
	a, err := n.OpenAdd(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	var bs []block.Block
	for _, x := range nodes {
		bs = append(bs, x)
	}
	if err := errors.Join(a.Put(t.Context(), bs), a.Commit(t.Context(), api.CidUndef)); err != nil {
		t.Fatal(err)
	}
}

func TestNode_DeleteSparesWhatIsNeeded(t *testing.T) {
	n := offlineNode(t, t.TempDir())
	leaf, free := file("leaf"), file("free")
	dir := unixfs.EmptyDirNode()
	if err := dir.AddNodeLink("leaf", leaf); err != nil {
		t.Fatal(err)
	}
	put(t, n, leaf, dir, free)
	if err := n.Pin(t.Context(), api.Pin{Cid: api.Cid{Cid: dir.Cid()}}, nil); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		c    cid.Cid
		kind api.Kind
		text string
	}{
		"pinned":     {dir.Cid(), api.Conflict, "pinned: recursive"},
		"below":      {leaf.Cid(), api.Conflict, "pinned via " + dir.Cid().String()},
		"not there":  {file("none").Cid(), api.NotFound, "block " + file("none").Cid().String() + " is not here"},
		"not needed": {free.Cid(), "", ""},
	} {
		err := n.Delete(t.Context(), tc.c)
		if api.KindOf(err) != tc.kind || err != nil && err.Error() != tc.text {
			t.Errorf("%s: got %v, want %q", name, err, tc.text)
		}
	}
	for c, err := range n.Stored(context.Background()) {
		if err != nil || string(c.Hash()) == string(free.Cid().Hash()) {
			t.Errorf("%s is still listed, %v", c, err)
		}
	}
	if got, err := n.CountStored(t.Context()); got != 2 || err != nil {
		t.Errorf("got %d blocks, %v; want 2", got, err)
	}
	var below []cid.Cid
	for k, err := range n.Below(t.Context(), true) {
		if err != nil || !k.Pin.Equals(dir.Cid()) {
			t.Fatalf("got %v, %v", k, err)
		}
		below = append(below, k.Cid.Cid)
	}
	if len(below) != 1 || !below[0].Equals(leaf.Cid()) {
		t.Errorf("got %v below, want %s", below, leaf.Cid())
	}
}

// Names in the tree are any bytes. What earlier versions noted is read too.
func TestNode_NotesFilesOfAnyName(t *testing.T) {
	n := offlineNode(t, t.TempDir())
	defer n.Close()
	c := api.Cid{Cid: unixfs.EmptyDirNode().Cid()}
	notes := map[string]api.Cid{"\xff\xfe": c, "": c, "ä": c}
	if err := n.SetKeptFiles(t.Context(), notes); err != nil {
		t.Fatal(err)
	}
	if got, err := n.KeptFiles(t.Context()); err != nil || !maps.Equal(got, notes) {
		t.Errorf("got %q, %v", got, err)
	}
	earlier := map[string]api.Cid{"a": c, "b": c}
	v, err := api.Encode(earlier)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.files.db.Set([]byte{prefixKept}, v, pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if got, err := n.KeptFiles(t.Context()); err != nil || !maps.Equal(got, earlier) {
		t.Errorf("of an earlier version: got %q, %v", got, err)
	}
}
