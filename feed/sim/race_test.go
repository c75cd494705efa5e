//go:build race

package sim

import "runtime"

// The race detector shares one context among all timers of a bubble. Two processors that
// look at channels of timers that are due, at one moment, end the program: "ThreadSanitizer:
// CHECK failed" (https://github.com/golang/go/issues/78156, open with Go 1.26). With
// hundreds of peers in a bubble that does happen; one processor sees the same races, and
// as soon, as a bubble's clock leaves little to do at a time.
func init() { runtime.GOMAXPROCS(1) }
