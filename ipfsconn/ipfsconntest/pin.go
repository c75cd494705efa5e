package ipfsconntest

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn"
)

func pinnedInOrder(t *testing.T, n ipfsconn.Connector) {
	if got := pinned(t, n, api.CidUndef); len(got) != 0 {
		t.Fatalf("a new node has pins: %v", got)
	}
	var want []api.Cid
	modes := map[api.Cid]api.PinMode{}
	for i := range 12 {
		tree := File(t, uint64(i), 1, 50)
		a := Put(t, n, tree.Blocks...)
		p := Pin(tree.Root)
		if i%2 == 1 {
			p = direct(tree.Root)
		}
		pin(t, n, p)
		if err := a.Abort(); err != nil {
			t.Fatal(err)
		}
		want, modes[tree.Root] = append(want, tree.Root), p.Mode
		wantStatus(t, n, tree.Root, p.Mode, true)
	}
	sorted(want...)
	for i := range want {
		after := api.CidUndef
		if i > 0 {
			after = want[i-1]
		}
		var got []api.Cid
		for _, p := range pinned(t, n, after) {
			if p.Mode != modes[p.Cid] {
				t.Fatalf("%s is listed as %v, pinned as %v", p.Cid, p.Mode, modes[p.Cid])
			}
			got = append(got, p.Cid)
		}
		if !slices.Equal(got, want[i:]) {
			t.Fatalf("after %d: %v, want %v", i, got, want[i:])
		}
	}
	for range n.Pinned(t.Context(), api.CidUndef) {
		break // and leaving early harms nothing
	}
	if err := n.Unpin(t.Context(), want[3]); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, n, want[3], 0, false)
	if got := len(pinned(t, n, api.CidUndef)); got != 11 {
		t.Fatalf("%d pins after an unpin, want 11", got)
	}
}

func modeChanges(t *testing.T, n ipfsconn.Connector) {
	tree := File(t, 1, 3, 100)
	a := Put(t, n, tree.Blocks...)
	for _, p := range []api.Pin{direct(tree.Root), Pin(tree.Root), Pin(tree.Root), direct(tree.Root)} {
		pin(t, n, p)
		wantStatus(t, n, tree.Root, p.Mode, true)
		if got := pinned(t, n, api.CidUndef); len(got) != 1 || got[0].Mode != p.Mode {
			t.Fatalf("listed as %v, want %v", got, p.Mode)
		}
	}
	if err := a.Abort(); err != nil {
		t.Fatal(err)
	}
}

func unpinOfNothing(t *testing.T, n ipfsconn.Connector) {
	if err := n.Unpin(t.Context(), File(t, 1, 1, 100).Root); err != nil {
		t.Fatal(err)
	}
}

func missingContent(t *testing.T, n ipfsconn.Connector) {
	tree := File(t, 1, 1, 100)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	wantKind(t, n.Find(ctx, Pin(tree.Root)), api.Unavailable, api.CauseNoProvider)
	wantKind(t, n.Pin(ctx, Pin(tree.Root), nil), api.Unavailable, api.CauseNoProvider)
	wantStatus(t, n, tree.Root, 0, false)
	if _, err := n.Block(ctx, tree.Root); err == nil {
		t.Fatal("a block came out of nothing")
	}
	Put(t, n, tree.Blocks...)
	if err := n.Find(t.Context(), Pin(tree.Root)); err != nil {
		t.Fatalf("find what is here: %v", err)
	}
}

func missingLeaf(t *testing.T, n ipfsconn.Connector) {
	tree := File(t, 1, 3, 100)
	Put(t, n, tree.Blocks[0], tree.Blocks[3])
	var err error
	for wait := time.Second; api.CauseOf(err) != api.CauseStalled && wait < time.Minute; wait *= 2 { // a slow machine gets to the leaves later
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		err = n.Pin(ctx, Pin(tree.Root), nil)
		cancel()
	}
	wantKind(t, err, api.Unavailable, api.CauseStalled)
	wantStatus(t, n, tree.Root, 0, false)
	pin(t, n, direct(tree.Root))
	Put(t, n, tree.Blocks[1], tree.Blocks[2])
	pin(t, n, Pin(tree.Root))
}

func pinReportsGrowingBytes(t *testing.T, n ipfsconn.Connector) {
	tree := File(t, 1, 8, 1000)
	Put(t, n, tree.Blocks...)
	var last uint64
	err := n.Pin(t.Context(), Pin(tree.Root), func(bytes uint64) {
		if bytes < last {
			t.Errorf("%d bytes after %d", bytes, last)
		}
		last = bytes
	})
	if err != nil {
		t.Fatal(err)
	}
	if last < tree.Size/2 || last > 2*tree.Size {
		t.Fatalf("%d bytes in the end, the DAG has %d", last, tree.Size)
	}
}

