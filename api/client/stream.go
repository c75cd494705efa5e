package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strconv"
	"strings"

	"github.com/pinfold-cluster/pinfold/api"
)

// list sends r and yields the objects of its answer as they come. An error is the
// last thing it yields.
func list[T any](ctx context.Context, c *Client, r request) iter.Seq2[T, error] {
	return listAfter[T](ctx, c, r, func(http.Header) error { return nil })
}

// listAfter is list once began has had a look at the answer's header. Its error is that
// of the list.
func listAfter[T any](ctx context.Context, c *Client, r request, began func(http.Header) error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		res, err := c.do(ctx, r)
		if err != nil {
			yield(zero, err)
			return
		}
		defer res.Body.Close()
		if err := began(res.Header); err != nil {
			yield(zero, err)
			return
		}
		dec := json.NewDecoder(res.Body)
		for {
			var v T
			err := dec.Decode(&v)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				yield(zero, fmt.Errorf("read the answer to %s %s: %w", r.method, r.path, err))
				return
			}
			if !yield(v, nil) {
				return
			}
		}
		if err := trailerError(res); err != nil {
			yield(zero, err)
		}
	}
}

// trailerError tells what ended a stream early, once its body has been read.
func trailerError(res *http.Response) error {
	var messages []string
	for _, m := range res.Trailer.Values(api.StreamErrorTrailer) {
		if m != "" {
			messages = append(messages, m)
		}
	}
	if len(messages) == 0 {
		return nil
	}
	code, err := strconv.Atoi(res.Trailer.Get(api.StreamCodeTrailer))
	if err != nil {
		code = http.StatusInternalServerError // IPFS Cluster tells none
	}
	return &api.Error{Code: code, Message: strings.Join(messages, "; ")}
}
