package p2p

import (
	"sync"
	"time"

	"github.com/libp2p/go-flow-metrics"
	"github.com/libp2p/go-libp2p/core/metrics"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

const (
	// tallied bounds the peers whose bytes are counted one by one, beside members: what is
	// kept of each takes some 400 bytes.
	tallied = 4096
	// tallyIdle is for how long a peer has sent and taken nothing that is forgotten where
	// there are too many, and tallyTrim between two looks for such.
	tallyIdle = 10 * time.Minute
	tallyTrim = time.Minute
)

// A tally counts the bytes of streams, by protocol and by peer. libp2p's counter keeps all peers
// that ever spoke, of which a stranger can be any number, and its TrimIdle removes none. Here
// those beyond the first few thousand are counted as one, the peer of no ID, until some of them
// are idle.
type tally struct {
	*metrics.BandwidthCounter // all but what is by peer
	isMember                  func(peer.ID) bool
	now                       func() time.Time
	in, out                   flow.MeterRegistry // by peer

	mu      sync.RWMutex
	each    map[peer.ID]bool
	trimmed time.Time
}

func newTally(isMember func(peer.ID) bool) *tally {
	return &tally{BandwidthCounter: metrics.NewBandwidthCounter(), isMember: isMember, now: time.Now, each: map[peer.ID]bool{}}
}

// LogSentMessageStream implements metrics.Reporter, as the others do.
func (t *tally) LogSentMessageStream(n int64, proto protocol.ID, p peer.ID) {
	t.BandwidthCounter.LogSentMessageStream(n, proto, "")
	t.out.Get(string(t.as(p))).Mark(uint64(n))
}

func (t *tally) LogRecvMessageStream(n int64, proto protocol.ID, p peer.ID) {
	t.BandwidthCounter.LogRecvMessageStream(n, proto, "")
	t.in.Get(string(t.as(p))).Mark(uint64(n))
}

func (t *tally) GetBandwidthForPeer(p peer.ID) metrics.Stats { return t.GetBandwidthByPeer()[p] }

func (t *tally) GetBandwidthByPeer() map[peer.ID]metrics.Stats {
	all := map[peer.ID]metrics.Stats{}
	t.in.ForEach(func(p string, m *flow.Meter) {
		s, now := all[peer.ID(p)], m.Snapshot()
		s.TotalIn, s.RateIn = int64(now.Total), now.Rate
		all[peer.ID(p)] = s
	})
	t.out.ForEach(func(p string, m *flow.Meter) {
		s, now := all[peer.ID(p)], m.Snapshot()
		s.TotalOut, s.RateOut = int64(now.Total), now.Rate
		all[peer.ID(p)] = s
	})
	return all
}

// as is the peer that p is counted as.
func (t *tally) as(p peer.ID) peer.ID {
	t.mu.RLock()
	known, full, trimmed := t.each[p], len(t.each) >= tallied, t.trimmed
	t.mu.RUnlock()
	switch {
	case known || full && t.isMember(p):
		return p
	case full && t.now().Sub(trimmed) < tallyTrim:
		return ""
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.each) >= tallied {
		t.trim(t.now())
	}
	if len(t.each) >= tallied {
		return ""
	}
	t.each[p] = true
	return p
}

// trim forgets idle peers that are no members. Under mu.
func (t *tally) trim(now time.Time) {
	t.trimmed = now
	since := now.Add(-tallyIdle)
	busy := map[string]bool{}
	for _, r := range []*flow.MeterRegistry{&t.in, &t.out} {
		idle := map[string]bool{}
		for _, p := range r.FindIdle(since) {
			idle[p] = true
		}
		r.ForEach(func(p string, _ *flow.Meter) { busy[p] = busy[p] || !idle[p] })
	}
	for p := range t.each {
		if !busy[string(p)] && !t.isMember(p) {
			delete(t.each, p)
			t.in.Remove(string(p))
			t.out.Remove(string(p))
		}
	}
}
