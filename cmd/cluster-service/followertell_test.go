package main

import (
	"strings"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/feed"
)

// What is advised to the owner of a follower that stopped is what makes it go on.
func TestProgress_SaysWhatMakesItGoOn(t *testing.T) {
	const link, resume = "cluster-service follow archive LINK", "cluster-service follow archive resume"
	for name, c := range map[string]struct {
		s    feed.FollowerStatus
		want string
	}{
		"members contradict each other": {feed.FollowerStatus{Stopped: "a reason"}, resume},
		"two keys":                      {feed.FollowerStatus{Stopped: "a reason", KeyInDoubt: true}, link},
		"another incarnation":           {feed.FollowerStatus{Renewed: true}, link},
		"that after two keys":           {feed.FollowerStatus{Stopped: "a reason", KeyInDoubt: true, Renewed: true}, link},
		"that after a contradiction":    {feed.FollowerStatus{Stopped: "a reason", Renewed: true}, link},
	} {
		s := api.FollowerStatus{Index: 7}
		s.Stopped, s.StoppedFor = stopped(c.s)
		got := progress(s, "archive", time.Hour)
		if !strings.HasPrefix(got, "STOPPED at index 7: "+s.Stopped+"\n") || !strings.HasSuffix(got, ": "+c.want) || strings.Count(got, "cluster-service") != 1 {
			t.Errorf("%s: %q, want it to advise %q alone", name, got, c.want)
		}
	}
	if why, kind := stopped(feed.FollowerStatus{}); why != "" || kind != "" {
		t.Errorf("one that goes on has stopped: %q, %q", why, kind)
	}
}

func TestProgress_SaysWhatIsWrong(t *testing.T) {
	now := time.Now()
	good := api.FollowerStatus{Neighbours: 3, Index: 7, Latest: 7, Heard: now, Wanted: 2, Pinned: 2, Known: 2}
	with := func(change func(*api.FollowerStatus)) api.FollowerStatus {
		s := good
		change(&s)
		return s
	}
	full := func(bytes, free uint64) func(*api.FollowerStatus) {
		return func(s *api.FollowerStatus) {
			s.Failed, s.Trouble, s.Capacity, s.Bytes, s.Free = 3, api.CauseDiskFull, 10<<20, bytes, free
		}
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
		"astray neighbours":     {with(func(s *api.FollowerStatus) { s.Astray = true }), time.Hour, "the peers that can be reached have lost touch with the cluster"},
		"no place":              {with(func(s *api.FollowerStatus) { s.Neighbours, s.Latest = 0, 9 }), time.Hour, "no peer of the cluster has a place for this follower now, or can be reached: it is at index 7 of 9"},
		"before a page":         {api.FollowerStatus{Neighbours: 1}, time.Minute, "fetching the pinset: 0 pins so far"},
		"pages come":            {api.FollowerStatus{Neighbours: 1, Known: 40_000, Total: 100_000, KnownRate: 12_345}, time.Minute, "fetching the pinset: synced 40,000 of 100,000 pins, 12,345/s"},
		"pages replace others":  {api.FollowerStatus{Neighbours: 1, Known: 120_000, Total: 100_000}, time.Minute, "fetching the pinset: synced 100,000 of 100,000 pins"},
		"no share yet":          {with(func(s *api.FollowerStatus) { s.Known, s.Wanted, s.Choosing = 252, 0, true }), time.Hour, "choosing what to hold of the cluster's 252 pins"},
		"too large for it":      {with(func(s *api.FollowerStatus) { s.TooLarge = &api.LargePins{Pins: 2, Least: 500 << 20, Room: 95 << 20} }), time.Hour, "up to date: holds 2 of the cluster's 2 pins, 0 B here; 2 too large for the share (500 MiB at least, room for 95 MiB)"},
		"no room for more":      {with(full(9<<20, 1<<20)), time.Hour, "up to date: holds 2 of the cluster's 2 pins, 9.0 MiB here; 3 cannot be had now (disk full): there is no room left; raise follow.capacity"},
		"a smaller capacity":    {with(full(12<<20, 0)), time.Hour, "up to date: holds 2 of the cluster's 2 pins, 12 MiB here; 3 cannot be had now (disk full): there is no room left; raise follow.capacity"},
		"a smaller disk":        {with(full(7<<20, 1<<20)), time.Hour, "up to date: holds 2 of the cluster's 2 pins, 7.0 MiB here; 3 cannot be had now (disk full): the disk is full before follow.capacity is used"},
		"a disk alone":          {with(func(s *api.FollowerStatus) { full(1<<20, 0)(s); s.Capacity = 0 }), time.Hour, "up to date: holds 2 of the cluster's 2 pins, 1.0 MiB here; 3 cannot be had now (disk full): the disk is full; free space there, or lower embedded.disk_reserve"},
		"it fetches":            {with(func(s *api.FollowerStatus) { s.Wanted, s.Rate = 9, 1<<20 }), time.Hour, "fetching content: 2 of 9 pins, 0 B here, 1.0 MiB/s"},
		"no rate, a line each":  {with(func(s *api.FollowerStatus) { full(9<<20, 1<<20)(s); s.Wanted, s.Rate = 9, 1<<20 }), time.Hour, "fetching content: 2 of 9 pins, 9.0 MiB here; 3 cannot be had now"},
		"just started":          {with(func(s *api.FollowerStatus) { s.Heard = time.Time{} }), time.Second, "up to date"},
	} {
		if got := progress(c.s, "archive", c.up); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
