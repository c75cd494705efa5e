package ipfsconntest

import (
	"bytes"
	"testing"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn"
)

func addIsPinnedAndMarked(t *testing.T, n ipfsconn.Connector) {
	tree, before := File(t, 1, 4, 1000), time.Now().Add(-2*time.Second)
	Add(t, n, tree)
	wantStatus(t, n, tree.Root, api.PinRecursive, true)
	wantMarks(t, n, tree.Root)
	if since := marks(t, n)[0].Since; since.Before(before) || since.After(time.Now().Add(2*time.Second)) {
		t.Fatalf("marked since %v, now %v", since, time.Now())
	}
	for _, b := range tree.Blocks {
		got, err := n.Block(t.Context(), api.Cid{Cid: b.Cid()})
		if err != nil || !bytes.Equal(got, b.RawData()) {
			t.Fatalf("block %s: %d bytes, %v", b.Cid(), len(got), err)
		}
	}
	if err := n.ClearMark(t.Context(), tree.Root); err != nil {
		t.Fatalf("clear mark: %v", err)
	}
	if err := n.ClearMark(t.Context(), tree.Root); err != nil {
		t.Fatalf("clear no mark: %v", err)
	}
	wantMarks(t, n)
	wantStatus(t, n, tree.Root, api.PinRecursive, true)
}

func pinTakesOverTheMark(t *testing.T, n ipfsconn.Connector) {
	one, two := File(t, 1, 2, 100), File(t, 2, 2, 100)
	Add(t, n, one)
	Add(t, n, two)
	wantMarks(t, n, sorted(one.Root, two.Root)...)
	pin(t, n, Pin(one.Root))
	wantMarks(t, n, two.Root)
	wantStatus(t, n, one.Root, api.PinRecursive, true)
}

func unpinTakesTheMarkToo(t *testing.T, n ipfsconn.Connector) {
	tree := File(t, 1, 2, 100)
	Add(t, n, tree)
	if err := n.Unpin(t.Context(), tree.Root); err != nil {
		t.Fatal(err)
	}
	wantMarks(t, n)
	wantStatus(t, n, tree.Root, 0, false)
}

func addOfSomethingPinned(t *testing.T, n ipfsconn.Connector) {
	tree := File(t, 1, 2, 100)
	Add(t, n, tree)
	Add(t, n, tree)
	wantMarks(t, n, tree.Root)
	if m := marks(t, n)[0]; m.Before {
		t.Fatal("an add again is still nobody's")
	}
	pin(t, n, Pin(tree.Root))
	Add(t, n, tree)
	wantMarks(t, n, tree.Root) // whoever pinned it may unpin it while the add's pin is on its way
	if m := marks(t, n)[0]; !m.Before {
		t.Fatal("the pin is somebody's: nothing may take it away for the add")
	}
	wantStatus(t, n, tree.Root, api.PinRecursive, true)
	pin(t, n, Pin(tree.Root))
	wantMarks(t, n)
	Add(t, n, tree)
	if err := n.ClearMark(t.Context(), tree.Root); err != nil {
		t.Fatal(err)
	}
	wantMarks(t, n)
	wantStatus(t, n, tree.Root, api.PinRecursive, true)

	other := File(t, 2, 2, 100)
	Put(t, n, other.Blocks...)
	pin(t, n, direct(other.Root))
	Add(t, n, other)
	wantStatus(t, n, other.Root, api.PinRecursive, true)
	if ms := marks(t, n); len(ms) != 1 || ms[0].Cid != other.Root || !ms[0].Before {
		t.Fatalf("marks of what was pinned directly: %+v", ms)
	}
}

func commitNeedsItsRoot(t *testing.T, n ipfsconn.Connector) {
	tree := File(t, 1, 2, 100)
	a := Put(t, n, tree.Blocks[:2]...)
	wantKind(t, a.Commit(t.Context(), tree.Root), api.NotFound, "")
	if err := a.Abort(); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, n, tree.Root, 0, false)
	wantMarks(t, n)
}

