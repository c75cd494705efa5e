package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/pinfold-cluster/pinfold/api"
)

// A peer is cut off while pins are made and removed, first for so long that the log
// still has what it missed, then past a snapshot. It catches up, what was removed stays
// removed, and its node lets go of it.
func TestCluster_CutOffPeerCatchesUp(t *testing.T) {
	const trailing = 64
	peers := spawnCluster(t, 3, "RAFT_SNAPSHOTTHRESHOLD=128", fmt.Sprint("RAFT_TRAILINGLOGS=", trailing))
	leader, others := leaderOf(t, peers)
	cut := others[0]
	for _, missed := range []struct {
		name   string
		writes int
	}{
		{"by log", trailing / 4},
		{"by snapshot", 5 * trailing},
	} {
		t.Run(missed.name, func(t *testing.T) {
			removed := addEverywhere(t, peers, leader, 3)
			content := randomBytes(10 << 10)
			before, err := cut.self()
			if err != nil {
				t.Fatal(err)
			}
			restored := snapshots(t, cut)
			cut.freeze()
			var made []api.Cid
			for _, c := range removed {
				leader.unpin(c)
			}
			for i := range missed.writes {
				c := randomCid()
				leader.pin(c, copies(1))
				if i%2 == 0 {
					leader.unpin(c)
				} else {
					made = append(made, c)
				}
			}
			o := copies(2)
			o.UserAllocations = []api.PeerID{leader.id, others[1].id} // it may not count as dead yet
			added := leader.add(content, o)
			after, err := leader.self()
			if err != nil {
				t.Fatal(err)
			}
			cut.thaw()

			waitTogether(t, peers)
			if got := snapshots(t, cut); (got > restored) != (missed.name == "by snapshot") {
				t.Errorf("log indexes %d to %d: the newest snapshot of %s was at %d and is at %d", before.Index, after.Index, cut.name, restored, got)
			}
			got := cut.pinset()
			for _, c := range append(made, added) {
				if _, ok := got[c]; !ok {
					t.Errorf("%s lacks %s", cut.name, c)
				}
			}
			for _, c := range removed {
				if _, ok := got[c]; ok {
					t.Errorf("%s has %s, which was removed", cut.name, c)
				}
				eventually(t, patience, func() error {
					if s := localStatus(t, cut, c); s != api.StatusUnpinned {
						return fmt.Errorf("%s has %s as %s, want unpinned", cut.name, c, s)
					}
					return nil
				})
			}
			readable(t, peers, added, content)
		})
	}
}

// addEverywhere adds n files that all peers hold, and waits until they do.
func addEverywhere(t *testing.T, peers []*testPeer, through *testPeer, n int) (added []api.Cid) {
	t.Helper()
	for range n {
		c := through.add(randomBytes(100<<10), copies(-1))
		added = append(added, c)
		eventually(t, patience, func() error {
			for id, s := range statuses(t, through, c) {
				if s != api.StatusPinned {
					return fmt.Errorf("%s is %s on %s", c, s, id)
				}
			}
			return nil
		})
	}
	return added
}

// localStatus is the status of c on p's own node.
func localStatus(t *testing.T, p *testPeer, c api.Cid) api.TrackerStatus {
	t.Helper()
	info, err := p.http.Status(t.Context(), c, true)
	if err != nil {
		t.Fatal(err)
	}
	return info.PeerMap[p.id.String()].Status
}

// snapshots tells the log index of the newest snapshot that p keeps, 0 without one.
func snapshots(t *testing.T, p *testPeer) (newest int) {
	t.Helper()
	entries, err := os.ReadDir(p.dir.path("raft", "snapshots"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		var term, index, at int
		if _, err := fmt.Sscanf(e.Name(), "%d-%d-%d", &term, &index, &at); err == nil {
			newest = max(newest, index)
		}
	}
	return newest
}
