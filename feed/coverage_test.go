package feed

import (
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

func TestCoverage_OnTheWire(t *testing.T) {
	var s Claims
	s.Set(claimed(followerID(1), ClaimAll(), time.Unix(1, 0), Proven))
	b, err := api.Encode(s.Coverage(time.Unix(1_800_000_000, 0), Said))
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
