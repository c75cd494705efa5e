package state

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/multiformats/go-multiaddr"
	"github.com/pinfold-cluster/pinfold/api"
)

func TestState_GivesBackWhatWasPut(t *testing.T) {
	s := openState(t, t.TempDir())
	p := testPin(7)
	p.Mode, p.MaxDepth = api.PinRecursive, 0 // the depth decides
	p.UserAllocations = []api.PeerID{testPeer(9)}
	p.Allocations = []api.PeerID{testPeer(2), testPeer(1), testPeer(2)}
	p.Leaving = []api.PeerID{testPeer(3)}
	p.ExpireAt = epoch.Add(500 * time.Millisecond).In(time.FixedZone("", 3600))
	p.Origins = []api.Multiaddr{multiaddr.StringCast("/ip4/1.2.3.4/tcp/4001")}
	p.PinUpdate, p.Reference = testCid(1), testCid(2)
	p.Metadata = map[string]string{"a": "1", "b": ""}
	p.ReplicationFactorMin, p.ShardSize = 1, 100<<20
	put(t, s, p)

	want := p
	want.Mode = api.PinDirect
	want.UserAllocations = nil
	want.Allocations = sortedSet(p.Allocations)
	want.ExpireAt = epoch
	want.Revision = 1
	got, err := s.Get(t.Context(), p.Cid)
	must(t, err)
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}
	if has, err := s.Has(t.Context(), p.Cid); !has || err != nil {
		t.Fatalf("Has: %v, %v", has, err)
	}
}

// D1 and D2: what one record lacks must not come from another.
func TestD01_RecordsInheritNothing(t *testing.T) {
	s := openState(t, t.TempDir())
	full := testPin(1)
	full.Followers = []api.PeerID{testPeer(5)}
	full.ExpireAt = epoch
	full.Origins = []api.Multiaddr{multiaddr.StringCast("/dns4/a.example/tcp/1")}
	full.PinUpdate = testCid(9)
	bare := api.Pin{Cid: testCid(2), Type: api.PinData, Timestamp: epoch.Add(time.Hour)}
	put(t, s, full, bare)
	var got api.Pin
	for p, err := range s.List(t.Context(), Query{By: ByCreated}) {
		must(t, err)
		got = p // the bare one comes last
	}
	want := bare
	want.Mode, want.Revision = api.PinDirect, 1
	want.Allocations, want.Origins = []api.PeerID{}, []api.Multiaddr{}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}
	text, err := json.Marshal(got)
	must(t, err)
	for _, part := range []string{`"user_allocations":null`, `"metadata":null`, `"origins":[]`, `"allocations":[]`,
		`"expire_at":"0001-01-01T00:00:00Z"`, `"pin_update":null`, `"reference":null`, `"mode":"direct"`} {
		if !strings.Contains(string(text), part) {
			t.Errorf("%s lacks %s", text, part)
		}
	}
}

func TestState_UnknownPinIsNotFound(t *testing.T) {
	s := openState(t, t.TempDir())
	if _, err := s.Get(t.Context(), testCid(1)); !errors.Is(err, api.NotFound) || err.Error() != "pin is not part of the pinset" {
		t.Fatalf("got %v", err)
	}
	if has, err := s.Has(t.Context(), testCid(1)); has || err != nil {
		t.Fatalf("Has: %v, %v", has, err)
	}
	put(t, s, testPin(1))
	commit(t, s, func(b *Batch) error { return errors.Join(b.Delete(testCid(1)), b.Delete(testCid(2))) })
	if _, err := s.Get(t.Context(), testCid(1)); !errors.Is(err, api.NotFound) {
		t.Fatalf("after deleting: %v", err)
	}
	must(t, s.Verify(t.Context()))
}

