package pintracker

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// spareHands is how many goroutines of a crew wait for more to do.
const spareHands = 16

// crew does jobs side by side in goroutines of g. It keeps some of them for the jobs
// to come: each new one would grow its stack step by step, which for short jobs costs
// more than they do.
type crew struct {
	g     *errgroup.Group
	jobs  chan func() // a send succeeds where a goroutine waits
	spare atomic.Int32
}

func newCrew(g *errgroup.Group) *crew { return &crew{g: g, jobs: make(chan func())} }

// do starts job and does not wait for it. Goroutines without a job end with ctx, which
// is that of all jobs.
func (c *crew) do(ctx context.Context, job func()) {
	select {
	case c.jobs <- job:
		return
	default:
	}
	c.g.Go(func() error {
		for job != nil {
			job()
			job = c.wait(ctx)
		}
		return nil
	})
}

// wait gives the next job; nil where enough goroutines wait, or ctx ends.
func (c *crew) wait(ctx context.Context) (job func()) {
	if c.spare.Add(1) <= spareHands {
		select {
		case job = <-c.jobs:
		case <-ctx.Done():
		}
	}
	c.spare.Add(-1)
	return job
}
