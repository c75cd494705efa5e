package consensus

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// BenchmarkCommit commits pins on three peers of one process and one disk: each of the
// clients sends one list of pins after the other.
func BenchmarkCommit(b *testing.B) {
	for _, clients := range []int{1, 64} {
		for _, pins := range []int{1, 100} {
			b.Run(fmt.Sprintf("clients=%d/pins=%d", clients, pins), func(b *testing.B) {
				g := newGroup(b, 3, Options{VoterInterval: 50 * time.Millisecond})
				leader := g.leader()
				work := make(chan int)
				var running sync.WaitGroup
				for range clients {
					running.Go(func() {
						for i := range work {
							ops := make([]api.Op, pins)
							for k := range ops {
								ops[k] = pinOp(fmt.Sprint(i, "-", k))
							}
							if _, err := leader.c.Commit(context.Background(), ops); err != nil {
								b.Error(err)
							}
						}
					})
				}
				b.ResetTimer()
				for i := range b.N {
					work <- i
				}
				close(work)
				running.Wait()
				b.ReportMetric(float64(b.N*pins)/b.Elapsed().Seconds(), "pins/s")
			})
		}
	}
}

// BenchmarkVisible measures from a write on the leader to its sight on a follower.
func BenchmarkVisible(b *testing.B) {
	for name, quiet := range map[string]bool{"nudged": false, "raft alone": true} {
		b.Run(name, func(b *testing.B) {
			g := newGroup(b, 3, Options{VoterInterval: 50 * time.Millisecond, quietCommits: quiet})
			leader := g.leader()
			follower := g.followers(leader)[0]
			b.ResetTimer()
			for i := range b.N {
				out := g.must(leader, pinOp(fmt.Sprint(i)))
				check(b, follower.c.WaitApplied(context.Background(), out[0].Index))
			}
		})
	}
}

// BenchmarkReadIndex measures a linearizable read's way to its index.
func BenchmarkReadIndex(b *testing.B) {
	g := newGroup(b, 3, Options{VoterInterval: 50 * time.Millisecond})
	leader := g.leader()
	b.ResetTimer()
	for range b.N {
		_, err := leader.c.ReadIndex(context.Background())
		check(b, err)
	}
}
