package main

import (
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
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

// What a lowered capacity, or a pinset that has outgrown it, gives up is removed soon: once.
func TestCollection_WaitsWhileThereIsRoom(t *testing.T) {
	const mib = 1 << 20
	now, other := censusSign{chosen: true}, censusSign{chosen: true, news: 1}
	for _, tt := range []struct {
		name       string
		used, free uint64 // of 100 MiB
		was        censusSign
		took       time.Duration
		want       time.Duration
	}{
		{"there is room", 50 * mib, 50 * mib, other, time.Second, time.Hour},
		{"there is little", 95 * mib, 5 * mib, other, time.Second, gcSoon},
		{"the capacity was lowered", 300 * mib, 0, censusSign{}, 0, gcLook},
		{"it is full of what is held", 300 * mib, 0, now, time.Second, gcSoon},
		{"it is full, and the share has changed", 100 * mib, 0, other, time.Second, gcLook},
		{"that takes long", 100 * mib, 0, other, 10 * time.Second, 200 * time.Second},
	} {
		c := collection{took: tt.took, sign: tt.was}
		if got := c.wait(api.RepoStat{RepoSize: tt.used, StorageMax: 100 * mib, Free: tt.free}, now, time.Hour); got != tt.want {
			t.Errorf("%s: it waits %v, want %v", tt.name, got, tt.want)
		}
	}
}
