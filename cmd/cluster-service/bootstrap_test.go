package main

import "testing"

// A peer that has a place in a cluster keeps it, whatever --bootstrap says: service files
// carry the flag for ever.
func TestD21_BootstrapLeavesAPeerItsPlace(t *testing.T) {
	p := spawnCluster(t, 1)[0]
	c := randomCid()
	p.pin(c, copies(1))
	id := p.id
	p.stop()
	p.flags = []string{"--bootstrap", "/ip4/127.0.0.1/tcp/1/p2p/" + id.String()}
	p.spawn()
	waitTogether(t, []*testPeer{p})
	if self, err := p.self(); err != nil || self.ID != id {
		t.Fatalf("it is %s now: %v", self.ID, err)
	}
	if _, ok := p.pinset()[c]; !ok {
		t.Fatal("the pinset is gone")
	}
}
