package state

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// wanted filters and sorts all pins as q asks, the slow way.
func wanted(q Query, all []api.Pin) (pins []api.Pin) {
	for _, p := range all {
		at := p.ExpireAt
		if q.By == ByCreated {
			at = p.Timestamp
		}
		var want bool
		switch q.By {
		case ByCid:
			want = true
		case ByPeer:
			want = slices.Contains(holders(p), q.Peer)
		case ByName:
			want = p.Name != "" && (q.Name == p.Name || q.Name == "" && strings.HasPrefix(p.Name, q.NamePrefix))
		case ByMeta:
			v, ok := p.Metadata[q.MetaKey]
			want = ok && v == q.MetaValue
		case ByExpiry, ByCreated:
			want = (q.By == ByCreated || p.Expires()) && !at.Before(q.Since) && (q.Before.IsZero() || at.Before(q.Before))
		}
		if want {
			pins = append(pins, p)
		}
	}
	slices.SortFunc(pins, func(a, b api.Pin) int {
		var order int
		switch q.By {
		case ByName:
			order = strings.Compare(a.Name, b.Name)
		case ByExpiry:
			order = a.ExpireAt.Compare(b.ExpireAt)
		case ByCreated:
			order = a.Timestamp.Compare(b.Timestamp)
		}
		if order == 0 {
			order = bytes.Compare(a.Cid.Bytes(), b.Cid.Bytes())
		}
		return order
	})
	if q.Reverse {
		slices.Reverse(pins)
	}
	return pins
}

func TestList_GivesWhatIsAskedInOrder(t *testing.T) {
	s := openState(t, t.TempDir())
	r := rand.New(rand.NewPCG(3, 4))
	m := model{}
	for range 20 {
		commit(t, s, func(b *Batch) error {
			for range 20 {
				p := randomPin(r, 200)
				m[p.Cid] = p
				if err := b.Put(p); err != nil {
					return err
				}
			}
			return nil
		})
	}
	all := collect(t, s.List(t.Context(), Query{}))
	m.check(t, s)
	at := func(s int) time.Time { return epoch.Add(time.Duration(s) * time.Second) }
	queries := map[string]Query{
		"all":              {},
		"a peer's":         {By: ByPeer, Peer: testPeer(2)},
		"everywhere":       {By: ByPeer},
		"nobody's":         {By: ByPeer, Peer: testPeer(99)},
		"a name":           {By: ByName, Name: "a"},
		"a name with zero": {By: ByName, Name: "b\x00c"},
		"a prefix":         {By: ByName, NamePrefix: "a"},
		"prefix with zero": {By: ByName, NamePrefix: "b\x00"},
		"named":            {By: ByName},
		"no such name":     {By: ByName, NamePrefix: "zz"},
		"metadata":         {By: ByMeta, MetaKey: "k0", MetaValue: "v1"},
		"no such metadata": {By: ByMeta, MetaKey: "k0", MetaValue: ""},
		"expiring":         {By: ByExpiry},
		"expired":          {By: ByExpiry, Before: at(20)},
		"expired, inside":  {By: ByExpiry, Before: at(20).Add(1)},
		"by creation":      {By: ByCreated},
		"since":            {By: ByCreated, Since: at(30)},
		"after":            {By: ByCreated, Since: at(30).Add(1)},
		"between":          {By: ByCreated, Since: at(10), Before: at(12)},
		"empty range":      {By: ByCreated, Since: at(12), Before: at(10)},
	}
	for name, q := range queries {
		for _, q.Reverse = range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				want := cids(wanted(q, all))
				if got := cids(collect(t, s.List(t.Context(), q))); !slices.Equal(got, want) {
					t.Fatalf("got  %v\nwant %v", got, want)
				}
				// One by one, each time from where the last one was.
				var got []string
				for q := q; len(got) <= len(want); {
					p, ok := firstOfList(t, s, q)
					if !ok {
						break
					}
					got = append(got, p.Cid.String())
					q.Cursor = q.CursorOf(p)
				}
				if !slices.Equal(got, want) {
					t.Fatalf("by cursors: got  %v\nwant %v", got, want)
				}
			})
		}
	}
}

func firstOfList(t *testing.T, s *State, q Query) (api.Pin, bool) {
	t.Helper()
	for p, err := range s.List(t.Context(), q) {
		must(t, err)
		return p, true
	}
	return api.Pin{}, false
}

