package main

import (
	"bytes"
	"testing"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/state"
)

// What a peer acknowledged is in the export of its files as a kill left them.
func TestExport_OfAKilledPeerHasWhatWasAcknowledged(t *testing.T) {
	peers := spawnCluster(t, 1)
	for range 3 {
		h := newHistory()
		stop := writers(t, h, peers)
		h.wait(t, 300)
		peers[0].kill()
		stop()
		var out, notes bytes.Buffer
		if code := execute(t.Context(), []string{"--config", string(peers[0].dir), "state", "export"}, &out, &notes); code != 0 {
			t.Fatalf("exit code %d: %s", code, notes.String())
		}
		there := map[api.Cid]string{}
		for p, err := range state.ReadExport(&out) {
			if err != nil {
				t.Fatal(err)
			}
			there[p.Cid] = p.Name
		}
		for c, w := range h.want {
			if name, ok := there[c]; !w.inDoubt && (ok != w.pinned || name != w.name) {
				t.Errorf("%s is exported as %t %q, acknowledged was %t %q", c, ok, name, w.pinned, w.name)
			}
		}
		peers[0].spawn()
		waitTogether(t, peers)
	}
}