func TestBatch_RefusesWhatCannotBeReadBack(t *testing.T) {
	s := openState(t, t.TempDir())
	for name, tc := range map[string]struct {
		change func(p *api.Pin)
		kind   api.Kind
	}{
		"no CID":         {func(p *api.Pin) { p.Cid = api.CidUndef }, api.Invalid},
		"name not UTF-8": {func(p *api.Pin) { p.Name = "\xff" }, api.Invalid},
		"metadata not UTF-8": {func(p *api.Pin) {
			p.Metadata = map[string]string{"\xc0": ""}
		}, api.Invalid},
		"empty peer":      {func(p *api.Pin) { p.Allocations = []api.PeerID{""} }, api.Invalid},
		"broken peer":     {func(p *api.Pin) { p.Leaving = []api.PeerID{"x"} }, api.Invalid},
		"empty multiaddr": {func(p *api.Pin) { p.Origins = []api.Multiaddr{nil} }, api.Invalid},
		"year 10000":      {func(p *api.Pin) { p.ExpireAt = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, api.Invalid},
		"year -1":         {func(p *api.Pin) { p.Timestamp = time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC) }, api.Invalid},
		"too large":       {func(p *api.Pin) { p.Name = strings.Repeat("x", api.MaxRecordSize) }, api.TooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			before := s.Digest()
			b := s.NewBatch()
			p := testPin(1)
			tc.change(&p)
			if err := b.Put(p); api.KindOf(err) != tc.kind {
				t.Fatalf("got %v, want %s", err, tc.kind)
			}
			must(t, b.Commit(s.Applied()+1))
			if got := s.Digest(); got.Pins != before.Pins || s.Stats().Pins != 0 {
				t.Fatal("a refused pin changed the state")
			}
		})
	}
	largest := testPin(1)
	largest.Name = strings.Repeat("x", api.MaxRecordSize-300)
	put(t, s, largest)
}

func TestBatch_ReadsItsOwnChanges(t *testing.T) {
	s := openState(t, t.TempDir())
	put(t, s, testPin(1), testPin(2))
	b := s.NewBatch()
	changed := testPin(1)
	changed.Name, changed.Revision = "other", 2
	must(t, b.Put(changed))
	must(t, b.Delete(testCid(2)))
	must(t, b.Put(testPin(3)))
	for n, want := range map[int]string{1: "other", 2: "", 3: "pin 3", 4: ""} {
		p, ok, err := b.Get(testCid(n))
		if err != nil || ok != (want != "") || p.Name != want {
			t.Errorf("pin %d: %q, %v, %v, want %q", n, p.Name, ok, err, want)
		}
	}
	if p, err := s.Get(t.Context(), testCid(1)); err != nil || p.Name != "pin 1" || s.Stats().Pins != 2 {
		t.Fatalf("readers see what is not committed: %+v, %v", p, err)
	}
	s.NewBatch() // ends b
	if err := b.Put(testPin(5)); !errors.Is(err, api.Unavailable) {
		t.Fatalf("put to a batch that is over: %v", err)
	}
	if err := b.Commit(2); !errors.Is(err, api.Unavailable) {
		t.Fatalf("commit of a batch that is over: %v", err)
	}
	must(t, s.Verify(t.Context()))
}

func TestBatch_CommitsOnlyPastTheLastIndex(t *testing.T) {
	s := openState(t, t.TempDir())
	commitAt(t, s, 10, nil)
	for _, index := range []uint64{9, 10} {
		if err := s.NewBatch().Commit(index); !errors.Is(err, api.Conflict) {
			t.Errorf("index %d after 10: %v", index, err)
		}
	}
	commitAt(t, s, 12, nil)
	if s.Applied() != 12 || s.Digest().Index != 12 {
		t.Fatalf("applied %d, digest at %d", s.Applied(), s.Digest().Index)
	}
}

// model is the state as a map, to compare with.
type model map[api.Cid]api.Pin

