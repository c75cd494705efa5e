package feed

import (
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// A member that hears of no leader, as one that was removed while it was away, does not have
// its followers believe that they are up to date.
func TestFollower_KnowsThatItsNeighbourIsAstray(t *testing.T) {
	w := newWorld(t, 1)
	w.pin(0, 20)
	lost := &w.members[0].lost
	lost.Store(true)
	f := w.follow(FollowerOptions{Patience: 200 * time.Millisecond})
	eventually(t, "it knows that its neighbour is astray", func() bool {
		s := f.Status()
		if s.Current(time.Now(), time.Hour) {
			t.Fatalf("it takes the word of one that is out of touch: %+v", s)
		}
		return s.Settled && s.Astray
	})
	lost.Store(false)
	eventually(t, "it is up to date once its neighbour is in touch again", func() bool {
		s := f.Status()
		return !s.Astray && s.Current(time.Now(), time.Hour)
	})
}

// One whose neighbour is such a member finds another that it knows of.
func TestFollower_FindsWhoIsNotAstray(t *testing.T) {
	w := newWorld(t, 2)
	w.pin(0, 20)
	lost, m := w.members[0], w.members[1]
	lost.lost.Store(true)
	lost.off = true
	w.pin(20, 30)
	w.leader.Store(1)
	o := FollowerOptions{Members: []peer.AddrInfo{info(lost.host), info(m.host)}, Neighbours: 1, Patience: 200 * time.Millisecond}
	for range 2 { // it calls either first
		f := &follower{w: w, id: identity(t), dir: t.TempDir(), o: o}
		f.loss.Store(100) // else it hears of the other at once
		f.start()
		w.same(f)
	}
}
