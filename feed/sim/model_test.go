package sim

import (
	"math"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/feed"
)

func TestFit_FindsTheLawThatFiguresKeep(t *testing.T) {
	var all []Figures
	for _, n := range []int{30, 300, 1000} {
		f := Figures{Followers: n, IdleBytes: 3000, PinBytes: 30_000, Guests: min(n, 60), Near: Returns{11_000, 1}, Far: Returns{4000, 4},
			Most: time.Duration(float64(50*time.Millisecond) * (1 + math.Log(float64(n))))}
		if n < 64 { // places are left: it does not count
			f.IdleBytes, f.PinBytes = 1, 1
		}
		all = append(all, f)
	}
	m := Fit(all, 64)
	if math.Abs(m.Idle-3000) > 1 || math.Abs(m.Pin-30_000) > 1 {
		t.Errorf("%.0f bytes idle and %.0f a pin, want 3000 and 30000", m.Idle, m.Pin)
	}
	visit := feed.VisitEvery.Seconds() // a byte a second, of each
	if got, want := m.Coming(10_000, visit, 10_000*time.Second), 10_000-60+1000+60.0; math.Abs(got-want) > 1 {
		t.Errorf("%.0f bytes, want %.0f", got, want)
	}
	if got, want := m.Most(10_000), seconds(0.05*(1+math.Log(10_000))); (got - want).Abs() > time.Millisecond {
		t.Errorf("%v, want %v", got, want)
	}
}
