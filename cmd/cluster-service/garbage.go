package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// Bounds of the garbage that gathers between collections. As long as all of the heap
// stays within heapGoal it is gcPercent of what is in use, as GOGC says it: a fifth more
// memory than with Go's own 100, for a third more statuses listed a second. A peer with
// much to do has more in use, and does not need its double on top.
const (
	gcPercent    = 200
	heapGoal     = 40 << 20 // bytes
	minGCPercent = 33       // however much is in use: below, collections take a core
)

// boundGarbage keeps the garbage of this process within these bounds until ctx ends. A
// GOGC of the user's is left alone; of GOMEMLIMIT the runtime takes care.
func boundGarbage(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	debug.SetGCPercent(gcPercent)
	now := gcPercent
	var afterEach func(struct{})
	afterEach = func(struct{}) {
		if ctx.Err() != nil {
			return
		}
		if p := garbagePercent(inUse()); p != now {
			debug.SetGCPercent(p)
			now = p
		}
		// What nothing refers to is gone with the next collection.
		runtime.AddCleanup(new(*byte), afterEach, struct{}{})
	}
	afterEach(struct{}{})
}

// garbagePercent is GOGC for a process in which the given number of bytes are in use.
func garbagePercent(inUse uint64) int {
	if inUse == 0 {
		return gcPercent
	}
	room := heapGoal - min(heapGoal, inUse)
	return int(min(gcPercent, max(minGCPercent, 100*room/inUse)))
}

// inUse is what the runtime takes GOGC's percentage of: what the last collection left,
// and what it looks through besides.
func inUse() (bytes uint64) {
	all := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"}}
	metrics.Read(all)
	for _, s := range all {
		bytes += s.Value.Uint64()
	}
	return bytes
}
