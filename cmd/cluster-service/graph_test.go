package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

func (p *testPeer) get(path string, v any) {
	p.t.Helper()
	res, err := http.Get(p.url + path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(v); err != nil || res.StatusCode != 200 {
		p.t.Fatalf("%s: %d %v", path, res.StatusCode, err)
	}
}

// All peers are asked at once: those that do not answer cost the time of one, and are in
// the graph without links.
func TestD20_SilentPeersAreWaitedForTogether(t *testing.T) {
	peers := startCluster(t, 3)
	first, gone := peers[0], peers[1:]
	var g api.ConnectGraph
	eventually(t, patience, func() error { // until all are connected
		g = api.ConnectGraph{}
		first.get("/health/graph", &g)
		for _, p := range peers {
			id := p.id.String()
			if len(g.ClusterLinks[id]) != 2 || g.IDToPeerName[id] != p.name || !g.ClusterTrustLinks[id] {
				return fmt.Errorf("%s: got %+v", p.name, g)
			}
			if node := g.ClusterToIPFS[id]; node != p.daemon.ids.data.ID || g.IPFSLinks[node.String()] == nil {
				return fmt.Errorf("%s: its node is told as %s", p.name, node)
			}
		}
		return nil
	})
	var traffic map[string]api.Bandwidth
	first.get("/health/bandwidth", &traffic)
	if traffic[api.RPCProtocol].TotalIn == 0 {
		t.Errorf("calls have brought nothing: %v", traffic)
	}
	for _, p := range gone {
		p.stop()
	}
	began := time.Now()
	g = api.ConnectGraph{}
	first.get("/health/graph", &g)
	for _, p := range gone {
		id := p.id.String()
		if links, ok := g.ClusterLinks[id]; !ok || len(links) > 0 || g.IDToPeerName[id] != "" {
			t.Errorf("of %s, which is down, the graph tells %v, %q", p.name, links, g.IDToPeerName[id])
		}
	}
	if took := time.Since(began); took > peersAnswer {
		t.Errorf("two peers that are down took %v", took)
	}
}

// peersAnswer is longer than one peer is waited for, and shorter than two.
const peersAnswer = linksTimeout * 3 / 2
