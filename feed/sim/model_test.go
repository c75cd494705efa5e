package sim

import (
	"math"
	"testing"
	"time"
)

func TestFit_FindsTheLawThatFiguresKeep(t *testing.T) {
	var all []Figures
	for _, n := range []int{30, 300, 1000} {
		f := Figures{Followers: n, PinBytes: 30_000, ChurnBytes: 20_000, Most: time.Duration(float64(50*time.Millisecond) * (1 + math.Log(float64(n))))}
		if n < 64 { // places are left: it does not count
			f.PinBytes, f.ChurnBytes = 1, 1
		}
		all = append(all, f)
	}
	m := Fit(all, 64)
	visits := 10_000 * visitBytes / visitEvery.Seconds()
	if got, want := m.Bytes(10_000, 10_000*time.Second), 30_000+visits+20_000; math.Abs(got-want) > 1 {
		t.Errorf("%.0f bytes, want %.0f", got, want)
	}
	if got, want := m.Most(10_000), seconds(0.05*(1+math.Log(10_000))); (got - want).Abs() > time.Millisecond {
		t.Errorf("%v, want %v", got, want)
	}
}
