package sim

import (
	"flag"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

var (
	sizes = flag.String("sizes", "", "numbers of followers to measure, separated by commas: make sim")
	told  = flag.String("told", "10000", "numbers of followers to tell of by the model")
)

// TestScale is `make sim`: it measures the numbers of followers asked for, fits the
// model to them, and prints both.
func TestScale(t *testing.T) {
	if *sizes == "" {
		t.Skip("no -sizes: run make sim")
	}
	const places = 64
	var all []Figures
	for _, n := range numbers(t, *sizes) {
		all = append(all, measure(t, Load{Followers: n, Places: places, Ramp: 30 * time.Second, Settle: 30 * time.Second,
			Idle: time.Minute, Pins: 30, Every: time.Second, Churn: min(10, n)}))
	}
	print(all)
	if len(all) < 3 {
		return
	}
	last := all[len(all)-1]
	before := Fit(all[:len(all)-1], places)
	bytes, most := before.At(last.Followers)
	fmt.Printf("\nfitted to the others, the model says %.0f B and %v of %d followers: off by %.0f and %.0f %%\n", bytes, most.Round(time.Millisecond),
		last.Followers, off(bytes, last.PinBytes), off(most.Seconds(), last.Most.Seconds()))
	m := Fit(all, places)
	fmt.Printf("fitted to all: %.0f B + %.2f B a follower; %v + %v ln(followers)\n", m.Base, m.Each, m.Start.Round(time.Millisecond), m.Hop.Round(time.Millisecond))
	for _, n := range numbers(t, *told) {
		bytes, most := m.At(n)
		fmt.Printf("%d followers: %.0f B a pin, %.2f times those of %d; 99 %% have it in %v\n", n, bytes, bytes/all[0].PinBytes, all[0].Followers, most.Round(time.Millisecond))
	}
}

func print(all []Figures) {
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	defer w.Flush()
	fmt.Fprintln(w, "followers\tplaces taken\tB/pin\tidle B/s\tvisits B/s\tB to enter\tB to return\t50 %\t99 %\tall\t")
	for _, f := range all {
		fmt.Fprintf(w, "%d\t%d\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%d ms\t%d ms\t%d ms\t\n", f.Followers, f.Guests, f.PinBytes, f.IdleBytes, f.VisitBytes,
			f.EnterBytes, f.ChurnBytes, f.Half.Milliseconds(), f.Most.Milliseconds(), f.Last.Milliseconds())
	}
}

func off(got, want float64) float64 { return 100 * math.Abs(got-want) / want }

func numbers(t *testing.T, list string) (out []int) {
	for _, s := range strings.Split(list, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			t.Fatalf("%q is no number of followers", s)
		}
		out = append(out, n)
	}
	return out
}

func TestFit_FindsTheLawThatFiguresKeep(t *testing.T) {
	var all []Figures
	for _, n := range []int{30, 100, 300, 1000} {
		f := Figures{Followers: n, PinBytes: 30_000 + 2*float64(n), Most: time.Duration(float64(50*time.Millisecond) * (1 + math.Log(float64(n))))}
		if n < 64 {
			f.PinBytes = 1 // places are left: it does not count
		}
		all = append(all, f)
	}
	bytes, most := Fit(all, 64).At(10_000)
	if math.Abs(bytes-50_000) > 1 {
		t.Errorf("%.0f bytes, want 50000", bytes)
	}
	if want := seconds(0.05 * (1 + math.Log(10_000))); (most - want).Abs() > time.Millisecond {
		t.Errorf("%v, want %v", most, want)
	}
}
