package feed

import (
	"errors"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/pinfold-cluster/pinfold/api"
)

func listed(pins []api.Pin) iter.Seq2[api.Pin, error] {
	return func(yield func(api.Pin, error) bool) {
		for _, p := range pins {
			if !yield(p, nil) {
				return
			}
		}
	}
}

// sharedPins have 1 to 1999 bytes each.
func sharedPins(n int) (pins []api.Pin, sum uint64) {
	r := rand.New(rand.NewPCG(1, 9))
	for i := range n {
		p := pagePin(i, "")
		p.Size = uint64(leastSize + r.IntN(2000-leastSize))
		pins = append(pins, p)
		sum += p.Size
	}
	return pins, sum
}

func openShare(t *testing.T, file string) *Share {
	t.Helper()
	s, err := OpenShare(file, followerID(1))
	check(t, err)
	return s
}

func update(t *testing.T, s *Share, pins []api.Pin, capacity uint64, table *Coverage) (changed bool) {
	t.Helper()
	changed, err := s.Update(t.Context(), listed(pins), capacity, table)
	check(t, err)
	return changed
}

// heldBy are the pins of the share, and their bytes, which it checks against Stats.
func heldBy(t *testing.T, s *Share, pins []api.Pin) (in map[api.Cid]bool) {
	t.Helper()
	in = map[api.Cid]bool{}
	sum := uint64(0)
	for _, p := range pins {
		if s.Holds(p) {
			in[p.Cid] = true
			sum += p.Size
		}
	}
	if st := s.Stats(); st.Pins != len(in) || st.Bytes != sum {
		t.Errorf("%d pins of %d bytes are held, told are %+v", len(in), sum, st)
	}
	return in
}

func missing(from, in map[api.Cid]bool) (n int) {
	for c := range from {
		if !in[c] {
			n++
		}
	}
	return n
}

func TestShare_FillsItsCapacity(t *testing.T) {
	pins, sum := sharedPins(5000)
	for _, part := range []uint64{1, 3, 100, 1000, 20_000} {
		s := openShare(t, filepath.Join(t.TempDir(), "share"))
		capacity := sum / part
		update(t, s, pins, capacity, nil)
		heldBy(t, s, pins)
		if got := s.Stats().Bytes; got > capacity || got+2000 < capacity {
			t.Errorf("of %d bytes, %d are taken", capacity, got)
		}
		if update(t, s, pins, capacity, nil) {
			t.Error("an update of the same changed it")
		}
	}
	s := openShare(t, filepath.Join(t.TempDir(), "share"))
	if update(t, s, pins, 0, nil); len(heldBy(t, s, pins)) != 0 {
		t.Error("something is held in no bytes")
	}
}

func TestShare_CountsWhatIsTooLarge(t *testing.T) {
	pins, _ := sharedPins(3)
	pins[0].Size, pins[1].Size = 700, 600
	pins[2].Type, pins[2].Size = api.PinMeta, 550 // which nobody holds
	s := openShare(t, filepath.Join(t.TempDir(), "share"))
	update(t, s, pins, 500, nil)
	if st := s.Stats(); st.TooLarge != 2 || st.LeastTooLarge != 600 {
		t.Errorf("of two that are larger than it: %+v", st)
	}
	update(t, s, pins, 650, nil)
	if st := s.Stats(); st.TooLarge != 1 || st.LeastTooLarge != 700 {
		t.Errorf("of one that is larger than it: %+v", st)
	}
	update(t, s, pins, 700, nil)
	if st := s.Stats(); st.TooLarge != 0 || st.LeastTooLarge != 0 {
		t.Errorf("of none that is larger than it: %+v", st)
	}
}

// Where few pins are left and large ones among them, those that fit are held all the same,
// and stay.
func TestShare_LeavesNoRoomForAPin(t *testing.T) {
	for n := range 60 {
		r := rand.New(rand.NewPCG(2, uint64(n)))
		var pins []api.Pin
		sum := uint64(0)
		for i := range 5 + r.IntN(40) {
			p := pagePin(1000*n+i, "")
			p.Size = uint64(leastSize + r.IntN(1<<r.IntN(24)))
			pins = append(pins, p)
			sum += p.Size
		}
		capacity := sum / uint64(2+r.IntN(4))
		s := openShare(t, filepath.Join(t.TempDir(), "share"))
		update(t, s, pins, capacity, nil)
		in := heldBy(t, s, pins)
		room := capacity - s.Stats().Bytes
		for _, p := range pins {
			if !in[p.Cid] && p.Size <= room {
				t.Errorf("pinset %d: a pin of %d bytes is left out while %d are free", n, p.Size, room)
			}
		}
		if update(t, s, pins, capacity, nil) {
			t.Errorf("pinset %d: an update of the same changed it", n)
		}
		if update(t, s, pins, capacity+1<<24, nil); missing(in, heldBy(t, s, pins)) > 0 {
			t.Errorf("pinset %d: with more room something went", n)
		}
	}
}

// A pin nearly as large as the share keeps nothing else out of it, wherever its turn is.
func TestShare_PassesOverWhatIsTooHeavy(t *testing.T) {
	pins, sum := sharedPins(5000)
	capacity := sum / 10
	heavy := pagePin(5001, "")
	heavy.Size = capacity * 9 / 10
	for n := range 20 {
		s, err := OpenShare(filepath.Join(t.TempDir(), "share"), followerID(n))
		check(t, err)
		all := append(pins, heavy)
		update(t, s, all, capacity, nil)
		claimed, claim := uint64(0), s.Claim()
		for _, p := range all {
			if claim.Has(p.Cid) {
				claimed += p.Size
			}
		}
		if heldBy(t, s, all); claimed < capacity*95/100 {
			t.Errorf("follower %d claims %d of %d bytes, with the heavy pin: %t", n, claimed, capacity, s.Holds(heavy))
		}
	}
}

