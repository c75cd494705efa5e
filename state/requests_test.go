package state

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// withRequests gives p a few requests of few names, times and pairs.
func withRequests(r *rand.Rand, p api.Pin) api.Pin {
	p.Requests = nil
	for i := range r.IntN(4) {
		q := api.PinRequest{ID: fmt.Sprint("id", i), Created: epoch.UnixMilli() + r.Int64N(50_000), Name: []string{"", "a", "b"}[r.IntN(3)]}
		if i == 0 && r.IntN(3) == 0 {
			q.ID, q.Created = "", 0
		}
		if r.IntN(2) == 0 {
			q.Metadata = map[string]string{"k": fmt.Sprint(r.IntN(3))}
		}
		p.Requests = append(p.Requests, q)
	}
	return p
}

// What the rows of requests tell is what the records do, whatever came before.
func TestRequests_AreThoseOfTheRecords(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	s := openState(t, t.TempDir())
	for range 300 {
		commit(t, s, func(b *Batch) error {
			if r.IntN(4) == 0 {
				return b.Delete(testCid(r.IntN(60)))
			}
			return b.Put(withRequests(r, randomPin(r, 60)))
		})
	}
	must(t, s.Verify(t.Context()))
	pins := slices.DeleteFunc(collect(t, s.List(t.Context(), Query{})), func(p api.Pin) bool { return p.Type != api.PinData })

	for _, span := range [][2]time.Time{{}, {epoch.Add(10500 * time.Millisecond), {}}, {{}, epoch.Add(30 * time.Second)},
		{epoch.Add(10 * time.Second), epoch.Add(11 * time.Second)}, {epoch.Add(20 * time.Second), epoch}} {
		var want, got []string
		for _, p := range pins {
			for _, q := range p.AllRequests() {
				at := p.RequestTime(q)
				if (span[0].IsZero() || at.After(span[0])) && (span[1].IsZero() || at.Before(span[1])) {
					want = append(want, fmt.Sprint(at.Format(time.RFC3339Nano), " ", p.Cid))
				}
			}
		}
		var last time.Time
		for e, err := range s.Requests(t.Context(), span[0], span[1]) {
			must(t, err)
			if !last.IsZero() && e.At.After(last) {
				t.Fatalf("%v comes after %v", e.At, last)
			}
			last = e.At
			got = append(got, fmt.Sprint(e.At.Format(time.RFC3339Nano), " ", e.Cid))
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, slices.Compact(want)) {
			t.Fatalf("between %v and %v: got %d, want %d:\n%v\n%v", span[0], span[1], len(got), len(want), got, want)
		}
		if n, err := s.CountRequests(t.Context(), span[0], span[1]); err != nil || n != len(got) {
			t.Fatalf("counted %d of %d, %v", n, len(got), err)
		}
	}
	for name, q := range map[string]struct {
		got  []api.Pin
		want func(api.PinRequest) bool
	}{
		"name": {collect(t, s.NamedRequests(t.Context(), "a")), func(r api.PinRequest) bool { return r.Name == "a" }},
		"pair": {collect(t, s.PairedRequests(t.Context(), "k", "1")), func(r api.PinRequest) bool { return r.Metadata["k"] == "1" }},
	} {
		var want []string
		for _, p := range pins {
			if slices.ContainsFunc(p.AllRequests(), q.want) {
				want = append(want, p.Cid.String())
			}
		}
		got := cids(q.got)
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("by %s: got %v, want %v", name, got, want)
		}
	}
}
