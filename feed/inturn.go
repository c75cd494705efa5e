package feed

import (
	"context"
	"sync"
	"time"
)

// hedgeAfter is how long one that was asked may take before the next is asked, too. Who
// is slow, or says nothing on purpose, costs that and no more.
const hedgeAfter = 2 * time.Second

// inTurn asks those of list, one after the other: the next once one has answered in vain,
// or has taken hedgeAfter. It ends when ask has said that this is enough, and then ends
// what is still asked, or when all have answered. It returns once all calls have.
func inTurn(ctx context.Context, list []Peer, ask func(context.Context, Peer) (enough bool)) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var asked sync.WaitGroup
	defer asked.Wait()
	vain := make(chan struct{}, len(list))
	for _, p := range list {
		asked.Go(func() {
			if ask(ctx, p) {
				cancel()
			}
			vain <- struct{}{}
		})
		patience := time.NewTimer(hedgeAfter)
		select {
		case <-vain:
		case <-patience.C:
		case <-ctx.Done():
		}
		patience.Stop()
		if ctx.Err() != nil {
			return
		}
	}
	asked.Wait()
}