func TestShare_KeepsWhatItTook(t *testing.T) {
	file := filepath.Join(t.TempDir(), "share")
	pins, sum := sharedPins(5000)
	s := openShare(t, file)
	update(t, s, pins, sum/20, nil)
	before := heldBy(t, s, pins)

	// After a restart, before and after the first update, and whatever others hold.
	s = openShare(t, file)
	for _, p := range pins {
		if s.Holds(p) != before[p.Cid] {
			t.Fatalf("after a restart, %s is held: %t", p.Cid, s.Holds(p))
		}
	}
	var claims Claims
	claims.Set(claimed(followerID(2), s.Claim(), pins[0].Timestamp, Proven))
	table := claims.Coverage(pins[0].Timestamp, Proven)
	if update(t, s, pins, sum/20, &table) {
		t.Error("what others hold moved it")
	}

	// More room: what was there stays, and others come.
	update(t, s, pins, sum/10, &table)
	more := heldBy(t, s, pins)
	if n := missing(before, more); n > 0 || len(more) < len(before)*3/2 {
		t.Errorf("with twice the room %d of %d pins went; %d are there", n, len(before), len(more))
	}

	// The pinset grows by a tenth: about as much of the share goes, and no more.
	grown, _ := sharedPins(5500)
	update(t, s, grown, sum/10, &table)
	if n := missing(more, heldBy(t, s, grown)); n == 0 || n > len(more)/5 {
		t.Errorf("after the pinset grew by a tenth, %d of %d pins went", n, len(more))
	}
}

func TestShare_NewPinsOfItsRangesAreHeldAtOnce(t *testing.T) {
	pins, sum := sharedPins(5000)
	s := openShare(t, filepath.Join(t.TempDir(), "share"))
	update(t, s, pins[:4000], sum/10, nil)
	n := 0
	claim := s.Claim()
	for _, p := range pins[4000:] {
		if claim.Has(p.Cid) != s.Holds(p) {
			t.Errorf("%s: claimed %t, held %t", p.Cid, claim.Has(p.Cid), s.Holds(p))
		}
		if s.Holds(p) {
			n++
		}
	}
	if n < 50 || n > 200 {
		t.Errorf("%d of 1000 new pins are held by a share of an eighth", n)
	}
}

func TestShare_LeavesWhatIsNotForIt(t *testing.T) {
	pins, sum := sharedPins(100)
	large, meta, unknown := pagePin(1001, ""), pagePin(1002, ""), pagePin(1003, "")
	large.Size, meta.Type, unknown.Size = sum+1, api.PinMeta, 0
	s := openShare(t, filepath.Join(t.TempDir(), "share"))
	update(t, s, append(pins, large, meta), sum, nil)
	if s.Holds(large) || s.Holds(meta) {
		t.Errorf("held are the too large pin: %t, the meta pin: %t", s.Holds(large), s.Holds(meta))
	}
	if n := s.Stats().Pins; n != 100 {
		t.Errorf("%d pins are held, want all 100", n)
	}
	mean := sum / 100
	if update(t, s, append(pins, unknown), sum+mean, nil); s.Stats().Bytes != sum+mean {
		t.Errorf("a pin of unknown size counts for %d bytes, want %d", s.Stats().Bytes-sum, mean)
	}
}

// A node has rows for each block and pin: a share of tiny pins is bounded by those.
func TestShare_TinyPinsTakeRoom(t *testing.T) {
	pins, _ := sharedPins(1000)
	for i := range pins {
		pins[i].Size = 5
	}
	s := openShare(t, filepath.Join(t.TempDir(), "share"))
	update(t, s, pins, 100*leastSize, nil)
	if n := s.Stats().Pins; n < 50 || n > 100 {
		t.Errorf("%d pins are held, want about the 100 that there is room for", n)
	}
}

func TestShare_FaultsLeaveItAsItWas(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "share")
	pins, sum := sharedPins(1000)
	s := openShare(t, file)
	update(t, s, pins, sum/10, nil)
	before := heldBy(t, s, pins)
	broken := errors.New("broken")
	_, err := s.Update(t.Context(), func(yield func(api.Pin, error) bool) { yield(api.Pin{}, broken) }, sum, nil)
	if !errors.Is(err, broken) {
		t.Errorf("%v, want what reading pins gave", err)
	}
	s.file = filepath.Join(dir, "none", "share")
	if _, err := s.Update(t.Context(), listed(pins), sum, nil); err == nil {
		t.Error("it changed without being written down")
	}
	if in := heldBy(t, s, pins); len(in) != len(before) || missing(before, in) > 0 {
		t.Errorf("%d pins are held, want the %d of before", len(in), len(before))
	}

	whole, err := os.ReadFile(file)
	check(t, err)
	for name, b := range map[string][]byte{"cut": whole[:len(whole)/2], "empty": {}, "other": []byte("{}")} {
		check(t, os.WriteFile(file, b, 0o600))
		if _, err := OpenShare(file, followerID(1)); api.KindOf(err) != api.Internal && api.KindOf(err) != api.Unsupported {
			t.Errorf("%s: %v", name, err)
		}
	}
}
