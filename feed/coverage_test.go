package feed

import (
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

func TestClaims_LatestOfEachCounts(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var one Claim
	one.add(7)
	one.add(4095)
	var s Claims
	s.Set(Claimed{followerID(1), ClaimAll(), now})
	s.Set(Claimed{followerID(1), one, now.Add(-time.Second)}) // older than what is known
	s.Set(Claimed{followerID(2), ClaimAll(), now})
	s.Set(Claimed{followerID(2), one, now.Add(time.Second)})
	s.Set(Claimed{followerID(3), one, now})
	s.Set(Claimed{followerID(4), one, now})
	s.Forget(followerID(4))
	table := s.Coverage(now)
	if table.Followers != 3 || table.count(7) != 3 || table.count(8) != 1 || table.count(4095) != 3 {
		t.Errorf("%d followers, %d, %d and %d copies", table.Followers, table.count(7), table.count(8), table.count(4095))
	}

	// Two members that tell each other count nobody twice.
	var other Claims
	other.Set(Claimed{followerID(3), one, now})
	for _, c := range s.Since(time.Time{}) {
		other.Set(c)
	}
	if n := other.Coverage(now).count(7); n != 3 {
		t.Errorf("the other member counts %d, want 3", n)
	}
	if n := len(s.Since(now.Add(time.Second))); n != 1 {
		t.Errorf("%d claims since then, want 1", n)
	}
	s.Prune(now.Add(time.Second))
	if n := s.Coverage(now).Followers; n != 1 {
		t.Errorf("%d followers are left, want 1", n)
	}
}

func TestClaims_AreBounded(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var s Claims
	for n := range maxClaims + 3 {
		s.Set(Claimed{Peer: followerID(n), At: now.Add(time.Duration(n))})
	}
	if n := s.Coverage(now).Followers; n != maxClaims {
		t.Errorf("%d claims are kept, want %d", n, maxClaims)
	}
	if n := len(s.Since(now.Add(3))); n != maxClaims {
		t.Errorf("of the %d latest, %d are kept", maxClaims, n)
	}
}

func TestCoverage_OnTheWire(t *testing.T) {
	var s Claims
	s.Set(Claimed{followerID(1), ClaimAll(), time.Unix(1, 0)})
	b, err := api.Encode(s.Coverage(time.Unix(1_800_000_000, 0)))
	check(t, err)
	if len(b) > 16<<10 {
		t.Errorf("a table takes %d bytes, at most 16 KiB are allowed", len(b))
	}
	table, err := ParseCoverage(b)
	check(t, err)
	if table.Time != 1_800_000_000 || table.Followers != 1 || table.Copies(pageCid(1)) != 1 {
		t.Errorf("read was %+v", table)
	}
	short, err := api.Encode(Coverage{Counts: make([]byte, 10)})
	check(t, err)
	for name, b := range map[string][]byte{"cut": b[:100], "short": short, "long": make([]byte, 1<<20), "none": nil} {
		if _, err := ParseCoverage(b); api.KindOf(err) != api.Invalid {
			t.Errorf("%s: %v, want Invalid", name, err)
		}
	}
	// Weights can be had of any table.
	for _, table := range []*Coverage{nil, {}, &table} {
		for r, w := range weights(table) {
			if w != 1 {
				t.Fatalf("range %d weighs %v, want 1", r, w)
			}
		}
	}
}
