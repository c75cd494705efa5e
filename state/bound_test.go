package state

import (
	"encoding/base64"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/pinfold-cluster/pinfold/api"
)

// A state with a bound takes no more of the disk, and stays as it was.
func TestState_TakesNoMoreThanItMay(t *testing.T) {
	const most = 8 << 20
	dir, o := t.TempDir(), Options{MemTableBytes: 1 << 20, MaxBytes: most, MaxBy: "some.setting"}
	s, err := Open(dir, o, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() }) // the one that is open then
	random := rand.NewChaCha8([32]byte{7})
	var last uint64
	for n := range 100 {
		b := s.NewBatch()
		for i := range 16 {
			p := testPin(16*n + i)
			much := make([]byte, 8<<10) // which nothing makes smaller
			random.Read(much)
			p.Metadata = map[string]string{"much": base64.StdEncoding.EncodeToString(much)}
			if err := b.Put(p); err != nil {
				t.Fatal(err)
			}
		}
		err = b.Commit(uint64(n + 1))
		if err != nil {
			break
		}
		last = uint64(n + 1)
	}
	if api.KindOf(err) != api.TooLarge || last < 10 {
		t.Fatalf("after %d batches: %v, want TooLarge", last, err)
	}
	if !strings.HasSuffix(err.Error(), ": raise some.setting") {
		t.Errorf("it does not say what bounds it: %v", err)
	}
	if s.Applied() != last {
		t.Errorf("the state is at %d, want %d", s.Applied(), last)
	}
	if err := s.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	b := s.NewBatch()
	defer func() { b.end() }()
	m := b.d.db.Metrics() // tables that were merged are there twice for a moment
	if takes := m.WAL.PhysicalSize + m.Table.Local.LiveSize; takes > most+4*boundStep {
		t.Errorf("it takes %d bytes", takes)
	}
	b.end()

	// One that is opened with too much in it takes nothing, however little.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	o.MaxBytes = 1 << 20
	if s, err = Open(dir, o, quiet); err != nil {
		t.Fatal(err)
	}
	b = s.NewBatch()
	if err := b.Commit(last + 1); api.KindOf(err) != api.TooLarge {
		t.Errorf("a small change: %v, want TooLarge", err)
	}
}