func (m model) check(t *testing.T, s *State) {
	t.Helper()
	want := slices.SortedFunc(maps.Values(m), func(a, b api.Pin) int {
		return strings.Compare(a.Cid.KeyString(), b.Cid.KeyString())
	})
	got := collect(t, s.List(t.Context(), Query{}))
	if !slices.Equal(cids(got), cids(want)) {
		t.Fatalf("%d pins, want %d", len(got), len(want))
	}
	held := map[api.PeerID]Stats{}
	total := Stats{}
	for _, p := range want {
		total.Pins++
		total.Bytes += p.Size
		for _, h := range holders(p) {
			held[h] = Stats{held[h].Pins + 1, held[h].Bytes + p.Size}
		}
	}
	if s.Stats() != total || !maps.Equal(s.Held(), held) {
		t.Fatalf("stats %+v %+v, want %+v %+v", s.Stats(), s.Held(), total, held)
	}
	must(t, s.Verify(t.Context()))
}

// What is in the state, and so its digest, must not depend on the way there.
func TestDigest_DependsOnContentAlone(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	dir := t.TempDir()
	s := openState(t, filepath.Join(dir, "a"))
	m := model{}
	for range 300 {
		commit(t, s, func(b *Batch) error {
			for range 1 + r.IntN(8) {
				p := randomPin(r, 60)
				if r.IntN(3) == 0 {
					delete(m, p.Cid)
					if err := b.Delete(p.Cid); err != nil {
						return err
					}
					continue
				}
				m[p.Cid] = p
				if err := b.Put(p); err != nil {
					return err
				}
			}
			return nil
		})
	}
	m.check(t, s)

	other := openState(t, filepath.Join(dir, "b"))
	commit(t, other, func(b *Batch) error {
		for _, p := range m { // in any order, at once
			if err := b.Put(p); err != nil {
				return err
			}
		}
		return nil
	})
	if s.Digest().Pins != other.Digest().Pins {
		t.Fatal("equal pinsets have different digests")
	}
	var one api.Pin
	for _, one = range m {
		break
	}
	one.Revision++
	commit(t, other, func(b *Batch) error { return b.Put(one) })
	if s.Digest().Pins == other.Digest().Pins {
		t.Fatal("a pin of another revision has the same digest")
	}
	commit(t, s, func(b *Batch) error {
		for c := range m {
			if err := b.Delete(c); err != nil {
				return err
			}
		}
		return nil
	})
	if (s.Digest().Pins != [32]byte{}) || (s.Stats() != Stats{}) || len(s.Held()) != 0 {
		t.Fatalf("nothing left, but %v %+v %+v", s.Digest(), s.Stats(), s.Held())
	}
}

func TestDigests_AreThoseOfTheirIndex(t *testing.T) {
	dir := t.TempDir()
	s := openState(t, dir)
	add := func(n int) func(b *Batch) error {
		return func(b *Batch) error { return b.Put(testPin(n)) }
	}
	want := map[uint64]Digest{}
	keep := func(at uint64) {
		d := s.Digest()
		d.Index = at
		want[at] = d
	}
	commitAt(t, s, 1000, add(1))
	commitAt(t, s, 1024, add(2))
	keep(1024)
	commitAt(t, s, 2000, add(3))
	keep(2048) // entries 2001 to 2048 were none of ours
	keep(3072)
	commitAt(t, s, 3500, add(4))
	keep(4096)
	commitAt(t, s, 4097, add(5))
	got := s.Digests()
	if len(got) != len(want) {
		t.Fatalf("%d digests, want %d", len(got), len(want))
	}
	for _, d := range got {
		if d != want[d.Index] {
			t.Errorf("digest at %d: %s, want %s", d.Index, d, want[d.Index])
		}
	}
	commitAt(t, s, 1000*1024, nil)
	got = s.Digests()
	if len(got) != 64 || got[0].Index != 937*1024 || got[63].Index != 1000*1024 {
		t.Fatalf("%d digests from %d", len(got), got[0].Index)
	}
	must(t, s.Close())
	if again := openState(t, dir).Digests(); !slices.Equal(again, got) {
		t.Fatal("digests are lost when reopening")
	}
	if n := len(got[0].String()); n != 128 {
		t.Fatalf("a digest of %d digits", n)
	}
}

