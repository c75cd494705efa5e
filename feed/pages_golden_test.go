package feed

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"github.com/pinfold-cluster/pinfold/api"
)

// What is written between peers: a change here is a change of protocol.
func TestPages_Golden(t *testing.T) {
	var got bytes.Buffer
	fmt.Fprintf(&got, "rows  %x\n", leafOf(rowsOf(t, 3)...))
	fmt.Fprintf(&got, "parts %x\n", innerOf(2, part{"first", Hash{1, 2}, 300}, part{"second", Hash{3}, 1}))
	root, err := api.Encode(Root{Index: 7, Digest: [32]byte{5}, Pins: 301, Hash: Hash{6}})
	check(t, err)
	fmt.Fprintf(&got, "root  %x\n", root)
	s := pageState(t)
	fillPages(t, s, 0, 3000)
	fmt.Fprintf(&got, "tree  %s\n", buildTree(t, s).Root().Hash)

	want, err := os.ReadFile("testdata/pages.golden")
	check(t, err)
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("testdata/pages.golden is not\n%s", got.Bytes())
	}
}
