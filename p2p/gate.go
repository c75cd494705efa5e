package p2p

import (
	"context"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// gate is a host on which a protocol's handler sees only the streams that admit
// lets through. Each stream waits for admit in a goroutine of its own, so a slow
// one holds up no other.
type gate struct {
	host.Host
	admit func(context.Context, network.Stream) (network.Stream, error)
}

// SetStreamHandler implements host.Host.
func (g gate) SetStreamHandler(id protocol.ID, handle network.StreamHandler) {
	g.Host.SetStreamHandler(id, g.guard(handle))
}

// SetStreamHandlerMatch implements host.Host.
func (g gate) SetStreamHandlerMatch(id protocol.ID, match func(protocol.ID) bool, handle network.StreamHandler) {
	g.Host.SetStreamHandlerMatch(id, match, g.guard(handle))
}

func (g gate) guard(handle network.StreamHandler) network.StreamHandler {
	return func(s network.Stream) {
		ctx, cancel := context.WithTimeout(context.Background(), certificateTimeout)
		defer cancel()
		admitted, err := g.admit(ctx, s)
		if err != nil {
			s.Reset()
			return
		}
		handle(admitted)
	}
}
