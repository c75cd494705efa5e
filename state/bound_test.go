package state

import (
	"encoding/base64"
	"math/rand/v2"
	"testing"

	"github.com/pinfold-cluster/pinfold/api"
)

// A state with a bound takes no more of the disk, and stays as it was.
func TestState_TakesNoMoreThanItMay(t *testing.T) {
	const most = 8 << 20
	s, err := Open(t.TempDir(), Options{MemTableBytes: 1 << 20, MaxBytes: most}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
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
	if s.Applied() != last {
		t.Errorf("the state is at %d, want %d", s.Applied(), last)
	}
	if err := s.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	b := s.NewBatch()
	defer b.end()
	if takes := b.d.db.Metrics().DiskSpaceUsage(); takes > 2*most { // tables that are merged are there twice for a moment
		t.Errorf("it takes %d bytes", takes)
	}
}
