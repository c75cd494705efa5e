// Package apitest is what the tests of several packages need of api: identifiers that
// are well formed, and a walk over the files of an add.
package apitest

import (
	"path"
	"testing"

	"github.com/ipfs/boxo/files"

	"github.com/pinfold-cluster/pinfold/api"
)

// Peers and CIDs of nobody and nothing in particular.
const (
	Peer0 = "12D3KooWELFZK4psu4xA4FABPWpckzW8PRc3b4pGKQHks4uqaXSG"
	Peer1 = "12D3KooWMPrfBEZDMyNn1dVxBcMck2cmJgL3iqLS772Tm9sDaSDB"
	Cid0  = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPBdG"
	Cid1  = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
)

// Cid parses s.
func Cid(tb testing.TB, s string) api.Cid {
	tb.Helper()
	c, err := api.ParseCid(s)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// PeerID parses s.
func PeerID(tb testing.TB, s string) api.PeerID {
	tb.Helper()
	id, err := api.ParsePeerID(s)
	if err != nil {
		tb.Fatal(err)
	}
	return id
}

// Walk calls visit with each node below dir and its path, a directory before what is
// in it, until visit or reading dir fails.
func Walk(dir files.Directory, visit func(name string, n files.Node) error) error {
	var walk func(files.Directory, string) error
	walk = func(dir files.Directory, at string) error {
		it := dir.Entries()
		for it.Next() {
			name := path.Join(at, it.Name())
			if err := visit(name, it.Node()); err != nil {
				return err
			}
			if d, ok := it.Node().(files.Directory); ok {
				if err := walk(d, name); err != nil {
					return err
				}
			}
		}
		return it.Err()
	}
	return walk(dir, "")
}
