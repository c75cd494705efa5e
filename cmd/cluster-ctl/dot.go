package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pinfold-cluster/pinfold/api"
)

// dot draws a graph of connections in Graphviz's language: peers in orange, their IPFS
// nodes in turquoise. The peer that was asked is C0; others are T and a number, or U where
// they did not answer; nodes are I and a number. Nodes outside the cluster are left out
// unless everyNode.
func dot(g api.ConnectGraph, everyNode bool) string {
	d := drawing{ids: map[string]string{}}
	d.text.WriteString("digraph cluster {\n")
	for i, peer := range peersOf(g) {
		kind, rim := "U", ""
		switch {
		case peer == g.ClusterID.String():
			kind, rim = "C", ", peripheries=2"
		case g.ClusterTrustLinks[peer]:
			kind = "T"
		}
		d.node(fmt.Sprint(kind, i), peer, label(g.IDToPeerName[peer], peer), "orange"+rim)
	}
	for i, node := range nodesOf(g, everyNode) {
		d.node(fmt.Sprint("I", i), node, label("", node), "turquoise")
	}
	for _, links := range []map[string][]api.PeerID{g.ClusterLinks, g.IPFSLinks} {
		for _, from := range slices.Sorted(maps.Keys(links)) {
			for _, to := range sorted(links[from]) {
				d.edge(from, to)
			}
		}
	}
	for _, peer := range slices.Sorted(maps.Keys(g.ClusterToIPFS)) {
		d.edge(peer, g.ClusterToIPFS[peer].String())
	}
	d.text.WriteString("}\n")
	return d.text.String()
}

// drawing is a graph half written.
type drawing struct {
	text strings.Builder
	ids  map[string]string // of nodes in the drawing, by peer ID
}

func (d *drawing) node(id, peer, label, color string) {
	d.ids[peer] = id
	fmt.Fprintf(&d.text, "\t%s [label=%s, color=%s]\n", id, label, color)
}

// edge draws one between two that are both there.
func (d *drawing) edge(from, to string) {
	a, b := d.ids[from], d.ids[to]
	if a != "" && b != "" && a != b {
		fmt.Fprintf(&d.text, "\t%s -> %s\n", a, b)
	}
}

// peersOf are the peers of the cluster, the one that was asked first.
func peersOf(g api.ConnectGraph) []string {
	asked := g.ClusterID.String()
	peers := []string{asked}
	for _, p := range slices.Sorted(maps.Keys(g.ClusterLinks)) {
		if p != asked {
			peers = append(peers, p)
		}
	}
	return peers
}

// nodesOf are the cluster's IPFS nodes, then with every those that they are connected with.
func nodesOf(g api.ConnectGraph, every bool) []string {
	own := slices.Compact(sorted(slices.Collect(maps.Values(g.ClusterToIPFS))))
	if !every {
		return own
	}
	var others []string
	for _, links := range g.IPFSLinks {
		for _, p := range links {
			if !slices.Contains(own, p.String()) {
				others = append(others, p.String())
			}
		}
	}
	slices.Sort(others)
	return append(own, slices.Compact(others)...)
}

func sorted(ids []api.PeerID) []string {
	out := make([]string, 0, len(ids))
	for _, id := range ids {
		out = append(out, id.String())
	}
	slices.Sort(out)
	return out
}

var dotEscape = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// label is the name and the end of the ID, as a quoted string of the language.
func label(name, id string) string {
	short := shortID(id)
	if name == "" {
		return `"` + dotEscape.Replace(short) + `"`
	}
	return `"` + dotEscape.Replace(printable(name)) + `\n` + dotEscape.Replace(short) + `"`
}

func shortID(id string) string { return id[max(0, len(id)-6):] }
