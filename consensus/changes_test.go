package consensus

import (
	"testing"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/state"
)

// What the listener is told of each entry is enough to make the same pinset elsewhere,
// which the digests show at every step.
func TestMachine_ChangesMakeACopy(t *testing.T) {
	b := newBench(t)
	b.apply(api.Op{Type: api.OpSession, Peer: fixedID("p"), Session: 1}) // no change of the pinset
	b.apply(pinOp("a"), pinOp("b"))
	again := pinOp("a")
	again.Revision = 2
	again.Pin.Name = "renamed"
	b.apply(again, pinOp("a")) // the second is stale
	b.apply(pinOp("a"))        // stale altogether
	b.apply(pinOp("c"), unpinOp("c", 5), unpinOp("b", 2))
	b.apply(pinOp("b"))

	told := b.told.changes
	if len(told) != 4 {
		t.Fatalf("told of %d entries, want the 4 that changed a pin: %+v", len(told), told)
	}
	rows := 0
	copied, err := state.Open(t.TempDir(), state.Options{}, testLog(t))
	check(t, err)
	defer copied.Close()
	for _, c := range told {
		batch := copied.NewBatch()
		if got := batch.Digest().Pins; got != c.Before {
			t.Errorf("before entry %d the copy's digest is %x, told %x", c.Index, got, c.Before)
		}
		for _, r := range c.Rows {
			check(t, batch.PutRow(r))
			rows++
		}
		if got := batch.Digest().Pins; got != c.After {
			t.Errorf("after entry %d the copy's digest is %x, told %x", c.Index, got, c.After)
		}
		check(t, batch.Commit(c.Index))
	}
	if got, want := copied.Digest().Pins, b.m.st.Digest().Pins; got != want {
		t.Errorf("the copy's digest is %x, want %x", got, want)
	}
	if rows != 6 {
		t.Errorf("told of %d rows, want 6: one for each CID that an entry changed", rows)
	}
}
