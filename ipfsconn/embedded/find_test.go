package embedded

import (
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/pinfold-cluster/pinfold/ipfsconn/ipfsconntest"
)

// What begins together shares a bitswap session, which ends with the last of it.
func TestSearches_ShareASession(t *testing.T) {
	n := onLine(t, Options{})
	s := &n.searches
	first := s.join(n)
	first.began = time.Now().Add(time.Hour) // boarding does not end by itself
	for range maxSearched - 1 {
		if s.join(n) != first {
			t.Fatal("a search that takes in others does not")
		}
	}
	other := s.join(n)
	if other == first {
		t.Fatalf("a search is for more than %d blocks", maxSearched)
	}
	other.began = time.Now().Add(-2 * boardTime)
	late := s.join(n)
	if late == other {
		t.Fatal("a search takes in others when it has long begun")
	}
	for range maxSearched - 1 {
		s.leave(first)
	}
	found, err := first.fetcher.GetBlocks(t.Context(), []cid.Cid{ipfsconntest.Leaf(t, 1, 10).Cid()})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-found:
		t.Fatal("the session has ended before its last search")
	default:
	}
	s.leave(first)
	select {
	case <-found:
	case <-within(t, 10*time.Second).Done():
		t.Fatal("the session has not ended with its last search")
	}
	late.began = time.Now().Add(time.Hour)
	s.leave(late)
	if s.cur != nil {
		t.Fatal("a search that is over takes in others")
	}
}
