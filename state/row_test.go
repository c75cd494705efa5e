package state

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/pinfold-cluster/pinfold/api"
)

func openTest(t testing.TB) *State {
	t.Helper()
	s, err := Open(t.TempDir(), Options{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// fill commits pins 0 to n-1 of testPin at index.
func fill(t testing.TB, s *State, n int, index uint64) {
	t.Helper()
	b := s.NewBatch()
	for i := range n {
		p := testPin(i)
		p.Revision = uint64(i + 1)
		if err := b.Put(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Commit(index); err != nil {
		t.Fatal(err)
	}
}

func TestRows_CopyAState(t *testing.T) {
	from, to := openTest(t), openTest(t)
	fill(t, from, 500, 700)
	f, err := from.Freeze()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fill(t, from, 1000, 800) // not part of what is frozen

	if d := f.Digest(); d.Index != 700 || f.Stats().Pins != 500 {
		t.Fatalf("frozen at %d with %d pins, want 700 with 500", d.Index, f.Stats().Pins)
	}
	b := to.NewBatch()
	var last []byte
	middle := testCid(250).Bytes()
	for _, part := range [][2][]byte{{nil, middle}, {middle, nil}} {
		for r, err := range f.Rows(t.Context(), part[0], part[1]) {
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Compare(r.Cid.Bytes(), last) <= 0 {
				t.Fatalf("%s is out of order", r.Cid)
			}
			last = r.Cid.Bytes()
			if err := b.PutRow(r); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.CommitAt(0); err != nil {
			t.Fatal(err)
		}
		b = to.NewBatch()
	}
	if to.Applied() != 0 || to.Stats() != f.Stats() {
		t.Fatalf("half copied at index %d with %+v, want 0 with %+v", to.Applied(), to.Stats(), f.Stats())
	}
	if err := b.CommitAt(f.Digest().Index); err != nil {
		t.Fatal(err)
	}
	if got, want := to.Digest(), f.Digest(); got.Pins != want.Pins || got.Index != want.Index {
		t.Errorf("the copy is %v, want %v", got, want)
	}
	if err := to.Verify(t.Context()); err != nil {
		t.Errorf("the copy: %v", err)
	}
}

func TestCommitAt_GoesBack(t *testing.T) {
	s := openTest(t)
	fill(t, s, 3, 5000)
	if err := s.NewBatch().CommitAt(1200); err != nil {
		t.Fatal(err)
	}
	if s.Applied() != 1200 || len(s.Digests()) != 0 {
		t.Errorf("at %d with digests of %v, want 1200 without any", s.Applied(), s.Digests())
	}
	if err := s.NewBatch().Commit(3000); err != nil {
		t.Fatal(err)
	}
	if d := s.Digests(); len(d) != 1 || d[0].Index != 2048 {
		t.Errorf("digests kept: %v, want that of 2048", d)
	}
}

func TestPutRow_Deletes(t *testing.T) {
	s := openTest(t)
	fill(t, s, 2, 1)
	b := s.NewBatch()
	for range 2 { // the second time there is none
		if err := b.PutRow(Row{Cid: testCid(1)}); err != nil {
			t.Fatal(err)
		}
	}
	r, err := b.Row(testCid(1))
	if err != nil || r.Value != nil {
		t.Errorf("the row of a deleted pin: %x, %v", r.Value, err)
	}
	if err := b.Commit(2); err != nil || s.Stats().Pins != 1 {
		t.Errorf("%d pins are left, want 1; %v", s.Stats().Pins, err)
	}
}

func TestPutRow_RefusesWhatNoPeerStores(t *testing.T) {
	s := openTest(t)
	fill(t, s, 2, 1)
	b := s.NewBatch()
	good, err := b.Row(testCid(1))
	if err != nil {
		t.Fatal(err)
	}
	unsorted := testPin(1)
	unsorted.Allocations[0], unsorted.Allocations[1] = unsorted.Allocations[1], unsorted.Allocations[0]
	record, err := api.Encode(unsorted)
	if err != nil {
		t.Fatal(err)
	}
	later := append(bytes.Clone(good.Value), 0x17, 1) // field 23 is 1
	later[1]++                                        // of a map with one field more
	before := b.Digest()
	for what, r := range map[string]Row{
		"no CID":                           {Value: good.Value},
		"another's row":                    {Cid: testCid(0), Value: good.Value},
		"nothing in it":                    {Cid: testCid(1), Value: []byte{}},
		"cut short":                        {Cid: testCid(1), Value: good.Value[:len(good.Value)-1]},
		"more behind it":                   {Cid: testCid(1), Value: append(bytes.Clone(good.Value), 0)},
		"another form: a longer revision":  {Cid: testCid(1), Value: append([]byte{0x82, 0}, good.Value[1:]...)},
		"another form: peers out of order": {Cid: testCid(1), Value: append(binary.AppendUvarint(nil, 2), record...)},
		"another form: a field of a later version": {Cid: testCid(1), Value: later},
		"too large": {Cid: testCid(1), Value: append(bytes.Clone(good.Value), make([]byte, api.MaxRecordSize)...)},
	} {
		want := api.Invalid
		if strings.HasPrefix(what, "another form:") {
			want = api.Unsupported
		}
		if err := b.PutRow(r); api.KindOf(err) != want {
			t.Errorf("%s: %v, want an %s error", what, err, want)
		}
		if _, err := ParseRow(r); err == nil {
			t.Errorf("%s: it is parsed", what)
		}
	}
	if b.Digest() != before {
		t.Error("a refused row changed the batch")
	}
	if p, err := ParseRow(good); err != nil || p.Name != "pin 1" || p.Revision != 2 {
		t.Errorf("a good row: %+v, %v", p, err)
	}
}