// A kill at any moment leaves a copy like this: files as they are, nothing closed.
func TestState_ReopensAfterCrash(t *testing.T) {
	dir := t.TempDir()
	s := openState(t, filepath.Join(dir, "live"))
	put(t, s, testPin(1), testPin(2))
	commit(t, s, func(b *Batch) error {
		b.OpenSession(testPeer(1), 5)
		return errors.Join(b.SetOutcome(testPeer(1), 1, 2, 1), b.Delete(testCid(2)),
			b.PutMember(api.Member{ID: testPeer(1), Name: "one"}))
	})
	must(t, s.Sync())
	crashed := filepath.Join(dir, "crashed")
	must(t, os.CopyFS(crashed, os.DirFS(filepath.Join(dir, "live"))))
	again := openState(t, crashed)
	if again.Applied() != 2 || again.Digest() != s.Digest() || again.Stats() != s.Stats() {
		t.Fatalf("at %d with %+v", again.Applied(), again.Stats())
	}
	if index, ok, err := again.Outcome(testPeer(1), 5, 1); index != 2 || !ok || err != nil {
		t.Fatalf("outcome: %d, %v, %v", index, ok, err)
	}
	must(t, again.Verify(t.Context()))
	commit(t, again, func(b *Batch) error { return b.SetOutcome(testPeer(1), 2, 3, 2) })
	must(t, again.Verify(t.Context()))
}

// What a crash may leave of the log is any beginning of it: then the state is that of
// some commit, whole.
func TestState_LosesOnlyATail(t *testing.T) {
	dir := t.TempDir()
	live := filepath.Join(dir, "live")
	s := openState(t, live)
	digests := map[uint64]Digest{0: s.Digest()}
	for n := range 20 {
		put(t, s, testPin(2*n), testPin(2*n+1))
		digests[s.Applied()] = s.Digest()
	}
	must(t, s.Sync())
	logs, err := filepath.Glob(filepath.Join(s.live.dir, "*.log"))
	if err != nil || len(logs) != 1 {
		t.Fatalf("logs %v, %v", logs, err)
	}
	whole, err := os.Stat(logs[0])
	must(t, err)
	seen := map[uint64]bool{}
	for i := range int64(20) {
		crashed := filepath.Join(dir, fmt.Sprint(i))
		must(t, os.CopyFS(crashed, os.DirFS(live)))
		must(t, os.Truncate(filepath.Join(crashed, filepath.Base(s.live.dir), filepath.Base(logs[0])), whole.Size()*i/20))
		again := openState(t, crashed)
		seen[again.Applied()] = true
		if again.Digest() != digests[again.Applied()] {
			t.Fatalf("at %d: a state that never was", again.Applied())
		}
		must(t, again.Verify(t.Context()))
	}
	if len(seen) < 10 {
		t.Fatalf("only %d states were seen: the test does not cut where it should", len(seen))
	}
}

