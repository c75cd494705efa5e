package p2p

import (
	"sync"

	"github.com/libp2p/go-libp2p/core/metrics"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// tallied bounds the peers whose bytes are counted one by one, beside members: what is
// kept of each takes some 400 bytes.
const tallied = 4096

// A tally counts the bytes of streams, by protocol and by peer. libp2p's counter keeps all peers
// that ever spoke, of which a stranger can be any number, and its TrimIdle removes none. Here
// those beyond the first few thousand are counted as one, the peer of no ID.
type tally struct {
	*metrics.BandwidthCounter
	isMember func(peer.ID) bool

	mu   sync.RWMutex
	each map[peer.ID]bool
}

func newTally(isMember func(peer.ID) bool) *tally {
	return &tally{BandwidthCounter: metrics.NewBandwidthCounter(), isMember: isMember, each: map[peer.ID]bool{}}
}

// LogSentMessageStream implements metrics.Reporter.
func (t *tally) LogSentMessageStream(n int64, proto protocol.ID, p peer.ID) {
	t.BandwidthCounter.LogSentMessageStream(n, proto, t.as(p))
}

// LogRecvMessageStream implements metrics.Reporter.
func (t *tally) LogRecvMessageStream(n int64, proto protocol.ID, p peer.ID) {
	t.BandwidthCounter.LogRecvMessageStream(n, proto, t.as(p))
}

// as is the peer that p is counted as.
func (t *tally) as(p peer.ID) peer.ID {
	t.mu.RLock()
	known, full := t.each[p], len(t.each) >= tallied
	t.mu.RUnlock()
	switch {
	case known || full && t.isMember(p):
		return p
	case full:
		return ""
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.each[p] = true
	return p
}
