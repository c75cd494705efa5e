package main

import "testing"

// A port that systems give to connections is taken now and then before a peer listens
// on it.
func TestFreePorts_AreNoConnections(t *testing.T) {
	var ports []int
	for range 10 { // peers of one process, none of which listens yet
		some, err := freePorts(50)
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, some...)
	}
	seen := map[int]bool{}
	for _, p := range ports {
		if p < lowPort || p >= highPort || seen[p] {
			t.Errorf("port %d is twice among the free ones, or no port for a peer", p)
		}
		seen[p] = true
	}
}
