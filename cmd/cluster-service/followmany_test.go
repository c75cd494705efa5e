package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// Three full peers that agree by Raft, one of which they lose while it leads, and thirty
// followers, a third of which leave and others come: all end with the same pinset.
func TestFollowers_ThirtyOfThreeFullPeers(t *testing.T) {
	const followers = 30
	peers := startCluster(t, 3)
	follow := func(n int) *talker {
		p := peers[n%len(peers)]
		p.pin(randomCid(), copies(1))
		return p.talk(fmt.Sprint("follower ", n), &talker{blocks: noBlocks{}, hold: "allocated", all: true, waits: 8 * time.Second})
	}
	var all []*talker
	for n := range followers {
		all = append(all, follow(n))
	}
	for n := 0; n < followers; n += 3 {
		all[n].stop()
	}
	leader, others := leaderOf(t, peers)
	leader.stop()
	var last api.Cid
	for range 5 {
		last = randomCid()
		others[0].pin(last, copies(1))
		others[1].pin(randomCid(), copies(1))
	}
	leader.start()
	waitEqual(t, peers)
	for n := 0; n < followers; n += 3 {
		all[n] = follow(n)
	}
	others[0].unpin(last)
	waitEqual(t, peers)
	want := peers[0].daemon.state.Digest().Pins
	eventually(t, 2*patience, func() error {
		for n, f := range all {
			if s := f.feed.Status(); !s.Settled || s.Digest != want || s.Stopped != "" {
				return fmt.Errorf("follower %d is at index %d of %d, settled: %t, stopped: %q", n, s.Index, s.Latest, s.Settled, s.Stopped)
			}
		}
		return nil
	})
}
