package main

import (
	"strings"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

func TestProgress_SaysWhatIsWrong(t *testing.T) {
	now := time.Now()
	good := api.FollowerStatus{Neighbours: 3, Index: 7, Latest: 7, Heard: now, Wanted: 2, Pinned: 2, Known: 2}
	with := func(change func(*api.FollowerStatus)) api.FollowerStatus {
		s := good
		change(&s)
		return s
	}
	for name, c := range map[string]struct {
		s    api.FollowerStatus
		up   time.Duration
		want string
	}{
		"all is well":           {good, time.Hour, "up to date"},
		"behind":                {with(func(s *api.FollowerStatus) { s.Latest = 9 }), time.Hour, "catching up: at index 7 of 9"},
		"alone":                 {with(func(s *api.FollowerStatus) { s.Neighbours = 0 }), time.Hour, "no peer of the cluster can be reached"},
		"stopped":               {with(func(s *api.FollowerStatus) { s.Stopped = "a lie" }), time.Hour, "STOPPED at index 7: a lie"},
		"silent neighbours":     {with(func(s *api.FollowerStatus) { s.Heard = now.Add(-5 * time.Minute) }), time.Hour, "no member of the cluster has been heard for 5m0s"},
		"silent from the start": {with(func(s *api.FollowerStatus) { s.Heard, s.Index = time.Time{}, 0 }), time.Hour, "no member of the cluster has been heard for 1h0m0s"},
		"before a page":         {api.FollowerStatus{Neighbours: 1}, time.Minute, "fetching the pinset: 0 pins so far"},
		"pages come":            {api.FollowerStatus{Neighbours: 1, Known: 40_000, Total: 100_000, KnownRate: 12_345}, time.Minute, "fetching the pinset: synced 40,000 of 100,000 pins, 12,345/s"},
		"pages replace others":  {api.FollowerStatus{Neighbours: 1, Known: 120_000, Total: 100_000}, time.Minute, "fetching the pinset: synced 100,000 of 100,000 pins"},
		"no share yet":          {with(func(s *api.FollowerStatus) { s.Known, s.Wanted, s.Choosing = 252, 0, true }), time.Hour, "choosing what to hold of the cluster's 252 pins"},
		"just started":          {with(func(s *api.FollowerStatus) { s.Heard = time.Time{} }), time.Second, "up to date"},
	} {
		if got := progress(c.s, "archive", c.up); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
