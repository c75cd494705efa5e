package sim

import (
	"math"
	"time"
)

// A Model says what Figures would be with more followers than run here. It has one term
// that the mesh gives and one that its size does:
//
//	bytes = Base + Each × followers, once the voters' places are all taken
//	delay = Start + Hop × ln followers, as the hops of a message grow
type Model struct {
	Base, Each float64
	Start, Hop time.Duration
}

// Fit is the Model nearest to measured figures, by least squares. The bytes are those of
// pins; what they are in clusters of fewer than full followers does not count.
func Fit(measured []Figures, full int) Model {
	var n, bytes, logs, delays []float64
	for _, f := range measured {
		logs, delays = append(logs, math.Log(float64(f.Followers))), append(delays, f.Most.Seconds())
		if f.Followers >= full {
			n, bytes = append(n, float64(f.Followers)), append(bytes, f.PinBytes)
		}
	}
	var m Model
	m.Base, m.Each = line(n, bytes)
	start, hop := line(logs, delays)
	m.Start, m.Hop = seconds(start), seconds(hop)
	return m
}

// At gives the Model's bytes for a pin, and the time until 99 % of the followers have it.
func (m Model) At(followers int) (bytes float64, most time.Duration) {
	n := float64(followers)
	return m.Base + m.Each*n, m.Start + seconds(m.Hop.Seconds()*math.Log(n))
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
