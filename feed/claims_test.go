package feed

import (
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// claimed is a claim; one that is proven is of what its follower has whole.
func claimed(id api.PeerID, c Claim, at time.Time, s Standing) Claimed {
	if s == Proven {
		return Claimed{Peer: id, Claim: c, At: at, Standing: s, Held: 100, Looked: at}
	}
	return Claimed{Peer: id, Claim: c, At: at, Standing: s}
}

func TestClaims_LatestOfEachCounts(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var one Claim
	one.add(7)
	one.add(4095)
	var s Claims
	s.Set(claimed(followerID(1), ClaimAll(), now, Proven))
	s.Set(claimed(followerID(1), one, now.Add(-time.Second), Proven)) // older than what is known
	s.Note(claimed(followerID(2), ClaimAll(), now, Proven))
	s.Note(claimed(followerID(2), one, now.Add(time.Second), Proven))
	s.Set(claimed(followerID(3), one, now, Proven))
	s.Set(claimed(followerID(4), one, now, Proven))
	s.Set(claimed(followerID(4), Claim{}, now, Withdrawn))
	s.Set(claimed(followerID(5), one, now, Said))
	table := s.Coverage(now, Proven)
	if table.Followers != 3 || table.count(7) != 3 || table.count(8) != 1 || table.count(4095) != 3 {
		t.Errorf("%d followers, %d, %d and %d copies", table.Followers, table.count(7), table.count(8), table.count(4095))
	}
	if n := s.Coverage(now, Said).count(7); n != 4 {
		t.Errorf("with the one that proved nothing %d claim it, want 4", n)
	}
	s.Prune(now.Add(time.Second))
	if n := s.Coverage(now, Said).Followers; n != 1 {
		t.Errorf("%d followers are left, want 1", n)
	}
}

func TestClaims_StandingsMerge(t *testing.T) {
	early, late := time.Unix(1_800_000_000, 0), time.Unix(1_800_000_001, 0)
	for _, tt := range []struct {
		early, late, want Standing
	}{
		{Said, Proven, Proven},
		{Proven, Said, Proven},
		{Proven, Withdrawn, Withdrawn},
		{Withdrawn, Proven, Proven},
		{Withdrawn, Said, Said},
		{Lied, Proven, Lied},
		{Lied, Said, Lied},
		{Proven, Lied, Lied},
	} {
		a, b := claimed(followerID(1), ClaimAll(), early, tt.early), claimed(followerID(1), ClaimAll(), late, tt.late)
		for _, order := range [][2]Claimed{{a, b}, {b, a}} {
			var s Claims
			s.Set(order[0])
			s.Note(order[1])
			if got, ok := s.Standing(followerID(1)); !ok || got != tt.want {
				t.Errorf("%v, later %v: %v, want %v", tt.early, tt.late, got, tt.want)
			}
		}
	}
	var s Claims
	s.Set(claimed(followerID(1), ClaimAll(), early, Lied))
	s.Set(claimed(followerID(1), ClaimAll(), late, Proven))
	s.Prune(late)
	if _, ok := s.Standing(followerID(1)); ok {
		t.Error("what it says keeps its lie from growing old")
	}
}

// Two members that hear of the same follower and tell each other come to rest.
func TestClaims_NewsEnd(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var a, b Claims
	var fromA, fromB uint64
	told := 0
	tell := func(from, to *Claims, rev *uint64) {
		list, upTo := from.Since(*rev, 100)
		*rev, told = upTo, told+len(list)
		for _, c := range list {
			to.Set(c)
		}
	}
	var claim Claim
	for n := range 20 {
		if n == 10 {
			claim.add(7)
		}
		now = now.Add(time.Second)
		a.Note(claimed(followerID(1), claim, now, Proven))
		tell(&a, &b, &fromA)
		now = now.Add(time.Second)
		b.Note(claimed(followerID(1), claim, now, Said))
		tell(&b, &a, &fromB)
	}
	if told > 4 {
		t.Errorf("%d were told of what changed once", told)
	}
	if a.Coverage(now, Proven).count(7) != 1 || b.Coverage(now, Proven).count(7) != 1 {
		t.Error("the members do not count the same")
	}
	a.Note(claimed(followerID(1), claim, now.Add(claimAgain), Proven))
	if list, _ := a.Since(fromA, 100); len(list) != 1 {
		t.Error("what has not changed for long is not told again")
	}
}

// A claim counts as far as its follower was found to hold it, by the last look.
func TestClaims_CountByWhatIsHeld(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var s Claims
	claim := func(id int, held uint8, looked int) {
		now = now.Add(time.Second)
		s.Set(Claimed{Peer: followerID(id), Claim: ClaimAll(), At: now, Standing: Proven, Held: held, Looked: time.Unix(int64(looked), 0)})
	}
	want := func(n int, of string) {
		t.Helper()
		if got := s.Coverage(now, Proven); got.count(7) != n || got.Followers == 0 {
			t.Errorf("%s: %d copies, want %d", of, got.count(7), n)
		}
	}
	for id := range 10 {
		claim(id, 30, 1)
	}
	want(3, "ten that hold 30 %")
	claim(0, 100, 2)
	want(4, "one that has fetched the rest")
	claim(0, 0, 1)
	want(4, "who looked before that")
	s.Set(Claimed{Peer: followerID(0), Claim: ClaimAll(), At: now.Add(time.Second), Standing: Said})
	want(4, "and its word alone")
	claim(20, 0, 0)
	want(4, "one at which nobody looked")
}

// What is held changes all the time while it is fetched: members tell of it now and then.
func TestClaims_NewsOfWhatIsHeld(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var s Claims
	rev, news := uint64(0), 0
	for held := range uint8(101) {
		now = now.Add(time.Minute)
		s.Note(Claimed{Peer: followerID(1), Claim: ClaimAll(), At: now, Standing: Proven, Held: held, Looked: now})
		list, upTo := s.Since(rev, 10)
		rev, news = upTo, news+len(list)
	}
	if news != 11 {
		t.Errorf("in steps of one percent there was news %d times, want 11", news)
	}
}

func TestClaims_SinceGoesInPages(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var s Claims
	if _, upTo := s.Since(0, 10); upTo != 0 {
		t.Errorf("nobody claims anything, and the news goes up to %d", upTo)
	}
	for n := range 25 {
		s.Note(claimed(followerID(n), ClaimAll(), now, Proven))
	}
	s.Set(claimed(followerID(100), ClaimAll(), now, Proven)) // another member's to tell
	rev, pages := uint64(0), 0
	for seen := map[string]bool{}; ; pages++ {
		list, upTo := s.Since(rev, 10)
		for _, c := range list {
			seen[string(c.Peer)] = true
		}
		if rev = upTo; len(list) < 10 {
			if len(seen) != 25 || pages != 2 {
				t.Errorf("%d claims in %d full pages", len(seen), pages)
			}
			break
		}
	}
	if list, upTo := s.Since(rev, 10); len(list) > 0 || upTo != rev {
		t.Errorf("%d claims are news once more, up to %d", len(list), upTo)
	}
}

func TestClaims_AreBounded(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var s Claims
	for n := range maxClaims + 3 {
		s.Set(Claimed{Peer: followerID(n), At: now.Add(time.Duration(n))})
	}
	if n := s.Coverage(now, Said).Followers; n != maxClaims {
		t.Errorf("%d claims are kept, want %d", n, maxClaims)
	}
	if _, ok := s.Standing(followerID(2)); ok {
		t.Error("one of the oldest is kept")
	}
}

// Names cost nothing: neither who only says that it has something, nor who is found to lie
// under many of them, has those forgotten that proved what they have, or that lied before.
func TestClaims_AreNotCrowdedOut(t *testing.T) {
	const early, late = 10, 20 // that were there before all others, and that come when all is full
	now := time.Unix(1_800_000_000, 0)
	for _, c := range []struct {
		name              string
		first, then, last Standing
		stay              int // of the first
	}{
		{"who says something and who proved it", Proven, Said, Said, early},
		{"who says something and who lied", Lied, Said, Said, early},
		{"who claims nothing any more and who proved it", Proven, Withdrawn, Said, early},
		{"who proves something and who says it", Said, Said, Proven, 0},
		{"who lies and who proved something", Proven, Lied, Lied, early},
		{"who proves something and who lied", Lied, Proven, Proven, early},
		{"who proves something and who did before", Proven, Proven, Proven, 0},
		{"who says something where all have proved it", Proven, Proven, Said, early},
	} {
		var s Claims
		n := 0
		put := func(count int, standing Standing) {
			for range count {
				s.Set(claimed(followerID(n), ClaimAll(), now.Add(time.Duration(n)*time.Second), standing))
				n++
			}
		}
		put(early, c.first)
		put(maxClaims-early, c.then)
		put(late, c.last)
		stayed := 0
		for i := range early {
			if standing, ok := s.Standing(followerID(i)); ok && standing == c.first {
				stayed++
			}
		}
		if stayed != c.stay || len(s.all) != maxClaims {
			t.Errorf("%s: of the first %d stayed, want %d of %d; %d are kept", c.name, stayed, c.stay, early, len(s.all))
		}
	}
}
