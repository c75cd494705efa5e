package sim

import (
	"math"
	"time"
)

const (
	// visitEvery is how often a follower without a place at a voter asks for one, in the
	// long run, as in package feed; visitBytes is what that costs the voters: measured
	// where 108 of 300 followers had none.
	visitEvery = 4 * time.Hour
	visitBytes = 10_300
)

// A Model says what Figures would be with more followers than run here. Once the voters'
// places are all taken, what they send for a pin is that of their mesh and their places,
// whatever lies behind; only who comes, goes or looks for a place adds to it. A message
// takes more hops the more followers there are, as their logarithm.
type Model struct {
	Pin, Return float64       // as PinBytes and ChurnBytes, of clusters whose places are taken
	Off         float64       // how far the figures are from Pin at most, a share of it
	Start, Hop  time.Duration // 99 % have a pin after Start + Hop × ln followers
}

// Fit is the Model nearest to measured figures. Those with fewer than full followers tell
// nothing of bytes.
func Fit(measured []Figures, full int) Model {
	var pins, returns, logs, delays []float64
	for _, f := range measured {
		logs, delays = append(logs, math.Log(float64(f.Followers))), append(delays, f.Most.Seconds())
		if f.Followers >= full {
			pins, returns = append(pins, f.PinBytes), append(returns, f.ChurnBytes)
		}
	}
	m := Model{Pin: mean(pins), Return: mean(returns)}
	for _, p := range pins {
		m.Off = max(m.Off, math.Abs(p-m.Pin)/m.Pin)
	}
	start, hop := line(logs, delays)
	m.Start, m.Hop = seconds(start), seconds(hop)
	return m
}

// Bytes are the voters' for a pin, at a pin a second, where each follower leaves and comes
// back once in the time stay.
func (m Model) Bytes(followers int, stay time.Duration) float64 {
	n := float64(followers)
	return m.Pin + n*visitBytes/visitEvery.Seconds() + n*m.Return/stay.Seconds()
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
