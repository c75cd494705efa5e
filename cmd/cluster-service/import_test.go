package main

import (
	"io"
	"os"
	"strings"
	"testing"
)

// Sharded content of IPFS Cluster comes as one ordinary pin of its root. Neither its
// shards nor its cluster DAG come along, so that an unpin leaves nothing behind.
func TestSpoolImport_ShardedContentIsOnePin(t *testing.T) {
	in, err := os.Open("../../state/testdata/ipfs-cluster-1.1.6.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	spool, err := os.CreateTemp(t.TempDir(), "spool")
	if err != nil {
		t.Fatal(err)
	}
	defer spool.Close()
	var notes strings.Builder
	if err := spoolImport(in, spool, nil, placement{}, &notes); err != nil {
		t.Fatal(err)
	}
	lines, err := io.ReadAll(spool)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(lines), `"name":"sharded`); n != 1 || !strings.Contains(string(lines), `"name":"sharded"`) {
		t.Errorf("%d pins of the sharded content:\n%s", n, lines)
	}
	if n := strings.Count(notes.String(), "its root is pinned whole instead"); n < 2 {
		t.Errorf("the notes tell of %d parts left out:\n%s", n, notes.String())
	}
}
