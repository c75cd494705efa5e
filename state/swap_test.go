package state

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pinfold-cluster/pinfold/api"
	"golang.org/x/sync/errgroup"
)

// incoming unpacks a checkpoint of from beside the database of s, as the receiver of a
// snapshot does.
func incoming(t testing.TB, s, from *State) string {
	t.Helper()
	checkpoint := filepath.Join(t.TempDir(), "checkpoint")
	must(t, from.Checkpoint(checkpoint))
	dir, err := s.Incoming()
	must(t, err)
	must(t, os.CopyFS(dir, os.DirFS(checkpoint)))
	return dir
}

func list(t testing.TB, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestD03_SnapshotReplacesEverything(t *testing.T) {
	dir := t.TempDir()
	s, other := openState(t, filepath.Join(dir, "a")), openState(t, filepath.Join(dir, "b"))
	p := testPeer(1)
	commitAt(t, s, 5, func(b *Batch) error { // D3: none of it may survive
		b.OpenSession(p, 1)
		_, err := b.UseCredential([]byte("n"), p, 100, 0)
		return errors.Join(err, b.SetOutcome(p, 1, 5, 0), b.PutMember(api.Member{ID: p}), b.RemoveMember(testPeer(2)), b.PutKey(api.ClusterKey{Number: 9}),
			b.Put(testPin(1)), b.Put(testPin(2)))
	})
	commitAt(t, other, 2048, func(b *Batch) error {
		b.OpenSession(p, 2)
		return errors.Join(b.PutMember(api.Member{ID: testPeer(3)}), b.Put(testPin(2)), b.Put(testPin(3)))
	})
	incomingDir := incoming(t, s, other)
	stale := s.NewBatch()
	must(t, s.Replace(incomingDir))

	if s.Digest() != other.Digest() || s.Stats() != other.Stats() || !slices.Equal(s.Digests(), other.Digests()) {
		t.Fatalf("%v, want %v", s.Digest(), other.Digest())
	}
	if _, err := s.Get(t.Context(), testCid(1)); !errors.Is(err, api.NotFound) {
		t.Errorf("a removed pin came back: %v", err)
	}
	if id, _, _ := s.Session(p); id != 2 {
		t.Errorf("session %d", id)
	}
	if members, _ := s.Members(); len(members) != 1 || members[0].ID != testPeer(3) || s.Removed(testPeer(2)) {
		t.Errorf("members %+v", members)
	}
	if err := stale.Put(testPin(9)); !errors.Is(err, api.Unavailable) {
		t.Errorf("a batch of before: %v", err)
	}
	must(t, s.Verify(t.Context()))
	commitAt(t, s, 2049, func(b *Batch) error { return b.Put(testPin(4)) })
	must(t, s.Close())
	again := openState(t, filepath.Join(dir, "a"))
	if again.Applied() != 2049 {
		t.Errorf("reopened at %d", again.Applied())
	}
	must(t, again.Verify(t.Context()))
}

func TestReplace_OpenReadsEndOnTheOldOne(t *testing.T) {
	dir := t.TempDir()
	s, other := openState(t, filepath.Join(dir, "a")), openState(t, filepath.Join(dir, "b"))
	put(t, s, testPin(1), testPin(2), testPin(3))
	put(t, other, testPin(4))
	old := s.live.dir
	incomingDir := incoming(t, s, other)
	seen := 0
	for p, err := range s.List(t.Context(), Query{By: ByName}) {
		must(t, err)
		if seen++; seen == 1 {
			must(t, s.Replace(incomingDir))
			if _, err := s.Get(t.Context(), testCid(4)); err != nil {
				t.Errorf("a new read: %v", err)
			}
		}
		if p.Cid == testCid(4) {
			t.Error("the open read sees the new pins")
		}
		if _, err := os.Stat(old); err != nil {
			t.Errorf("the old database is gone too early: %v", err)
		}
	}
	if seen != 3 {
		t.Errorf("the open read saw %d pins of 3", seen)
	}
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old database is still there: %v", err)
	}
	if got, want := list(t, filepath.Join(dir, "a")), []string{"CURRENT", filepath.Base(incomingDir)}; !slices.Equal(got, want) {
		t.Errorf("left: %v, want %v", got, want)
	}
}

