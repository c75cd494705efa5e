package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn"
	"github.com/pinfold-cluster/pinfold/ipfsconn/ipfsconntest"
)

var quiet = slog.New(slog.DiscardHandler)

// offLine opens a node without a host.
func offLine(t testing.TB, o Options) *Node {
	t.Helper()
	n, err := New(nil, t.TempDir(), o, nil, quiet)
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

func TestSuiteOffLine(t *testing.T) {
	ipfsconntest.Run(t, func(t *testing.T) ipfsconn.Connector { return offLine(t, Options{}) })
}

func TestNode_KeepsPinsOverARestart(t *testing.T) {
	dir := t.TempDir()
	n, err := New(nil, dir, Options{}, nil, quiet)
	if err != nil {
		t.Fatal(err)
	}
	pinned, added := ipfsconntest.File(t, 1, 3, 1000), ipfsconntest.File(t, 2, 3, 1000)
	ipfsconntest.Add(t, n, pinned)
	ipfsconntest.Add(t, n, added)
	if err := n.Pin(t.Context(), ipfsconntest.Pin(pinned.Root), nil); err != nil {
		t.Fatal(err)
	}
	open, err := n.OpenAdd(t.Context(), 0) // an add that the end of the process breaks off
	if err != nil {
		t.Fatal(err)
	}
	lost := ipfsconntest.File(t, 3, 3, 1000)
	if err := open.Put(t.Context(), lost.Blocks); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err = New(nil, dir, Options{}, nil, quiet); err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if gone := ipfsconntest.Collect(t, n); len(gone) != len(lost.Blocks) {
		t.Fatalf("%d blocks went, want those of the broken add", len(gone))
	}
	for i, tree := range []ipfsconntest.Tree{pinned, added} {
		if _, ok, err := n.PinStatus(t.Context(), tree.Root); err != nil || !ok {
			t.Fatalf("pin %d is gone (%v)", i, err)
		}
	}
	for m, err := range n.Marks(t.Context()) {
		if err != nil || m.Cid != added.Root {
			t.Fatalf("mark %v, %v", m, err)
		}
	}
}

func TestNode_RefusesOnceClosed(t *testing.T) {
	n, err := New(nil, t.TempDir(), Options{}, nil, quiet)
	if err != nil {
		t.Fatal(err)
	}
	tree := ipfsconntest.File(t, 1, 1, 10)
	add := ipfsconntest.Put(t, n, tree.Blocks...)
	for range 2 {
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
	_, open := n.OpenAdd(t.Context(), 0)
	_, _, status := n.PinStatus(t.Context(), tree.Root)
	_, block := n.Block(t.Context(), tree.Root)
	_, stat := n.RepoStat(t.Context())
	_, resolve := n.Resolve(t.Context(), "/ipfs/"+tree.Root.String())
	errs := map[string]error{"open": open, "status": status, "block": block, "stat": stat, "resolve": resolve,
		"put": add.Put(t.Context(), tree.Blocks), "commit": add.Commit(t.Context(), tree.Root), "unpin": n.Unpin(t.Context(), tree.Root),
		"find": n.Find(t.Context(), ipfsconntest.Pin(tree.Root)), "pin": n.Pin(t.Context(), ipfsconntest.Pin(tree.Root), nil), "mark": n.ClearMark(t.Context(), tree.Root)}
	for _, errs["pinned"] = range n.Pinned(t.Context(), api.CidUndef) {
	}
	for _, errs["marks"] = range n.Marks(t.Context()) {
	}
	for _, errs["gc"] = range n.GC(t.Context()) {
	}
	for what, err := range errs {
		if api.KindOf(err) != api.Unavailable {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := add.Abort(); err != nil {
		t.Fatal(err)
	}
}

// A pin that waits for blocks ends with the node, before the stores close.
func TestNode_CloseEndsFetches(t *testing.T) {
	other := onLine(t, Options{})
	n := onLine(t, Options{}, other)
	done := make(chan error, 1)
	go func() { done <- n.Pin(t.Context(), ipfsconntest.Pin(ipfsconntest.File(t, 1, 1, 10).Root), nil) }()
	for len(n.bitswap.GetWantlist()) == 0 {
		<-time.After(time.Millisecond)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if api.KindOf(err) != api.Unavailable {
			t.Fatalf("error %v of kind %q", err, api.KindOf(err))
		}
	case <-time.After(time.Minute):
		t.Fatal("the pin goes on")
	}
}

// Every DAG that is pinned, by fetch or by add, is whole although garbage is collected all the
// time.
func TestPin_AmidCollections(t *testing.T) {
	holder := onLine(t, Options{})
	n := onLine(t, Options{}, holder)
	shared := ipfsconntest.Leaf(t, 99, 1000)
	var trees []ipfsconntest.Tree
	for i := range 40 {
		leaf := ipfsconntest.Leaf(t, uint64(i), 1000)
		tree := ipfsconntest.Tree{}.Over(t, leaf, shared)
		tree.Blocks = append(tree.Blocks, leaf, shared)
		ipfsconntest.Put(t, holder, tree.Blocks...)
		trees = append(trees, tree)
	}
	ctx, cancel := context.WithCancel(within(t, time.Minute))
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			for _, err := range n.GC(ctx) {
				if err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
		}
	})
	var work sync.WaitGroup
	for w := range 4 {
		work.Go(func() {
			for i := w; i < len(trees); i += 4 {
				if err := pinAndUnpin(ctx, n, trees[i], i%2 == 0); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	work.Wait()
	cancel()
	wg.Wait()
	for _, tree := range trees {
		for _, b := range tree.Blocks {
			if ok, err := n.blocks.Has(t.Context(), b.Cid()); err != nil || !ok {
				t.Fatalf("block %s of a pin is gone (%v)", b.Cid(), err)
			}
		}
	}
	if gone := ipfsconntest.Collect(t, n); len(gone) > 0 {
		t.Fatalf("%d more blocks went in the end", len(gone))
	}
}

// pinAndUnpin pins a tree, unpins it, and pins it again, so that it is garbage meanwhile.
func pinAndUnpin(ctx context.Context, n *Node, tree ipfsconntest.Tree, byAdd bool) error {
	for range 3 {
		if err := n.Unpin(ctx, tree.Root); err != nil {
			return err
		}
		if byAdd {
			a, err := n.OpenAdd(ctx, tree.Size)
			if err != nil {
				return err
			}
			if err := errors.Join(a.Put(ctx, tree.Blocks), a.Commit(ctx, tree.Root)); err != nil {
				return err
			}
		}
		if err := n.Pin(ctx, ipfsconntest.Pin(tree.Root), nil); err != nil {
			return fmt.Errorf("pin %s: %w", tree.Root, err)
		}
	}
	return nil
}
