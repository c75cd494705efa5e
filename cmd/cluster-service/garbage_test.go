package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestGarbagePercent(t *testing.T) {
	for inUse, want := range map[uint64]int{
		0: gcPercent, 1: gcPercent, heapGoal / 4: gcPercent, heapGoal / 2: 100, heapGoal * 5 / 8: 60,
		heapGoal * 4 / 5: minGCPercent, heapGoal: minGCPercent, 2 * heapGoal: minGCPercent, 1 << 40: minGCPercent,
	} {
		if got := garbagePercent(inUse); got != want {
			t.Errorf("%d bytes in use: got %d, want %d", inUse, got, want)
		}
	}
}

// The bound follows what is in use, up and down, collection by collection.
func TestBoundGarbage_Follows(t *testing.T) {
	t.Setenv("GOGC", "")
	was := percent()
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(func() {
		stop()
		debug.SetGCPercent(was)
	})
	boundGarbage(ctx)
	until := func(what string, ok func(percent int) bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); ; runtime.Gosched() {
			if runtime.GC(); ok(percent()) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: GOGC is %d with %d bytes in use", what, percent(), inUse())
			}
		}
	}
	ballast := make([]byte, 2*heapGoal)
	until("with much in use", func(p int) bool { return p == minGCPercent })
	runtime.KeepAlive(ballast)
	until("with less in use", func(p int) bool { return p == garbagePercent(inUse()) })
}

// percent is GOGC as it is.
func percent() int {
	now := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(now)
	return int(now[0].Value.Uint64())
}