func TestState_ClosedIsUnavailable(t *testing.T) {
	s, err := Open(t.TempDir(), Options{}, quiet)
	must(t, err)
	must(t, s.Close())
	must(t, s.Close())
	_, getErr := s.Get(t.Context(), testCid(1))
	var listErr error
	for _, listErr = range s.List(t.Context(), Query{}) {
	}
	for what, err := range map[string]error{
		"get": getErr, "list": listErr, "put": s.NewBatch().Put(testPin(1)), "commit": s.NewBatch().Commit(1),
		"sync": s.Sync(), "verify": s.Verify(t.Context()), "checkpoint": s.Checkpoint(filepath.Join(t.TempDir(), "x")),
	} {
		if !errors.Is(err, api.Unavailable) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestState_EndedContextStopsReads(t *testing.T) {
	s := openState(t, t.TempDir())
	put(t, s, testPin(1))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Get(ctx, testCid(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("get: %v", err)
	}
	for _, err := range s.List(ctx, Query{}) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("list: %v", err)
		}
	}
}

// damage writes rows behind the state's back.
func damage(t *testing.T, s *State, key, value []byte) {
	t.Helper()
	if value == nil {
		must(t, s.live.db.Delete(key, pebble.NoSync))
		return
	}
	must(t, s.live.db.Set(key, value, pebble.NoSync))
}

func TestState_DamagedRecordIsAnErrorThatNamesIt(t *testing.T) {
	s := openState(t, t.TempDir())
	put(t, s, testPin(1), testPin(2), testPin(3))
	_, other, err := new(decoder).encode(testPin(2))
	must(t, err)
	key := pinKey(testCid(1))
	for name, value := range map[string][]byte{"empty": {}, "garbage": []byte("\x01garbage"), "another's": other} {
		t.Run(name, func(t *testing.T) {
			damage(t, s, key, value)
			_, getErr := s.Get(t.Context(), testCid(1))
			_, _, batchErr := s.NewBatch().Get(testCid(1))
			var listErr, peerErr error
			for _, listErr = range s.List(t.Context(), Query{}) {
			}
			for _, peerErr = range s.Allocated(t.Context(), testPeer(1), api.CidUndef) {
				if peerErr != nil {
					break
				}
			}
			for i, err := range []error{getErr, batchErr, listErr, peerErr, s.Verify(t.Context())} {
				if api.KindOf(err) != api.Internal || !strings.Contains(err.Error(), fmt.Sprintf("%x", key)) {
					t.Errorf("read %d: %v", i, err)
				}
			}
		})
	}
}

func TestVerify_FindsEveryKindOfDamage(t *testing.T) {
	_, moved, err := new(decoder).encode(func() api.Pin { p := testPin(1); p.Name = "other"; return p }())
	must(t, err)
	for name, tc := range map[string]struct{ key, value []byte }{
		"a record is gone":      {pinKey(testCid(1)), nil},
		"a record is another":   {pinKey(testCid(1)), moved},
		"a key too many":        {append(namePrefix(nil, "x"), nameEnd+testCid(1).KeyString()...), []byte{}},
		"a key is gone":         {append(timePrefix(nil, createdKind, testPin(1).Timestamp.Unix()), testCid(1).KeyString()...), nil},
		"a member too many":     {stringKey(memberKind, string(testPeer(1))), []byte{1}},
		"counts of a peer":      {stringKey(heldKind, string(testPeer(1))), Stats{9, 9}.row()},
		"counts of no peer":     {stringKey(heldKind, "nobody"), Stats{1, 1}.row()},
		"counts of a peer gone": {stringKey(heldKind, string(testPeer(1))), nil},
		"counts":                {headKey, head{applied: 1, stats: Stats{9, 9}}.encode()},
		"an unknown row":        {[]byte("zzz"), []byte{}},
	} {
		t.Run(name, func(t *testing.T) {
			s := openState(t, t.TempDir())
			put(t, s, testPin(1), testPin(2))
			must(t, s.Verify(t.Context()))
			damage(t, s, tc.key, tc.value)
			if err := s.Verify(t.Context()); api.KindOf(err) != api.Internal {
				t.Fatalf("not found: %v", err)
			}
		})
	}
}

func TestKeys_OfNamesCannotBeMistaken(t *testing.T) {
	names := []string{"a", "a\x00", "a\x00\x01", "a\x00\xff", "ab", "\x00", "\x00\x01"}
	seen := map[string]string{}
	for _, n := range names {
		k := string(append(namePrefix(nil, n), nameEnd...))
		for other, name := range seen {
			if strings.HasPrefix(k, other) || strings.HasPrefix(other, k) {
				t.Errorf("%q and %q share keys", n, name)
			}
		}
		seen[k] = n
		if i := bytes.Index([]byte(k), []byte(nameEnd)); i != len(k)-len(nameEnd) {
			t.Errorf("%q ends at %d", n, i)
		}
	}
}
