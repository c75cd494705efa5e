package pins

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/disk"
)

func open(t testing.TB) *Store {
	t.Helper()
	fault := disk.NewFault("pins")
	db, err := disk.Open("", &pebble.Options{FS: vfs.NewMem(), Logger: silent{fault}}, fault)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return New(db)
}

type silent struct{ *disk.Fault }

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}

func sum(t testing.TB, text string) api.Cid {
	t.Helper()
	c, err := cid.V1Builder{Codec: cid.DagProtobuf, MhType: multihash.SHA2_256}.Sum([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return api.Cid{Cid: c}
}

func (s *Store) want(t *testing.T, c api.Cid, want Pin, marked bool) {
	t.Helper()
	got, ok, err := s.Get(c)
	if err != nil || ok != (want.State != 0) {
		t.Fatalf("pin %+v, %v, %v", got, ok, err)
	}
	want.Cid, want.Tried = got.Cid, got.Tried
	if got != want {
		t.Fatalf("pin %+v, want %+v", got, want)
	}
	if _, m, err := s.mark(c); err != nil || m != marked {
		t.Fatalf("marked: %v, %v", m, err)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestStore_LifeOfAPin(t *testing.T) {
	s, c, now := open(t), sum(t, "a"), time.Unix(1000, 500)
	s.want(t, c, Pin{}, false)
	check(t, s.Remove(c))
	check(t, s.Begin(c, api.PinRecursive, now))
	s.want(t, c, Pin{State: Partial}, false)
	check(t, s.Add(c, 7, now)) // an add brings it whole
	s.want(t, c, Pin{State: Added, Size: 7}, true)
	check(t, s.Begin(c, api.PinRecursive, now)) // and is not forgotten when a pin looks
	s.want(t, c, Pin{State: Added, Size: 7}, true)
	check(t, s.Add(c, 9, now.Add(time.Hour)))
	s.want(t, c, Pin{State: Added, Size: 7}, true)
	check(t, s.Finish(Pin{Cid: c, Mode: api.PinRecursive, Size: 8}))
	s.want(t, c, Pin{State: Whole, Size: 8}, false)
	check(t, s.Add(c, 9, now)) // somebody's, who may be about to unpin it
	s.want(t, c, Pin{State: Whole, Size: 8}, true)
	check(t, s.Finish(Pin{Cid: c, Mode: api.PinDirect, Size: 1}))
	s.want(t, c, Pin{State: Whole, Mode: api.PinDirect, Size: 1}, false)
	check(t, s.Add(c, 9, now)) // recursive for the add
	s.want(t, c, Pin{State: Added, Size: 9}, true)
	check(t, s.Add(c, 9, now)) // and again
	if m, _, err := s.mark(c); err != nil || !m.Before {
		t.Fatalf("%+v, %v: what was pinned before an add is so before the next", m, err)
	}
	check(t, s.Remove(c))
	s.want(t, c, Pin{}, false)
}

func TestStore_Forget(t *testing.T) {
	s, c, now := open(t), sum(t, "a"), time.Unix(1000, 0)
	check(t, s.Begin(c, api.PinRecursive, now))
	check(t, s.Forget(c, now))
	s.want(t, c, Pin{State: Partial}, false)
	check(t, s.Begin(c, api.PinRecursive, now.Add(time.Minute))) // tried again
	check(t, s.Forget(c, now.Add(time.Minute)))
	s.want(t, c, Pin{State: Partial}, false)
	check(t, s.Forget(c, now.Add(time.Hour)))
	s.want(t, c, Pin{}, false)
	check(t, s.Finish(Pin{Cid: c}))
	check(t, s.Forget(c, now.Add(time.Hour)))
	s.want(t, c, Pin{State: Whole}, false)
}

func TestStore_Marks(t *testing.T) {
	s, now := open(t), time.Unix(1000, 500)
	a, b := sum(t, "a"), sum(t, "b")
	check(t, s.Add(a, 1, now))
	check(t, s.Add(b, 1, now.Add(time.Second)))
	check(t, s.Add(a, 1, now.Add(time.Minute))) // again: the mark is renewed
	got := map[api.Cid]time.Time{}
	for m, err := range s.Marks(t.Context()) {
		check(t, err)
		got[m.Cid] = m.Since
	}
	if len(got) != 2 || !got[a].Equal(now.Add(time.Minute)) || !got[b].Equal(now.Add(time.Second)) {
		t.Fatalf("marks %v", got)
	}
	check(t, s.ClearMark(a))
	check(t, s.ClearMark(a))
	check(t, s.Remove(b))
	for m := range s.Marks(t.Context()) {
		t.Fatalf("mark %v is left", m)
	}
	s.want(t, a, Pin{State: Added, Size: 1}, false)
}

// More than a page, of CIDs of several lengths and versions.
func TestStore_List(t *testing.T) {
	s := open(t)
	var want []string
	for i := range 3*page + 5 {
		c := sum(t, strings.Repeat("x", i))
		if i%3 == 0 {
			c = api.Cid{Cid: cid.NewCidV0(c.Hash())}
		}
		check(t, s.put(Pin{Cid: c, State: Whole, Size: uint64(i)}, pebble.NoSync))
		want = append(want, c.KeyString())
	}
	slices.Sort(want)
	from := api.CidUndef
	for _, start := range []int{0, 1, page, 3*page + 4, 3*page + 5} {
		if start > 0 {
			c, err := cid.Cast([]byte(want[start-1]))
			check(t, err)
			from = api.Cid{Cid: c}
		}
		var got []string
		for p, err := range s.List(t.Context(), from) {
			check(t, err)
			got = append(got, p.Cid.KeyString())
		}
		if !slices.Equal(got, want[start:]) {
			t.Fatalf("from %d: %d pins, want %d in order", start, len(got), len(want)-start)
		}
	}
	n := 0
	for range s.List(t.Context(), api.CidUndef) {
		if n++; n == page+1 { // leaving early, and writing while listing
			check(t, s.Remove(api.Cid{Cid: from.Cid}))
			break
		}
	}
}

func FuzzDecode(f *testing.F) {
	row, err := api.Encode(Pin{State: Whole, Mode: api.PinDirect, Size: 12, Tried: 5})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(row)
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, row []byte) {
		c := api.Cid{Cid: cid.NewCidV1(cid.Raw, []byte{0x12, 1, 1})}
		if p, err := decode(c, row); err == nil {
			again, err := api.Encode(p)
			if err != nil {
				t.Fatal(err)
			}
			if q, err := decode(c, again); err != nil || q != p {
				t.Fatalf("%+v became %+v (%v)", p, q, err)
			}
		}
		if m, err := decodeMark(c, row); (err == nil) != (len(row) == 8 || len(row) == 9 && row[8] == 1) || err == nil && !bytes.Equal(m.row(), row) {
			t.Fatalf("%v, %v", m, err)
		}
	})
}
