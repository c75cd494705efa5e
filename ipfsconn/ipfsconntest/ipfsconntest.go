// Package ipfsconntest is the suite that every ipfsconn.Connector passes, and the
// small DAGs it is made with.
package ipfsconntest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn"
)

// Run tests connectors. Each call of open returns one to a node that holds nothing
// and reaches nobody, and has it closed at the end of the test.
func Run(t *testing.T, open func(t *testing.T) ipfsconn.Connector) {
	for name, test := range map[string]func(*testing.T, ipfsconn.Connector){
		"AddIsPinnedAndMarked":        addIsPinnedAndMarked,
		"PinTakesOverTheMark":         pinTakesOverTheMark,
		"UnpinTakesTheMarkToo":        unpinTakesTheMarkToo,
		"AddOfSomethingPinned":        addOfSomethingPinned,
		"CommitNeedsItsRoot":          commitNeedsItsRoot,
		"AbortedAddIsGarbage":         abortedAddIsGarbage,
		"EndedAddTakesNothing":        endedAddTakesNothing,
		"WrongHashIsRefused":          wrongHashIsRefused,
		"TooBigBlockIsRefused":        tooBigBlockIsRefused,
		"TooBigAddIsRefused":          tooBigAddIsRefused,
		"CodecsAndHashesSurvive":      codecsAndHashesSurvive,
		"PinnedInOrder":               pinnedInOrder,
		"ModeChanges":                 modeChanges,
		"UnpinOfNothing":              unpinOfNothing,
		"MissingContent":              missingContent,
		"MissingLeaf":                 missingLeaf,
		"GCKeepsWhatIsNeeded":         gcKeepsWhatIsNeeded,
		"GCSparesAnUnfinishedAdd":     gcSparesAnUnfinishedAdd,
		"RepoStatCountsBlocks":        repoStatCountsBlocks,
		"Resolve":                     resolve,
		"IdentityIsKnown":             identityIsKnown,
		"PinReportsGrowingBytesToEnd": pinReportsGrowingBytes,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// Add puts a tree on the node by an add, which pins and marks it.
func Add(t testing.TB, n ipfsconn.Connector, tree Tree) {
	t.Helper()
	a := Put(t, n, tree.Blocks...)
	if err := a.Commit(t.Context(), tree.Root); err != nil {
		t.Fatalf("commit: %v", err)
	}
}

// Put opens an add and puts blocks.
func Put(t testing.TB, n ipfsconn.Connector, bs ...blocks.Block) ipfsconn.Add {
	t.Helper()
	a, err := n.OpenAdd(t.Context(), 0)
	if err != nil {
		t.Fatalf("open add: %v", err)
	}
	if err := a.Put(t.Context(), bs); err != nil {
		t.Fatalf("put: %v", err)
	}
	return a
}

// Pin makes a pin record of mode recursive.
func Pin(c api.Cid) api.Pin { return api.NewPin(c, api.PinOptions{}, time.Now()) }

func direct(c api.Cid) api.Pin {
	return api.NewPin(c, api.PinOptions{Mode: api.PinDirect}, time.Now())
}

// Has tells whether the node has a block, by asking for it with little patience.
func Has(t testing.TB, n ipfsconn.Connector, c cid.Cid) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
	defer cancel()
	_, err := n.Block(ctx, api.Cid{Cid: c})
	return err == nil
}

// Collect collects garbage and returns the hashes of what went.
func Collect(t testing.TB, n ipfsconn.Connector) map[string]bool {
	t.Helper()
	gone := map[string]bool{}
	for k, err := range n.GC(t.Context()) {
		if err != nil {
			t.Fatalf("collect: %v", err)
		}
		if k.Error != "" {
			t.Fatalf("collect %s: %s", k.Key, k.Error)
		}
		gone[string(k.Key.Hash())] = true
	}
	return gone
}

func wantKind(t *testing.T, err error, kind api.Kind, cause api.Cause) {
	t.Helper()
	if api.KindOf(err) != kind || cause != "" && api.CauseOf(err) != cause {
		t.Fatalf("error %v of kind %q, cause %q; want %q, %q", err, api.KindOf(err), api.CauseOf(err), kind, cause)
	}
}

func wantStatus(t *testing.T, n ipfsconn.Connector, c api.Cid, mode api.PinMode, pinned bool) {
	t.Helper()
	gotMode, got, err := n.PinStatus(t.Context(), c)
	if err != nil || got != pinned || pinned && gotMode != mode {
		t.Fatalf("status %v, pinned %v, error %v; want %v, %v", gotMode, got, err, mode, pinned)
	}
}

func marks(t *testing.T, n ipfsconn.Connector) []api.Mark {
	t.Helper()
	var ms []api.Mark
	for m, err := range n.Marks(t.Context()) {
		if err != nil {
			t.Fatalf("marks: %v", err)
		}
		ms = append(ms, m)
	}
	return ms
}

func wantMarks(t *testing.T, n ipfsconn.Connector, want ...api.Cid) {
	t.Helper()
	var got []api.Cid
	for _, m := range marks(t, n) {
		got = append(got, m.Cid)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("marks %v, want %v", got, want)
	}
}

func pinned(t *testing.T, n ipfsconn.Connector, after api.Cid) []api.PinnedCid {
	t.Helper()
	var ps []api.PinnedCid
	for p, err := range n.Pinned(t.Context(), after) {
		if err != nil {
			t.Fatalf("pinned: %v", err)
		}
		ps = append(ps, p)
	}
	return ps
}

func pin(t *testing.T, n ipfsconn.Connector, p api.Pin) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := n.Pin(ctx, p, nil); err != nil {
		t.Fatalf("pin %s: %v", p.Cid, err)
	}
}

func sorted(cs ...api.Cid) []api.Cid {
	slices.SortFunc(cs, func(a, b api.Cid) int { return bytes.Compare(a.Bytes(), b.Bytes()) })
	return cs
}

func name(i int) string { return fmt.Sprintf("file-%d", i) }
