package main

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/client"
)

// Pins whose content is there do not wait for many whose content is nowhere.
func TestCluster_UnreachablePinsHoldUpNobody(t *testing.T) {
	const nowhere, there = 2000, 500
	peers := startCluster(t, 2)
	first, second := peers[0], peers[1]
	add, err := first.daemon.node.OpenAdd(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer add.Abort()
	var lost, found strings.Builder
	line := func(w io.Writer, c api.Cid) {
		fmt.Fprintf(w, `{"cid":%q,"replication_factor_min":1,"replication_factor_max":1,"user_allocations":[%q]}`+"\n", c, second.id)
	}
	for range nowhere {
		line(&lost, randomCid())
	}
	wanted := map[api.Cid]bool{}
	for range there {
		b := rawBlock(randomBytes(1000))
		if err := add.Put(t.Context(), rawBlocks(b)); err != nil {
			t.Fatal(err)
		}
		wanted[b.cid] = true
		line(&found, b.cid)
	}
	bulk := func(lines string) {
		t.Helper()
		for res, err := range first.http.Bulk(t.Context(), strings.NewReader(lines)) {
			if err != nil || res.Error != nil {
				t.Fatal(err, res.Error)
			}
		}
	}
	bulk(lost.String())
	bulk(found.String())
	// Did they wait for the others' first tries in the slots for fetching, it would take
	// 2,000 times half a second for 10 slots: 100 s.
	eventually(t, 90*time.Second, func() error {
		n := 0
		for g, err := range second.http.Statuses(t.Context(), client.StatusList{Filter: api.StatusPinned, Local: true}) {
			if err != nil {
				return err
			}
			if wanted[g.Cid] {
				n++
			}
		}
		if n < there {
			return fmt.Errorf("%d of %d pins are done", n, there)
		}
		return nil
	})
}