func abortedAddIsGarbage(t *testing.T, n ipfsconn.Connector) {
	tree := File(t, 1, 3, 100)
	a := Put(t, n, tree.Blocks...)
	for range 2 {
		if err := a.Abort(); err != nil {
			t.Fatal(err)
		}
	}
	gone := Collect(t, n)
	for _, b := range tree.Blocks {
		if !gone[string(b.Cid().Hash())] || Has(t, n, b.Cid()) {
			t.Fatalf("block %s is still here", b.Cid())
		}
	}
}

func endedAddTakesNothing(t *testing.T, n ipfsconn.Connector) {
	tree := File(t, 1, 1, 100)
	a := Put(t, n, tree.Blocks...)
	if err := a.Commit(t.Context(), tree.Root); err != nil {
		t.Fatal(err)
	}
	wantKind(t, a.Put(t.Context(), tree.Blocks), api.Conflict, "")
	wantKind(t, a.Commit(t.Context(), tree.Root), api.Conflict, "")
	if err := a.Abort(); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, n, tree.Root, api.PinRecursive, true)
}

func wrongHashIsRefused(t *testing.T, n ipfsconn.Connector) {
	good := Leaf(t, 1, 100)
	bad, err := blocks.NewBlockWithCid([]byte("something else"), good.Cid())
	if err != nil {
		t.Fatal(err)
	}
	a := Put(t, n, Leaf(t, 2, 100))
	wantKind(t, a.Put(t.Context(), []blocks.Block{Leaf(t, 3, 100), bad}), api.Invalid, api.CauseBadBlock)
	if err := a.Abort(); err != nil {
		t.Fatal(err)
	}
	if Has(t, n, good.Cid()) {
		t.Fatal("the wrong bytes were taken")
	}
}

func tooBigBlockIsRefused(t *testing.T, n ipfsconn.Connector) {
	a, err := n.OpenAdd(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Put(t.Context(), []blocks.Block{Leaf(t, 1, ipfsconn.MaxBlockSize)}); err != nil {
		t.Fatalf("a block of the greatest size: %v", err)
	}
	wantKind(t, a.Put(t.Context(), []blocks.Block{Leaf(t, 1, ipfsconn.MaxBlockSize+1)}), api.TooLarge, api.CauseTooBig)
	if err := a.Abort(); err != nil {
		t.Fatal(err)
	}
}

func tooBigAddIsRefused(t *testing.T, n ipfsconn.Connector) {
	_, err := n.OpenAdd(t.Context(), 1<<60)
	wantKind(t, err, api.Full, api.CauseDiskFull)
	Add(t, n, File(t, 1, 1, 100)) // and nothing stays set aside
}

// codecsAndHashesSurvive: one add may hold blocks of several codecs, CID versions and
// hash functions, as a CAR does.
func codecsAndHashesSurvive(t *testing.T, n ipfsconn.Connector) {
	file := File(t, 1, 2, 100)
	root := file.Blocks[2]
	v0 := cid.NewCidV0(root.Cid().Hash())
	asV0, err := blocks.NewBlockWithCid(root.RawData(), v0)
	if err != nil {
		t.Fatal(err)
	}
	cbor := Block(t, cid.DagCBOR, []byte{0xa1, 0x61, 0x61, 0x01}) // {"a": 1}
	sum, err := cid.V1Builder{Codec: cid.Raw, MhType: multihash.SHA2_512}.Sum([]byte("long hash"))
	if err != nil {
		t.Fatal(err)
	}
	long, err := blocks.NewBlockWithCid([]byte("long hash"), sum)
	if err != nil {
		t.Fatal(err)
	}
	a := Put(t, n, file.Blocks[0], asV0, cbor, long, file.Blocks[1])
	if err := a.Commit(t.Context(), api.Cid{Cid: v0}); err != nil {
		t.Fatal(err)
	}
	for _, b := range []blocks.Block{asV0, cbor, long} {
		got, err := n.Block(t.Context(), api.Cid{Cid: b.Cid()})
		if err != nil || !bytes.Equal(got, b.RawData()) {
			t.Fatalf("block %s: %d bytes, %v", b.Cid(), len(got), err)
		}
	}
	wantStatus(t, n, api.Cid{Cid: v0}, api.PinRecursive, true)
	pin(t, n, Pin(api.Cid{Cid: cbor.Cid()}))
	wantStatus(t, n, api.Cid{Cid: cbor.Cid()}, api.PinRecursive, true)
}
