package adder

import (
	"context"
	"log/slog"
	"sync"

	"github.com/pinfold-cluster/pinfold/api"
)

// outages logs which peers do not take their part of adds: one warning when that
// begins, however many adds meet it, and a line when it is over.
type outages struct {
	log *slog.Logger

	mu  sync.Mutex
	out map[api.PeerID]bool
}

// lost notes that peer failed an add with err. What the add itself was the cause of,
// or its caller who has gone, says nothing of the peer.
func (o *outages) lost(ctx context.Context, peer api.PeerID, err error) {
	level := slog.LevelDebug
	if kind := api.KindOf(err); ctx.Err() == nil && kind != api.Invalid && kind != api.TooLarge {
		o.mu.Lock()
		if !o.out[peer] {
			o.out[peer], level = true, slog.LevelWarn
		}
		o.mu.Unlock()
	}
	o.log.Log(ctx, level, "add lost a destination", "peer", peer, "err", err)
}

// holds notes that peer has taken its part of an add.
func (o *outages) holds(peer api.PeerID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.out[peer] {
		delete(o.out, peer)
		o.log.Info("destination takes adds again", "peer", peer)
	}
}
