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
		"just started":          {with(func(s *api.FollowerStatus) { s.Heard = time.Time{} }), time.Second, "up to date"},
	} {
		if got := progress(c.s, "archive", c.up); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
