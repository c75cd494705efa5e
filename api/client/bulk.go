package client

import (
	"context"
	"io"
	"iter"
	"net/http"

	"github.com/pinfold-cluster/pinfold/api"
)

// Bulk pins and unpins what lines says, a JSON api.BulkOp a line, and yields a result
// for each in the same order. Results come while lines is still being read, from
// another goroutine; leave neither waiting for the other.
func (c *Client) Bulk(ctx context.Context, lines io.Reader) iter.Seq2[api.BulkResult, error] {
	return list[api.BulkResult](ctx, c, request{
		method: http.MethodPost, path: "/pins", body: lines, contentType: "application/x-ndjson"})
}