// Each crash leaves either state, whole, and no litter.
func TestOpen_AfterACrashInReplace(t *testing.T) {
	for name, crash := range map[string]struct {
		at    func(dir, incoming string) error
		index uint64
	}{
		"unpacking": {func(_, in string) error { return os.Truncate(filepath.Join(in, "half"), 0) }, 1},
		"unpacked":  {func(_, in string) error { return nil }, 1},
		"name written": {func(dir, in string) error {
			return os.WriteFile(filepath.Join(dir, "CURRENT.tmp"), []byte(filepath.Base(in)+"\n"), 0o600)
		}, 1},
		"name half written": {func(dir, in string) error {
			return os.WriteFile(filepath.Join(dir, "CURRENT.tmp"), []byte("db"), 0o600)
		}, 1},
		"renamed": {func(dir, in string) error {
			return os.WriteFile(filepath.Join(dir, "CURRENT"), []byte(filepath.Base(in)+"\n"), 0o600)
		}, 7},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "a")
			s, other := openState(t, dir), openState(t, t.TempDir())
			put(t, s, testPin(1))
			commitAt(t, other, 7, nil)
			in := incoming(t, s, other)
			must(t, os.WriteFile(filepath.Join(in, "half"), []byte("x"), 0o600))
			must(t, s.Close())
			must(t, crash.at(dir, in))
			again := openState(t, dir)
			if again.Applied() != crash.index {
				t.Fatalf("at %d, want %d", again.Applied(), crash.index)
			}
			must(t, again.Verify(t.Context()))
			if got := list(t, dir); len(got) != 2+strings.Count(strings.Join(got, " "), "tmp") {
				t.Fatalf("left: %v", got)
			}
			must(t, again.Replace(incoming(t, again, other)))
		})
	}
}

func TestReplace_RefusesWhatIsNoState(t *testing.T) {
	dir := t.TempDir()
	s := openState(t, filepath.Join(dir, "a"))
	put(t, s, testPin(1))
	empty, err := s.Incoming()
	must(t, err)
	garbage, err := s.Incoming()
	must(t, err)
	must(t, os.WriteFile(filepath.Join(garbage, "marker.manifest.000001.MANIFEST-000001"), nil, 0o600))
	elsewhere := filepath.Join(dir, "db-000009")
	must(t, s.Checkpoint(elsewhere))
	for name, d := range map[string]string{"empty": empty, "garbage": garbage, "elsewhere": elsewhere,
		"the live one": s.live.dir, "none": filepath.Join(dir, "a", "db-000099"), "the state's": filepath.Join(dir, "a")} {
		t.Run(name, func(t *testing.T) {
			if err := s.Replace(d); err == nil {
				t.Fatal("accepted")
			}
			if _, err := s.Get(t.Context(), testCid(1)); err != nil {
				t.Fatalf("the old one is not live: %v", err)
			}
		})
	}
	put(t, s, testPin(2))
	must(t, s.Close())
	if again := openState(t, filepath.Join(dir, "a")); again.Stats().Pins != 2 {
		t.Fatalf("%d pins", again.Stats().Pins)
	}
}

func TestOpen_DoesNotStartAnewOverPins(t *testing.T) {
	dir := t.TempDir()
	s := openState(t, dir)
	put(t, s, testPin(1))
	must(t, s.Close())
	current := filepath.Join(dir, "CURRENT")
	for name, breakIt := range map[string]func() error{
		"lost":      func() error { return os.Remove(current) },
		"garbage":   func() error { return os.WriteFile(current, []byte("../x\n"), 0o600) },
		"empty":     func() error { return os.WriteFile(current, nil, 0o600) },
		"elsewhere": func() error { return os.WriteFile(current, []byte("db-000005\n"), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			must(t, breakIt())
			if s, err := Open(dir, Options{}, quiet); err == nil {
				s.Close()
				t.Fatal("opened")
			}
			if !slices.Contains(list(t, dir), "db-000001") {
				t.Fatal("the database was removed")
			}
		})
	}
	must(t, os.WriteFile(current, []byte("db-000001\n"), 0o600))
	if again := openState(t, dir); again.Stats().Pins != 1 {
		t.Fatalf("%d pins", again.Stats().Pins)
	}
}

