package client

import (
	"context"
	"io"
	"iter"
	"net/http"
	"sync"

	"github.com/pinfold-cluster/pinfold/api"
)

// Bulk pins and unpins what lines says, a JSON api.BulkOp a line, and yields a result
// for each in the same order. Results come while lines is still being read, from
// another goroutine. Those that have not been ranged over yet are kept, so that who
// ranges may also be who writes the lines.
func (c *Client) Bulk(ctx context.Context, lines io.Reader) iter.Seq2[api.BulkResult, error] {
	return ahead(ctx, func(ctx context.Context) iter.Seq2[api.BulkResult, error] {
		return list[api.BulkResult](ctx, c, request{
			method: http.MethodPost, path: "/pins", body: lines, contentType: "application/x-ndjson"})
	})
}

// ahead ranges over the sequence that open returns however slowly its own is ranged
// over, and keeps what has come.
func ahead[T any](ctx context.Context, open func(context.Context) iter.Seq2[T, error]) iter.Seq2[T, error] {
	type item struct {
		v   T
		err error
	}
	return func(yield func(T, error) bool) {
		ctx, stop := context.WithCancel(ctx)
		var reading sync.WaitGroup
		defer reading.Wait()
		defer stop()

		var mu sync.Mutex
		var kept []item
		came := make(chan struct{}, 1) // a token where kept may not be empty; closed at the end
		reading.Go(func() {
			defer close(came)
			for v, err := range open(ctx) {
				mu.Lock()
				kept = append(kept, item{v, err})
				mu.Unlock()
				select {
				case came <- struct{}{}:
				default:
				}
			}
		})
		for more := true; more; {
			_, more = <-came
			mu.Lock()
			items := kept
			kept = nil
			mu.Unlock()
			for _, i := range items {
				if !yield(i.v, i.err) {
					return
				}
			}
		}
	}
}
