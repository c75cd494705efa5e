package web

import (
	"context"
	"net/http"
	"sync/atomic"
)

// Where a body breaks off, or stalls, or its chunks are malformed, what comes next on the
// connection may be the rest of it. net/http looks for the next request there all the same
// once a handler is in full duplex: a body could hold requests that nobody sent.

type spoilKey struct{}

func withSpoiling(ctx context.Context) context.Context {
	return context.WithValue(ctx, spoilKey{}, new(atomic.Bool))
}

// Spoil has the connection of this body serve no other request. Over HTTP/2, where each
// request has a stream of its own, it does nothing.
func (b *Body) Spoil() {
	if mark, ok := b.of.Context().Value(spoilKey{}).(*atomic.Bool); ok && b.of.ProtoMajor < 2 {
		mark.Store(true)
	}
}

func spoiled(r *http.Request) bool {
	mark, ok := r.Context().Value(spoilKey{}).(*atomic.Bool)
	return ok && mark.Load()
}
