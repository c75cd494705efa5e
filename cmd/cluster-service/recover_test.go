package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pinfold-cluster/pinfold/api"
)

// A majority seems lost and the operator recovers from the one survivor; then the old
// majority comes back. It and the survivor have nothing to do with each other, until
// its peers join anew.
func TestCluster_RecoversFromOneSurvivor(t *testing.T) {
	peers := startCluster(t, 3)
	survivor, old := peers[2], peers[:2]
	content := randomBytes(100 << 10)
	kept := survivor.add(content, copies(3))
	eventually(t, patience, func() error { return settled(peers, survivor, kept, 3) })
	each(peers, (*testPeer).stop)

	if err := recoverCluster(survivor.dir); err != nil {
		t.Fatal(err)
	}
	survivor.start()
	waitTogether(t, []*testPeer{survivor})
	mine := survivor.pin(randomCid(), copies(1)).Cid
	readable(t, []*testPeer{survivor}, kept, content)

	// The old majority agrees with itself as before: it has no way to know. But nothing
	// of it reaches the survivor, nor the other way round.
	each(old, (*testPeer).start)
	theirs := randomCid()
	eventually(t, patience, func() error {
		_, err := old[0].http.Pin(t.Context(), theirs, copies(1))
		return err
	})
	eventually(t, patience, func() error { return refused(old[0], survivor) })
	eventually(t, patience, func() error { return refused(old[1], survivor) })
	more := survivor.pin(randomCid(), copies(1)).Cid
	if got, want := cids(survivor), sorted(kept, mine, more); !slices.Equal(got, want) {
		t.Errorf("the survivor has %v, want %v", got, want)
	}
	if got, want := cids(old[0]), sorted(kept, theirs); !slices.Equal(got, want) {
		t.Errorf("the old majority has %v, want %v", got, want)
	}
	if self, err := survivor.self(); err != nil || len(self.ClusterPeers) != 1 || self.Role != "leader" {
		t.Errorf("the survivor knows the peers %v and is %q (%v), want itself alone as leader", self.ClusterPeers, self.Role, err)
	}
	// With new directories they are let in.
	for _, p := range old {
		p.stop()
		if err := os.RemoveAll(string(p.dir)); err != nil {
			t.Fatal(err)
		}
		p.mustJoin(survivor.invite())
		p.start()
	}
	waitTogether(t, peers)
	for _, p := range old {
		if got, want := cids(p), sorted(kept, mine, more); !slices.Equal(got, want) {
			t.Errorf("%s has %v, want %v", p.name, got, want)
		}
	}
	readable(t, peers, kept, content)
}

// refused fails unless from lists to as of another incarnation.
func refused(from, to *testPeer) error {
	known := false
	for m, err := range from.http.Peers(from.t.Context()) {
		if err != nil {
			return err
		}
		if m.ID == to.id {
			if known = true; !strings.Contains(m.Error, "incarnation") {
				return fmt.Errorf("%s lists %s with the error %q, want one about incarnations", from.name, to.name, m.Error)
			}
		}
	}
	if !known {
		return fmt.Errorf("%s does not know %s", from.name, to.name)
	}
	return nil
}

// cids lists the pinset of p.
func cids(p *testPeer) []string {
	p.t.Helper()
	var out []api.Cid
	for c := range p.pinset() {
		out = append(out, c)
	}
	return sorted(out...)
}

func sorted(cids ...api.Cid) []string {
	var out []string
	for _, c := range cids {
		out = append(out, c.String())
	}
	slices.Sort(out)
	return out
}
