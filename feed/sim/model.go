package sim

import (
	"math"
	"time"

	"github.com/pinfold-cluster/pinfold/feed"
)

// visitorsAtOnce, as in package p2p, are at a voter at a time, and each stays visitLength.
const (
	visitorsAtOnce = 128
	visitLength    = 4 * time.Second
)

// A Model says what Figures would be with more followers than run here. Once the voters'
// places are all taken, what they send is that of their mesh and their places, whatever
// lies behind; only who comes, goes or looks for a place adds to it. A message takes more
// hops the more followers there are, as their logarithm.
type Model struct {
	Idle, Pin, Busy float64       // a second and a pin, as in Figures, of clusters whose places are taken
	Guests          float64       // the places
	Off             float64       // how far the figures are from Pin at most, a share of it
	Start, Hop      time.Duration // 99 % have a pin after Start + Hop × ln followers

	near, far float64 // a return of who has a place, and of who has none
}

// Fit is the Model nearest to measured figures. Those with fewer than full followers tell
// nothing of bytes.
func Fit(measured []Figures, full int) (m Model) {
	var logs, delays []float64
	var taken []Figures
	var near, far Returns
	for _, f := range measured {
		logs, delays = append(logs, math.Log(float64(f.Followers))), append(delays, f.Most.Seconds())
		near, far = near.plus(f.Near), far.plus(f.Far)
		if f.Followers >= full {
			taken = append(taken, f)
		}
	}
	of := func(figure func(Figures) float64) float64 {
		var all []float64
		for _, f := range taken {
			all = append(all, figure(f))
		}
		return mean(all)
	}
	m.Idle = of(func(f Figures) float64 { return f.IdleBytes })
	m.Pin = of(func(f Figures) float64 { return f.PinBytes })
	m.Busy = of(func(f Figures) float64 { return f.BusyBytes })
	m.Guests = of(func(f Figures) float64 { return float64(f.Guests) })
	m.near, m.far = near.each(), far.each()
	for _, f := range taken {
		m.Off = max(m.Off, math.Abs(f.PinBytes-m.Pin)/m.Pin)
	}
	start, hop := line(logs, delays)
	m.Start, m.Hop = seconds(start), seconds(hop)
	return m
}

// Coming is what a second costs of followers that look for a place, for visit bytes a
// time, and that leave and come back once in the time stay.
func (m Model) Coming(followers int, visit float64, stay time.Duration) float64 {
	n := float64(followers)
	return max(0, n-m.Guests)*visit/feed.VisitEvery.Seconds() + n*m.Return(followers)/stay.Seconds()
}

// Return is what it costs when a follower leaves and comes back. Who has a place leaves one
// for others, and asks for another; the more followers there are, the fewer have one.
func (m Model) Return(followers int) float64 {
	return m.far + (m.near-m.far)*min(1, m.Guests/float64(followers))
}

// Rush is how long it takes until so many followers that come at one moment have all been
// at a voter, each of which lets some be there at a time.
func Rush(followers int) time.Duration {
	return time.Duration(math.Ceil(float64(followers)/(voters*visitorsAtOnce))) * visitLength
}

// Most is the time until 99 % of the followers have a pin.
func (m Model) Most(followers int) time.Duration {
	return m.Start + seconds(m.Hop.Seconds()*math.Log(float64(followers)))
}

// line fits y = a + bx.
func line(x, y []float64) (a, b float64) {
	mx, my := mean(x), mean(y)
	var xy, xx float64
	for i := range x {
		xy += (x[i] - mx) * (y[i] - my)
		xx += (x[i] - mx) * (x[i] - mx)
	}
	if xx == 0 {
		return my, 0
	}
	b = xy / xx
	return my - b*mx, b
}

func mean(v []float64) (m float64) {
	for _, x := range v {
		m += x / float64(len(v))
	}
	return m
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