func TestList_GoesOnAfterACid(t *testing.T) {
	s := openState(t, t.TempDir())
	var pins []api.Pin
	for n := range 50 {
		pins = append(pins, testPin(n))
	}
	put(t, s, pins...)
	for _, q := range []Query{{}, {By: ByPeer, Peer: testPeer(1)}, {By: ByMeta, MetaKey: "batch", MetaValue: "0"}} {
		want := cids(collect(t, s.List(t.Context(), q)))
		q.After = testCid(77) // not there
		i, _ := slices.BinarySearchFunc(want, q.After, func(s string, c api.Cid) int {
			there, err := api.ParseCid(s)
			must(t, err)
			return bytes.Compare(there.Bytes(), c.Bytes())
		})
		if got := cids(collect(t, s.List(t.Context(), q))); !slices.Equal(got, want[i:]) {
			t.Errorf("after one that is not there: got %v, want %v", got, want[i:])
		}
		var err error
		q.After, err = api.ParseCid(want[3])
		must(t, err)
		if got := cids(collect(t, s.List(t.Context(), q))); !slices.Equal(got, want[4:]) {
			t.Errorf("after one that is: got %v, want %v", got, want[4:])
		}
	}
}

func TestList_RefusesWrongStarts(t *testing.T) {
	s := openState(t, t.TempDir())
	put(t, s, testPin(1))
	for name, q := range map[string]Query{
		"cid in order of names":   {By: ByName, After: testCid(1)},
		"cid in order of time":    {By: ByCreated, After: testCid(1)},
		"another order's cursor":  {By: ByExpiry, Cursor: Query{By: ByName}.CursorOf(testPin(1))},
		"a cursor of no order":    {Cursor: []byte{}},
		"metadata's as a peer's ": {By: ByPeer, Cursor: Query{By: ByMeta}.CursorOf(testPin(1))},
	} {
		t.Run(name, func(t *testing.T) {
			var last error
			for _, last = range s.List(t.Context(), q) {
			}
			if !errors.Is(last, api.Invalid) {
				t.Fatalf("got %v", last)
			}
		})
	}
}

func TestList_LongNamesAreToldApart(t *testing.T) {
	s := openState(t, t.TempDir())
	long := strings.Repeat("é", maxNameKey) // cut in the middle of nothing: 2 bytes each
	var pins []api.Pin
	for n, name := range []string{long, long + "x", long + "xy"} {
		p := testPin(n)
		p.Name = name
		pins = append(pins, p)
	}
	put(t, s, pins...)
	for want, q := range map[int]Query{
		1: {By: ByName, Name: long + "x"},
		2: {By: ByName, NamePrefix: long + "x"},
		3: {By: ByName, NamePrefix: long[:20]},
		0: {By: ByName, Name: long + "z"},
	} {
		if got := collect(t, s.List(t.Context(), q)); len(got) != want {
			t.Errorf("%d pins, want %d", len(got), want)
		}
	}
	if n := len(Query{By: ByName}.CursorOf(pins[0])); n > 600 {
		t.Errorf("a cursor of %d bytes", n)
	}
}

func TestAllocated_IsWhatAPeerMustHold(t *testing.T) {
	s := openState(t, t.TempDir())
	r := rand.New(rand.NewPCG(5, 6))
	for range 10 {
		commit(t, s, func(b *Batch) error {
			for range 30 {
				if err := b.Put(randomPin(r, 150)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	all := collect(t, s.List(t.Context(), Query{}))
	for n := range 5 {
		var want []string
		for _, p := range all {
			if p.HeldBy(testPeer(n)) {
				want = append(want, p.Cid.String())
			}
		}
		got := cids(collect(t, s.Allocated(t.Context(), testPeer(n), api.CidUndef)))
		if len(want) == 0 || !slices.Equal(got, want) {
			t.Fatalf("peer %d: got  %v\nwant %v", n, got, want)
		}
		half, err := api.ParseCid(want[len(want)/2])
		must(t, err)
		if got := cids(collect(t, s.Allocated(t.Context(), testPeer(n), half))); !slices.Equal(got, want[len(want)/2+1:]) {
			t.Fatalf("peer %d after %s: got %v", n, half, got)
		}
	}
}

// Whoever reads in pages writes in between: each page is of one moment, and a loop
// sees the moment it began.
func TestList_IsOfTheMomentItBegan(t *testing.T) {
	s := openState(t, t.TempDir())
	put(t, s, testPin(1), testPin(2), testPin(3))
	for _, q := range []Query{{}, {By: ByName}, {By: ByCreated}} {
		seen := 0
		for p, err := range s.List(t.Context(), q) {
			must(t, err)
			if seen++; seen == 1 {
				commit(t, s, func(b *Batch) error {
					for n := range 4 {
						if testCid(n) != p.Cid {
							if err := b.Delete(testCid(n)); err != nil {
								return err
							}
						}
					}
					return b.Put(testPin(9))
				})
			}
		}
		if seen != 3 || s.Stats().Pins != 2 {
			t.Fatalf("saw %d pins; %d are left", seen, s.Stats().Pins)
		}
		commit(t, s, func(b *Batch) error {
			return errors.Join(b.Put(testPin(1)), b.Put(testPin(2)), b.Put(testPin(3)), b.Delete(testCid(9)))
		})
	}
}
