package feed

import (
	"path/filepath"
	"testing"
)

// Who comes takes of what the table shows to be thin, and of everything where there is none.
func TestShare_TakesWhatIsThinFirst(t *testing.T) {
	pins, sum := sharedPins(5000)
	var claims Claims
	var low Claim
	for r := range shareRanges / 2 {
		low.add(r)
	}
	for n := range 10 {
		claims.Set(claimed(followerID(100+n), low, pins[0].Timestamp, Proven))
	}
	table := claims.Coverage(pins[0].Timestamp, Proven)
	for name, tt := range map[string]struct {
		table       *Coverage
		least, most float64 // part of the bytes taken that nobody else has
	}{"by the table": {&table, 0.9, 1}, "without one": {nil, 0.3, 0.7}} {
		s := openShare(t, filepath.Join(t.TempDir(), "share"))
		update(t, s, pins, sum/10, tt.table)
		thin := uint64(0)
		for _, p := range pins {
			if s.Holds(p) && !low.Has(p.Cid) {
				thin += p.Size
			}
		}
		if part := float64(thin) / float64(s.Stats().Bytes); part < tt.least || part > tt.most {
			t.Errorf("%s, %.2f of what it takes is thin, want %.1f to %.1f", name, part, tt.least, tt.most)
		}
	}
}
