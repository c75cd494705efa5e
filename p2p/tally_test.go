package p2p

import (
	"fmt"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Of strangers there is no end: they are counted, but not one by one.
func TestTally_IsBounded(t *testing.T) {
	const strangers = tallied + 100
	tl := newTally(func(p peer.ID) bool { return p == "member" })
	for n := range strangers {
		p := peer.ID(fmt.Sprint("stranger ", n))
		tl.LogSentMessageStream(1, "/test", p)
		tl.LogRecvMessageStream(1, "/test", p)
	}
	tl.LogRecvMessageStream(7, "/test", "member")
	by := tl.GetBandwidthByPeer()
	if len(by) > tallied+2 {
		t.Errorf("%d peers are kept", len(by))
	}
	if _, ok := by["member"]; !ok {
		t.Error("a member is not counted by itself")
	}
	if _, ok := by[""]; !ok {
		t.Error("the others are not counted")
	}

	// Those that are idle make room for others; members stay.
	tl.now = func() time.Time { return time.Now().Add(2 * tallyIdle) }
	tl.LogRecvMessageStream(5, "/test", "newcomer")
	by = tl.GetBandwidthByPeer()
	if _, ok := by["newcomer"]; !ok {
		t.Error("there is no room though all are idle")
	}
	if _, ok := by["member"]; !ok || len(by) > 3 {
		t.Errorf("a member is kept: %v, of %d", ok, len(by))
	}
	for n := range strangers {
		tl.LogSentMessageStream(1, "/test", peer.ID(fmt.Sprint("another ", n)))
	}
	if by := tl.GetBandwidthByPeer(); len(by) > tallied+2 {
		t.Errorf("%d peers are kept", len(by))
	}
}
