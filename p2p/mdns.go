package p2p

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
)

// discover looks for the cluster's peers in the local network until ctx ends. It
// helps where all of them changed their addresses at once.
func (h *Host) discover(ctx context.Context) error {
	found := make(found, 16)
	service := mdns.NewMdnsService(h.h, mdnsName(h.o.Secret), found)
	if err := service.Start(); err != nil {
		h.log.Warn("no discovery in the local network", "err", err)
		return nil
	}
	defer service.Close()
	for {
		select {
		case <-ctx.Done():
			return nil
		case info := <-found:
			// Only who knows the secret gets a connection, and only a certified
			// member into the book.
			if err := h.Connect(ctx, info); err != nil {
				h.log.Debug("peer in the local network cannot be reached", "peer", info.ID, "err", err)
			}
		}
	}
}

// mdnsName tells clusters apart without telling the secret.
func mdnsName(s Secret) string {
	sum := sha256.Sum256(append([]byte("pinfold mdns\x00"), s...))
	return fmt.Sprintf("_pf-%s._udp", hex.EncodeToString(sum[:5]))
}

// found takes what mDNS finds. It never blocks: who is lost is found again.
type found chan peer.AddrInfo

// HandlePeerFound implements mdns.Notifee.
func (f found) HandlePeerFound(info peer.AddrInfo) {
	select {
	case f <- info:
	default:
	}
}
