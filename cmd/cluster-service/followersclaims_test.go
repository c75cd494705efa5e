package main

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/feed"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded"
	"github.com/pinfold-cluster/pinfold/state"
)

// Each member has a follower of its own, and the table that any of them signs counts all:
// those that proved a copy, until they fail to.
func TestFollowers_EveryTableCountsAll(t *testing.T) {
	peers := startCluster(t, 3, "FOLLOWERS_ASKINTERVAL=200ms", "FOLLOWERS_CHALLENGEINTERVAL=200ms")
	content := peers[0].add(randomBytes(1<<20), copies(-1))
	for _, p := range peers { // to each its own
		eventually(t, patience, func() error {
			if _, pinned, err := p.daemon.node.PinStatus(t.Context(), content); err != nil || !pinned {
				return fmt.Errorf("%s has it pinned: %t, %v", p.name, pinned, err)
			}
			return nil
		})
	}
	has := ownBlocks{peers[1].daemon.node.(*embedded.Node)} // which stays
	var all []*talker
	for i, p := range peers {
		all = append(all, p.talk(fmt.Sprint("f", i), &talker{blocks: has}))
	}
	unproven := peers[1].talk("unproven", &talker{mute: true})
	counted := func(want uint64) {
		t.Helper()
		for _, p := range peers {
			eventually(t, patience, func() error {
				signed, ok := p.daemon.audience.coverage(time.Now())
				if !ok {
					return fmt.Errorf("%s has no table", p.name)
				}
				table, err := feed.ParseCoverage(signed)
				if err == nil && (table.Followers != want || table.Copies(content) != int(want)) {
					err = fmt.Errorf("%s signs that %d followers cover something, %d of them the content; want %d", p.name, table.Followers, table.Copies(content), want)
				}
				return err
			})
		}
	}
	counted(3)
	for i, f := range all {
		eventually(t, patience, func() error {
			if table, err := f.feed.Coverage(t.Context()); err != nil || table.Followers == 0 {
				return fmt.Errorf("follower %d has the table %v, %v", i, table, err)
			}
			return nil
		})
	}
	for i, p := range peers { // connected with one each
		for j, f := range append(all, unproven) {
			eventually(t, patience, func() error {
				if known, _ := p.daemon.audience.get(f.id); known.Connected != (i == j || j == 3 && i == 1) {
					return fmt.Errorf("%s is connected with follower %d: %t", p.name, j, known.Connected)
				}
				return nil
			})
		}
	}
	all[2].lost.Store(true)
	counted(2)

	// A member that is restarted knows nothing, and is told again.
	peers[0].stop()
	peers[0].start()
	eventually(t, patience, func() error {
		if n := peers[0].daemon.audience.claims.Coverage(time.Now(), feed.Proven).Followers; n != 2 {
			return fmt.Errorf("it counts %d followers, want 2", n)
		}
		return nil
	})
}