func gcKeepsWhatIsNeeded(t *testing.T, n ipfsconn.Connector) {
	shared := Leaf(t, 99, 500)
	one := Tree{}.Over(t, Leaf(t, 1, 500), shared)
	two := Tree{}.Over(t, Leaf(t, 2, 500), shared)
	a := Put(t, n, Leaf(t, 1, 500), Leaf(t, 2, 500), shared, one.Blocks[0], two.Blocks[0])
	pin(t, n, Pin(one.Root))
	pin(t, n, Pin(two.Root))
	if err := a.Abort(); err != nil {
		t.Fatal(err)
	}
	if gone := Collect(t, n); len(gone) != 0 {
		t.Fatalf("%d pinned blocks went", len(gone))
	}
	if err := n.Unpin(t.Context(), two.Root); err != nil {
		t.Fatal(err)
	}
	gone := Collect(t, n)
	if !gone[string(two.Root.Hash())] || !gone[string(Leaf(t, 2, 500).Cid().Hash())] || len(gone) != 2 {
		t.Fatalf("%d blocks went, want the two that only the unpinned DAG had", len(gone))
	}
	pin(t, n, Pin(one.Root)) // whole still
	if _, err := n.Block(t.Context(), api.Cid{Cid: shared.Cid()}); err != nil {
		t.Fatal("a shared block went")
	}
}

// gcSparesAnUnfinishedAdd: a node either keeps the blocks or does not collect.
func gcSparesAnUnfinishedAdd(t *testing.T, n ipfsconn.Connector) {
	tree := File(t, 1, 3, 100)
	a := Put(t, n, tree.Blocks...)
	for _, err := range n.GC(t.Context()) {
		if err != nil && api.KindOf(err) != api.Conflict {
			t.Fatalf("collect: %v", err)
		}
	}
	if err := a.Commit(t.Context(), tree.Root); err != nil {
		t.Fatal(err)
	}
	Collect(t, n)
	pin(t, n, Pin(tree.Root))
}

func repoStatCountsBlocks(t *testing.T, n ipfsconn.Connector) {
	before, err := n.RepoStat(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if before.StorageMax == 0 || before.Free == 0 || before.Free > before.StorageMax {
		t.Fatalf("an empty node: %+v", before)
	}
	Add(t, n, File(t, 1, 4, 256<<10))
	after, err := n.RepoStat(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if after.RepoSize < before.RepoSize+1<<20 {
		t.Fatalf("%d bytes, then %d after an add of 1 MiB", before.RepoSize, after.RepoSize)
	}
	a, err := n.OpenAdd(t.Context(), 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	during, err := n.RepoStat(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if during.Free > after.Free-32<<20 { // others write to the disk meanwhile
		t.Fatalf("%d bytes free, then %d with 64 MiB set aside", after.Free, during.Free)
	}
	if err := a.Abort(); err != nil {
		t.Fatal(err)
	}
}

func resolve(t *testing.T, n ipfsconn.Connector) {
	const nobody = "12D3KooWC8NtBkDE4zvXcdDozfqR7hzdXkTMf2Sz3TCd3EwkWtog" // has published nothing
	one, two := File(t, 1, 2, 100), File(t, 2, 2, 100)
	sub := Directory(t, map[string]Tree{"two": two})
	dir := Directory(t, map[string]Tree{name(1): one, "sub": sub})
	Add(t, n, dir)
	root := "/ipfs/" + dir.Root.String()
	for path, want := range map[string]api.Cid{
		root: dir.Root, root + "/": dir.Root, root + "/file-1": one.Root, root + "/sub": sub.Root, root + "/sub/two": two.Root,
	} {
		got, err := n.Resolve(t.Context(), path)
		if err != nil || got != want {
			t.Fatalf("%s leads to %v (%v), want %v", path, got, err, want)
		}
	}
	for path, kind := range map[string]api.Kind{
		root + "/none": api.NotFound, root + "/sub/none": api.NotFound,
		"/ipfs/notacid": api.Invalid, "": api.Invalid, "/": api.Invalid, "/ipfs": api.Invalid, "/nowhere/" + dir.Root.String(): api.Invalid,
		"/ipns/" + nobody: api.NotFound, "/ipns/" + nobody + "/a": api.NotFound,
	} {
		got, err := n.Resolve(t.Context(), path)
		if api.KindOf(err) != kind {
			t.Fatalf("%q leads to %v, error %v; want one of kind %q", path, got, err, kind)
		}
	}
}

// identityIsKnown: a CID that holds its own data needs no block.
func identityIsKnown(t *testing.T, n ipfsconn.Connector) {
	h, err := multihash.Sum([]byte("hello"), multihash.IDENTITY, -1)
	if err != nil {
		t.Fatal(err)
	}
	c := api.Cid{Cid: cid.NewCidV1(cid.Raw, h)}
	got, err := n.Block(t.Context(), c)
	if err != nil || string(got) != "hello" {
		t.Fatalf("%q, %v", got, err)
	}
	pin(t, n, Pin(c))
	Collect(t, n)
	wantStatus(t, n, c, api.PinRecursive, true)
}
