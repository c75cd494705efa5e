package sim

import (
	"testing"
	"testing/synctest"
	"time"
)

// measure is Measure in a bubble of its own.
func measure(t *testing.T, l Load) (f Figures) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var err error
		if f, err = Measure(dir, l); err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("%+v", f)
	return f
}

// visit is Visit in a bubble of its own.
func visit(t *testing.T) (bytes float64) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var err error
		if bytes, err = Visit(dir); err != nil {
			t.Fatal(err)
		}
	})
	return bytes
}

// Members are asked for a place some ten thousand times in a day where ten thousand
// followers have none.
func TestVoters_VisitCostsLittle(t *testing.T) {
	n := visit(t)
	t.Logf("%.0f bytes", n)
	if n < 2*setUpBytes || n > 14_000 {
		t.Errorf("a visit costs the voters %.0f bytes", n)
	}
}

// With three places a full peer, nine followers take them all. Ten times as many may not
// cost much more: it would show here if members sent to more peers as there are more, or
// if followers without a place called them all the time. Of those that were here, members
// ask one each second: that is over when it is measured what idling costs.
func TestVoters_CostDoesNotGrowWithFollowers(t *testing.T) {
	load := func(followers int) Load {
		return Load{Followers: followers, Places: 3, Ramp: 5 * time.Second, Settle: time.Minute,
			Idle: time.Minute, Pins: 10, Every: time.Second, Churn: 2}
	}
	few, many := measure(t, load(9)), measure(t, load(36))
	if many.Guests > voters*3 {
		t.Errorf("%d followers have a place of %d", many.Guests, voters*3)
	}
	if many.EnterBytes > 1.5*few.EnterBytes {
		t.Errorf("a follower that enters costs the voters %.0f bytes among 9 followers, %.0f among 36", few.EnterBytes, many.EnterBytes)
	}
	// Those whose neighbour leaves ask each other first: a dozen calls would be 100,000.
	if many.Near.plus(many.Far).each() > 50_000 {
		t.Errorf("a follower of 36 that leaves and comes back costs the voters %.0f bytes", many.Near.plus(many.Far).each())
	}
	if many.PinBytes > 1.5*few.PinBytes {
		t.Errorf("a pin costs the voters %.0f bytes with 9 followers, %.0f with 36", few.PinBytes, many.PinBytes)
	}
	if many.IdleBytes > 1.5*few.IdleBytes {
		t.Errorf("an idle second costs the voters %.0f bytes with 9 followers, %.0f with 36", few.IdleBytes, many.IdleBytes)
	}
}
