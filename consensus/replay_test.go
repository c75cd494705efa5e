package consensus

import (
	"fmt"
	"testing"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/state"
)

// A copy of the state from some time ago and the log make what the peer acknowledged.
func TestReplay_BringsACopyUpToTheLog(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 1, quick)
	n := g.leader()
	for i := range 5 {
		g.must(n, pinOp(fmt.Sprint(i)))
	}
	old, err := n.st.Copy(t.TempDir())
	check(t, err)
	defer old.Close()
	for i := range 5 {
		g.must(n, pinOp(fmt.Sprint("later", i)))
	}
	want := n.st.Digest()
	n.stop()
	if old.Digest() == want {
		t.Fatal("the copy goes with its original")
	}
	check(t, Replay(n.raftDir(), old))
	if got := old.Digest(); got.Pins != want.Pins || got.Index < want.Index {
		t.Errorf("the copy is at %v, want %v", got, want)
	}

	behind, err := state.Open(t.TempDir(), state.Options{}, testLog(t))
	check(t, err)
	defer behind.Close()
	check(t, Replay(n.raftDir(), behind))
	if got := behind.Digest(); got.Pins != want.Pins {
		t.Errorf("from nothing it comes to %v, want %v", got, want)
	}
}

func TestReplay_RefusesAGap(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 1, quick)
	n := g.leader()
	g.must(n, pinOp("a"))
	last, err := n.c.logs.LastIndex()
	check(t, err)
	n.stop()
	db, err := openBolt(n.raftDir())
	check(t, err)
	check(t, db.DeleteRange(1, last-1))
	check(t, db.Close())
	st, err := state.Open(t.TempDir(), state.Options{}, testLog(t))
	check(t, err)
	defer st.Close()
	if err := Replay(n.raftDir(), st); api.KindOf(err) != api.Conflict {
		t.Errorf("Replay over a gap: %v, want a conflict", err)
	}
}
