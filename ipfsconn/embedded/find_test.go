package embedded

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn/ipfsconntest"
)

// What begins together is one search, which ends with the last who waits.
func TestSearches_Share(t *testing.T) {
	n := onLine(t, Options{})
	n.searches.boarding = time.Hour
	join := func(ctx context.Context, seed uint64) *search {
		t.Helper()
		one, _, err := n.searches.join(ctx, n, leafCid(t, seed).Cid)
		if err != nil {
			t.Fatal(err)
		}
		return one
	}
	first := join(t.Context(), 0)
	for i := range uint64(maxSearched - 1) {
		if join(t.Context(), 1+i) != first {
			t.Fatal("a search that takes in others does not")
		}
	}
	other := join(t.Context(), maxSearched)
	if other == first {
		t.Fatalf("a search is for more than %d blocks", maxSearched)
	}
	if join(t.Context(), maxSearched) == other {
		t.Fatal("a search is for one block twice")
	}
	short, stop := context.WithTimeout(t.Context(), time.Hour)
	defer stop()
	long, stop := context.WithTimeout(t.Context(), 5*time.Hour)
	defer stop()
	if join(short, 0) == join(long, 1) {
		t.Fatal("blocks would be wanted for long after the last who waits")
	}
	for range maxSearched - 1 {
		n.searches.leave(first)
	}
	if first.ctx.Err() != nil {
		t.Fatal("the search has ended before its last")
	}
	n.searches.leave(first)
	if first.ctx.Err() == nil {
		t.Fatal("the search has not ended with its last")
	}
	brief := join(short, 2)
	n.searches.leave(brief)
	n.searches.leave(brief) // that of short above
	if join(short, 3) == brief {
		t.Fatal("a search that is over takes in others")
	}
}

// Of those in one search, who finds goes and who does not waits its time.
func TestFind_EachOfASearch(t *testing.T) {
	there, nowhere := ipfsconntest.File(t, 1, 2, 10), leafCid(t, 2)
	holder := onLine(t, Options{})
	ipfsconntest.Add(t, holder, there)
	n := onLine(t, Options{}, holder)
	n.searches.boarding = time.Hour
	ctx := within(t, time.Minute)
	giveUp, stop := context.WithCancel(ctx)
	defer stop()
	var both sync.WaitGroup
	var missing, found error
	both.Go(func() { missing = n.Find(giveUp, ipfsconntest.Pin(nowhere)) })
	both.Go(func() {
		defer stop()
		found = n.Find(ctx, ipfsconntest.Pin(there.Root))
	})
	for !depart(&n.searches, 2) {
		if runtime.Gosched(); ctx.Err() != nil {
			t.Fatal("the two are not in one search")
		}
	}
	both.Wait()
	if found != nil || !errors.Is(missing, context.Canceled) {
		t.Fatalf("got %v of what is there, %v of what nobody has", found, missing)
	}
}

// depart has the search that so many have joined begin; false where there is none.
func depart(s *searches, joined int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.board {
		if one.left == joined {
			s.unboard(one)
			return true
		}
	}
	return false
}

// A thousand searches wait at once: what each takes counts.
func TestFind_WaitsInOneGoroutine(t *testing.T) {
	n := onLine(t, Options{})
	n.searches.boarding = time.Minute // full before
	before := runtime.NumGoroutine()
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for i := range uint64(maxSearched) {
		all.Go(func() { _ = n.Find(ctx, ipfsconntest.Pin(leafCid(t, i))) })
	}
	wanted := func() int { return len(n.bitswap.GetWantlist()) }
	for end := time.Now().Add(time.Minute); wanted() < maxSearched; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%d blocks are wanted of %d", wanted(), maxSearched)
		}
	}
	if got := runtime.NumGoroutine() - before; got > maxSearched*3/2 {
		t.Errorf("%d goroutines for %d searches", got, maxSearched)
	}
	stop()
	all.Wait()
}

func leafCid(t *testing.T, seed uint64) api.Cid {
	return api.Cid{Cid: ipfsconntest.Leaf(t, seed, 10).Cid()}
}
