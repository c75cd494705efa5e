package pintracker

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/pinfold-cluster/pinfold/api"
)

func TestJournal_KeepsRows(t *testing.T) {
	dir := t.TempDir()
	j, err := openJournal(dir, quietLog)
	if err != nil {
		t.Fatal(err)
	}
	want := row{Kind: pinOp, Attempts: 3, Rank: 2, At: 5, Next: 6, Cause: api.CauseStalled, Error: "slow", Bytes: 7, Size: 8}
	failed, ours, gone := numbered(1), numbered(2), numbered(3)
	j.put(failed, &want)
	j.put(ours, &row{})
	j.put(gone, &want)
	if err := j.flush(); err != nil {
		t.Fatal(err)
	}
	j.put(gone, nil) // written by close
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	if j, err = openJournal(dir, quietLog); err != nil {
		t.Fatal(err)
	}
	defer j.close()
	got := map[api.Cid]row{}
	if err := j.load(func(c api.Cid, r row) { got[c] = r }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[failed] != want || got[ours] != (row{}) {
		t.Fatalf("%+v", got)
	}
	for c, want := range map[api.Cid]bool{failed: true, ours: true, gone: false} {
		if ok, err := j.has(c); ok != want || err != nil {
			t.Fatalf("has %v: %v, %v", c, ok, err)
		}
	}
	j.put(failed, nil)
	j.put(gone, &row{})
	for c, want := range map[api.Cid]bool{failed: false, gone: true} {
		if ok, err := j.has(c); ok != want || err != nil {
			t.Fatalf("has, unwritten: %v, %v", ok, err)
		}
	}
}

func TestClip(t *testing.T) {
	for _, s := range []string{"", "short", strings.Repeat("ä", maxText), "x" + strings.Repeat("€", maxText)} {
		got := clip(s)
		if len(got) > maxText || !strings.HasPrefix(s, got) || !utf8.ValidString(got) || len(s) <= maxText && got != s {
			t.Errorf("%d bytes to %d", len(s), len(got))
		}
	}
}

// A damaged row must not keep a peer from starting.
func FuzzDecodeRow(f *testing.F) {
	good, err := api.Encode(row{Kind: pinOp, Attempts: 3, Next: 1 << 60, Cause: api.CauseDiskFull, Error: "full"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(numbered(1).KeyString()), good)
	f.Add([]byte(numbered(2).KeyString()), []byte{})
	f.Add([]byte{1}, []byte{0xbf})
	f.Fuzz(func(t *testing.T, k, v []byte) {
		c, r, err := decodeRow(k, v)
		if err != nil {
			return
		}
		tr := &Tracker{ops: newOps(), o: Options{}.WithDefaults()}
		tr.restore(c, r)
		if o := tr.ops.get(c); o != nil {
			o.glimpse()
			tr.ops.remove(o)
		}
		if tr.ops.pins != 0 || tr.ops.bytes != 0 || tr.ops.parked.Len() != 0 {
			t.Fatal("the books do not balance")
		}
	})
}
