package feed

import (
	"sync/atomic"
	"testing"
	"time"
)

// A watched network counts how often its readers were asked for.
type watched struct {
	Network
	looks *atomic.Int64
}

func (n watched) Readers() int {
	n.looks.Add(1)
	return n.Network.Readers()
}

// A cluster without followers pays nothing for the feed.
func TestPublisher_SaysNothingToNobody(t *testing.T) {
	w := emptyWorld(t)
	w.beacon = 10 * time.Millisecond
	var looks atomic.Int64
	w.wrap = func(n Network) Network { return watched{n, &looks} }
	for range 3 {
		w.addMember()
	}
	eventually(t, "members are connected", func() bool { return len(w.members[0].host.Connected()) == 2 })
	for i := range 10 {
		w.pin(i, i+1)
		before := looks.Load()
		eventually(t, "the leader looks whom to tell", func() bool { return looks.Load() > before+2 })
	}
	for i, m := range w.members {
		if n := m.signed.Load(); n > 0 {
			t.Errorf("member %d has signed %d statements", i, n)
		}
		sent := m.host.Traffic.GetBandwidthForProtocol("/pinfold/feed/gossip/1").TotalOut
		if sent > 200 { // to open streams
			t.Errorf("member %d has sent %d bytes on the feed", i, sent)
		}
	}

	// With one on any member, all is said, and heard.
	f := w.follow(FollowerOptions{})
	w.same(f)
	w.pin(20, 30)
	w.same(f)
	eventually(t, "there are beacons", func() bool { return !f.Status().Told.IsZero() })
	f.stop()
	eventually(t, "the follower's places are free", func() bool {
		for _, m := range w.members {
			if len(m.host.Guests()) > 0 {
				return false
			}
		}
		return true
	})
}
