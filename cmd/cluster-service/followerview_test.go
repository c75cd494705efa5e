package main

import (
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/feed"
)

// To count reads the pinset: where nothing has changed a follower does without.
func TestCensus_IsTakenWhenThereMayBeNews(t *testing.T) {
	none, busy := censusSign{chosen: true}, censusSign{chosen: true, unfinished: 3}
	for _, tt := range []struct {
		name  string
		was   censusSign
		is    censusSign
		all   bool
		age   time.Duration
		stale bool
	}{
		{"all is there", none, none, true, time.Minute, false},
		{"all is there, for long", none, none, true, censusAnyway + time.Second, true},
		{"what is missing is being fetched", busy, busy, false, time.Minute, false},
		{"some of it has come", busy, censusSign{chosen: true, unfinished: 2}, false, censusEvery, true},
		{"the tracker has not begun", none, none, false, censusEvery, true},
		{"the pinset has changed", none, censusSign{chosen: true, news: 1}, true, censusEvery, true},
		{"the share has changed", none, censusSign{chosen: true, share: feed.ShareStats{Pins: 1}}, true, censusEvery, true},
		{"the share is chosen", censusSign{}, none, true, censusEvery, true},
	} {
		if got := tt.was.stale(tt.is, tt.all, tt.age); got != tt.stale {
			t.Errorf("%s: %t", tt.name, got)
		}
	}
}
