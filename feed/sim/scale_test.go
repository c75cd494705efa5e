//go:build sim

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
	sizes = flag.String("sizes", "30", "numbers of followers to measure, separated by commas: make sim")
	idle  = flag.Duration("idle", 10*time.Minute, "for which nothing happens")
	told  = flag.String("told", "10000", "numbers of followers to tell of by the model")
)

// TestScale is `make sim`: it measures the numbers of followers asked for, fits the
// model to them, and prints both. It fails where up to 10,000 followers cost more than twice
// what the fewest do.
func TestScale(t *testing.T) {
	const places, full, promised = 32, voters * 32, 10_000
	var all []Figures
	for _, n := range numbers(t, *sizes) {
		all = append(all, measure(t, Load{Followers: n, Places: places, Ramp: 30 * time.Second, Settle: 30 * time.Second,
			Idle: *idle, Pins: 30, Every: time.Second, Busy: 50, Churn: min(60, n), Late: 10}))
	}
	print(all)
	last := all[len(all)-1]
	if len(all) < 3 || last.Followers < full {
		return
	}
	before := Fit(all[:len(all)-1], full)
	fmt.Printf("\nfitted to the others, the model says %.0f B and %v of %d followers: off by %.1f and %.1f %%\n", before.Pin,
		before.Most(last.Followers).Round(time.Millisecond), last.Followers, off(before.Pin, last.PinBytes), off(before.Most(last.Followers).Seconds(), last.Most.Seconds()))
	m, visit := Fit(all, full), visit(t)
	fmt.Printf("fitted to all: %.0f B idle; %.0f B a pin, within %.1f %%; %.0f B a visit; %.0f B a return with a place, %.0f without; %v + %v ln(followers)\n",
		m.Idle, m.Pin, 100*m.Off, visit, m.near, m.far, m.Start.Round(time.Millisecond), m.Hop.Round(time.Millisecond))
	for _, n := range numbers(t, *told) {
		fmt.Printf("%d followers: 99 %% have a pin in %v; %.0f B a return\n", n, m.Most(n).Round(time.Millisecond), m.Return(n))
		fmt.Printf("if all came at one moment: %.0f MB for their visits, over %v\n", float64(n)*visit/1e6, Rush(n))
		if most := compare(m, n, visit, all[0]); n <= promised && most > 2 {
			t.Errorf("%d followers cost %.2f times what %d do: 2 are promised", n, most, all[0].Followers)
		}
	}
}

// compare prints what the voters' seconds cost with n followers, by the model, beside
// those with few, as measured, and gives the most.
func compare(m Model, n int, visit float64, few Figures) (most float64) {
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	defer w.Flush()
	fmt.Fprintf(w, "times %d, where each stays\tidle\ta pin a minute\ta pin a second\tten a second\t\n", few.Followers)
	for _, stay := range []time.Duration{6 * time.Hour, 12 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour} {
		coming := m.Coming(n, visit, stay)
		base := float64(few.Followers) * few.Near.plus(few.Far).each() / stay.Seconds()
		idle, none := m.Idle, few.IdleBytes
		ratio := func(many, few float64) float64 {
			r := (many + coming) / (few + base)
			most = max(most, r)
			return r
		}
		fmt.Fprintf(w, "%v\t%.2f\t%.2f\t%.2f\t%.2f\t\n", stay, ratio(idle, none), ratio(idle+(m.Pin-idle)/60, none+(few.PinBytes-none)/60),
			ratio(m.Pin, few.PinBytes), ratio(10*m.Busy, 10*few.BusyBytes))
	}
	return most
}

func print(all []Figures) {
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	defer w.Flush()
	fmt.Fprintln(w, "followers\tplaces taken\tB/pin\tB/pin of ten\tidle B/s\tof it asked\tB to enter\tB to return, with a place\twithout\tB late\t50 %\t99 %\tall\t")
	for _, f := range all {
		fmt.Fprintf(w, "%d\t%d\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f of %d\t%.0f of %d\t%.0f\t%d ms\t%d ms\t%d ms\t\n", f.Followers, f.Guests, f.PinBytes, f.BusyBytes, f.IdleBytes,
			f.AskBytes, f.EnterBytes, f.Near.each(), f.Near.Count, f.Far.each(), f.Far.Count, f.LateBytes, f.Half.Milliseconds(), f.Most.Milliseconds(), f.Last.Milliseconds())
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