func TestOpen_AfterACrashInCreation(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "db-000001"), 0o700))
	s := openState(t, dir)
	put(t, s, testPin(1))
	must(t, s.Close())
	must(t, os.Remove(filepath.Join(dir, "CURRENT")))
	s2 := filepath.Join(dir, "fresh")
	fresh, err := Open(s2, Options{}, quiet)
	must(t, err)
	must(t, fresh.Close())
	must(t, os.Remove(filepath.Join(s2, "CURRENT"))) // created, but not named yet
	openState(t, s2)
}

func TestOpen_RefusesAnotherFormat(t *testing.T) {
	dir := t.TempDir()
	s := openState(t, dir)
	damage(t, s, headKey, append([]byte{formatVersion + 1}, make([]byte, 10)...))
	must(t, s.Close())
	if _, err := Open(dir, Options{}, quiet); !errors.Is(err, api.Unsupported) {
		t.Fatalf("got %v", err)
	}
}

func TestCheckpoint_IsOfItsMoment(t *testing.T) {
	s := openState(t, t.TempDir())
	commitAt(t, s, 3, func(b *Batch) error { return b.Put(testPin(1)) })
	dir := filepath.Join(t.TempDir(), "snapshot")
	must(t, s.Checkpoint(dir))
	commitAt(t, s, 4, func(b *Batch) error { return b.Put(testPin(2)) })
	if err := s.Checkpoint(dir); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("over an existing one: %v", err)
	}
	if index, err := IndexAt(dir); index != 3 || err != nil {
		t.Fatalf("at %d, %v", index, err)
	}
	for _, none := range []string{t.TempDir(), filepath.Join(t.TempDir(), "none")} {
		if index, err := IndexAt(none); index != 0 || err != nil {
			t.Errorf("of nothing: %d, %v", index, err)
		}
	}
	must(t, s.Replace(incoming(t, s, s)))
	if s.Applied() != 4 {
		t.Errorf("at %d", s.Applied())
	}
}

// Readers of all kinds beside the writer, with the race detector.
func TestState_ReadsBesideWrites(t *testing.T) {
	s, other := openState(t, t.TempDir()), openState(t, t.TempDir())
	put(t, s, testPin(0))
	for n := range 20 {
		put(t, other, testPin(n))
	}
	ctx, cancel := context.WithCancel(t.Context())
	g, _ := errgroup.WithContext(ctx)
	for _, q := range []Query{{}, {By: ByName}, {By: ByPeer, Peer: testPeer(1)}} {
		g.Go(func() error {
			for ctx.Err() == nil {
				for _, err := range s.List(t.Context(), q) {
					if err != nil {
						return err
					}
				}
				s.Outcome(testPeer(1), 1, 3)
				s.Session(testPeer(1))
				s.HeldStats(testPeer(1))
				s.Digests()
				if err := s.Verify(t.Context()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	commit(t, s, func(b *Batch) error { b.OpenSession(testPeer(1), 1); return nil })
	for n := range 200 {
		commit(t, s, func(b *Batch) error {
			return errors.Join(b.Put(testPin(n)), b.Delete(testCid(n-5)),
				b.SetOutcome(testPeer(1), uint64(n), uint64(n), uint64(max(0, n-10))))
		})
		if n%50 == 25 {
			must(t, other.Sync())
			must(t, s.Replace(incoming(t, s, other)))
			commit(t, s, func(b *Batch) error { b.OpenSession(testPeer(1), 1); return nil })
		}
	}
	cancel()
	must(t, g.Wait())
}