// What is told is what is new; where there is nothing nobody is called, and who has
// forgotten is told all.
func TestHerald_TellsWhatIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := &audience{}, &audience{life: 1}
		var mu sync.Mutex
		calls, claims, down := 0, 0, false
		h := &herald{claims: &first.claims, others: func() []api.PeerID { return []api.PeerID{"second"} }, every: 10 * time.Second, log: quiet,
			tell: func(_ context.Context, _ api.PeerID, news api.ClaimNews) (api.ClaimsHeard, error) {
				mu.Lock()
				defer mu.Unlock()
				if down {
					return api.ClaimsHeard{}, api.Unavailable.Errorf("down")
				}
				calls, claims = calls+1, claims+len(news.Claims)
				return api.ClaimsHeard{Life: second.life}, second.hear(news, time.Now())
			}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- h.run(ctx) }()
		note := func(n int, s feed.Standing) {
			first.claims.Note(feed.Claimed{Peer: api.PeerID(fmt.Sprint("follower ", n)), Claim: feed.ClaimAll(), At: time.Now(), Standing: s})
		}
		after := func(what string, d time.Duration, wantCalls, wantClaims int, counted uint64) {
			t.Helper()
			mu.Lock()
			calls, claims = 0, 0
			mu.Unlock()
			time.Sleep(d)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if got := second.claims.Coverage(time.Now(), feed.Proven).Followers; calls != wantCalls || claims != wantClaims || got != counted {
				t.Errorf("%s: %d calls of %d claims, and %d count; want %d, %d, %d", what, calls, claims, got, wantCalls, wantClaims, counted)
			}
		}
		after("no followers", time.Hour, 0, 0, 0)
		for n := range 2*claimsTold + 5 {
			note(n, feed.Proven)
		}
		after("many at once", 10*time.Second, 3, 2*claimsTold+5, 2*claimsTold+5)
		note(1, feed.Withdrawn)
		note(2, feed.Lied)
		note(3, feed.Proven) // as before
		after("two go", 10*time.Second, 1, 2, 2*claimsTold+3)
		after("nothing new", time.Minute, 1, 0, 2*claimsTold+3)
		mu.Lock()
		down = true
		mu.Unlock()
		note(4, feed.Withdrawn)
		after("it cannot be reached", time.Minute, 0, 0, 2*claimsTold+3)
		mu.Lock()
		down = false
		mu.Unlock()
		after("it can", 10*time.Second, 1, 1, 2*claimsTold+2)
		mu.Lock()
		second = &audience{life: 2}
		mu.Unlock()
		after("it has forgotten", time.Minute, 4, 2*claimsTold+5, 2*claimsTold+2)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestAudience_HearsNoNonsense(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	claim := make([]byte, len(feed.Claim{}))
	good := api.FollowerClaim{Peer: "a", Claim: claim, At: now.Add(time.Hour), Standing: int8(feed.Proven)}
	for name, bad := range map[string]api.FollowerClaim{
		"nobody": {Claim: claim, At: now}, "no claim": {Peer: "b", At: now}, "a long claim": {Peer: "b", Claim: append(claim, 1), At: now},
		"a standing too high": {Peer: "b", Claim: claim, At: now, Standing: 2}, "too low": {Peer: "b", Claim: claim, At: now, Standing: -3},
		"more than all": {Peer: "b", Claim: claim, At: now, Held: 101},
	} {
		a := &audience{}
		if err := a.hear(api.ClaimNews{Claims: []api.FollowerClaim{good, bad}}, now); api.KindOf(err) != api.Invalid {
			t.Errorf("%s: %v, want Invalid", name, err)
		}
		if n := a.claims.Coverage(now, feed.Said).Followers; n > 0 {
			t.Errorf("%s: %d claims are kept", name, n)
		}
	}
	a := &audience{}
	if err := a.hear(api.ClaimNews{Claims: make([]api.FollowerClaim, claimsTold+1)}, now); api.KindOf(err) != api.TooLarge {
		t.Errorf("too many: %v, want TooLarge", err)
	}
	if err := a.hear(api.ClaimNews{Claims: []api.FollowerClaim{good}}, now); err != nil {
		t.Fatal(err)
	}
	if a.claims.Prune(now.Add(time.Second)); a.claims.Coverage(now, feed.Said).Followers > 0 {
		t.Error("a claim from a clock that is fast counts for longer")
	}
}

// noPins is an empty pinset.
type noPins struct{}

func (noPins) Get(context.Context, api.Cid) (api.Pin, error) {
	return api.Pin{}, api.NotFound.Errorf("no pin")
}
func (noPins) List(context.Context, state.Query) iter.Seq2[api.Pin, error] {
	return func(func(api.Pin, error) bool) {}
}

// noNode is a node that has nothing.
type noNode struct{ noBlocks }

func (noNode) PinStatus(context.Context, api.Cid) (api.PinMode, bool, error) { return 0, false, nil }

// One that has no place here has its turn to prove a copy while it visits.
func TestChallenger_TakesVisitors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHall(0)
		h.report = feed.Report{Index: 7, Digest: make([]byte, 32), Settled: true, Hold: "all"}
		a := h.attend(t, newBook(maxKnown))
		c := newChallenger(a, noPins{}, noNode{}, nil, 10*time.Minute, time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.run(ctx) }()
		a.met(feed.Peer{ID: "visitor"})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		n, _ := a.book.get("visitor")
		if next := n.results.last.Add(10 * time.Minute); n.asked.IsZero() || next.Before(time.Now()) || next.After(time.Now().Add(challengeSoon)) {
			t.Errorf("asked at %v, and having had nothing to prove it has its next turn at %v", n.asked, next)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
