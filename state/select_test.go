package state

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// Whatever the filter and the size of pages, each pin that passes comes once, also where
// the pin that a cursor is of has gone.
func TestSelect_PagesAreWholeInAnyOrder(t *testing.T) {
	st := openState(t, t.TempDir())
	start := time.Unix(1_700_000_000, 0)
	b := st.NewBatch()
	var all []api.Pin
	for i := range 60 {
		p := api.NewPin(testCid(i), api.PinOptions{ReplicationFactorMin: 1, ReplicationFactorMax: 1,
			Name: fmt.Sprintf("n%d", i%7), Metadata: map[string]string{"k": fmt.Sprint(i % 3), "l": "x"}}, start.Add(time.Duration(i/4)*time.Second))
		p.Allocations = []api.PeerID{testPeer(i % 4)}
		if i%10 == 0 {
			p.ReplicationFactorMin, p.ReplicationFactorMax, p.Allocations = -1, -1, nil
		}
		p.Revision = 1
		if err := b.Put(p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if err := b.Commit(1); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]api.PinFilter{
		"all":      {},
		"name":     {Name: "n3"},
		"prefix":   {NamePrefix: "n"},
		"contains": {NameContains: "5"},
		"pair":     {Metadata: map[string]string{"k": "1"}},
		"pairs":    {Metadata: map[string]string{"k": "1", "l": "x"}},
		"peer":     {Peer: testPeer(2)},
		"time":     {Since: start.Add(3 * time.Second), Before: start.Add(9 * time.Second)},
		"many":     {NamePrefix: "n", Metadata: map[string]string{"k": "2"}, Peer: testPeer(1), Since: start.Add(time.Second)},
		"nothing":  {Name: "n3", NamePrefix: "x"},
	} {
		var want []string
		for _, p := range all {
			if f.Match(p) {
				want = append(want, p.Cid.String())
			}
		}
		slices.Sort(want)
		for _, size := range []int{1, 7, 1000} {
			var got []string
			var cursor []byte
			for {
				n := 0
				for p, err := range st.Select(t.Context(), f, cursor, nil) {
					if err != nil {
						t.Fatal(err)
					}
					if n == size {
						n++
						break
					}
					n++
					got = append(got, p.Cid.String())
					cursor = st.SelectCursor(f, p)
				}
				if n <= size {
					break
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%s by %d: got %d pins, want %d", name, size, len(got), len(want))
			}
		}
		if name != "nothing" && len(want) == 0 {
			t.Errorf("%s: it shows nothing", name)
		}
	}
}

// A cursor that is none is refused.
func TestSelect_RefusesStrangeCursors(t *testing.T) {
	st := openState(t, t.TempDir())
	for _, f := range []api.PinFilter{{}, {Name: "a"}, {Peer: testPeer(1)}, {Metadata: map[string]string{"a": "b"}}, {NamePrefix: "a"}, {Since: time.Unix(1, 0)}} {
		for _, cursor := range [][]byte{{}, {0}, {255}, []byte("zz"), {holderKind, 1, 2}, {pinKind - 1, 1}} {
			n := 0
			for _, err := range st.Select(t.Context(), f, cursor, nil) {
				if n++; api.KindOf(err) != api.Invalid {
					t.Errorf("%+v from %x: got %v, want Invalid", f, cursor, err)
				}
			}
			if n == 0 {
				t.Errorf("%+v from %x is not refused", f, cursor)
			}
		}
	}
}

// What is listed is of one state, whose log index is told first, also where nothing is.
func TestSelect_TellsTheIndexOfWhatItLists(t *testing.T) {
	st := openState(t, t.TempDir())
	const untold = 99
	told := uint64(untold)
	at := func(index uint64) { told = index }
	for range st.Select(t.Context(), api.PinFilter{}, nil, at) {
		t.Error("it is empty")
	}
	if told != 0 {
		t.Errorf("the new state is told as of index %d", told)
	}
	commitAt(t, st, 8, func(b *Batch) error { return b.Put(testPin(1)) })
	for _, f := range []api.PinFilter{{}, {Name: "pin 1"}, {Peer: testPeer(1)}, {Name: "none"}} {
		told = untold
		for range st.Select(t.Context(), f, nil, at) {
			if told != 8 {
				break
			}
		}
		if told != 8 {
			t.Errorf("%+v: told as of index %d", f, told)
		}
	}
	listed := 0
	for range st.Select(t.Context(), api.PinFilter{}, nil, at) {
		listed++
		commitAt(t, st, 9, func(b *Batch) error { return b.Put(testPin(2)) })
	}
	if listed != 1 || told != 8 {
		t.Errorf("%d pins as of index %d", listed, told)
	}
}
