package adder

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	chunk "github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/files"
	boxobalanced "github.com/ipfs/boxo/ipld/unixfs/importer/balanced"
	"github.com/ipfs/boxo/ipld/unixfs/importer/helpers"
	boxotrickle "github.com/ipfs/boxo/ipld/unixfs/importer/trickle"
	blocks "github.com/ipfs/go-block-format"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/pinfold-cluster/pinfold/api"
)

// The layouts are those of boxo at every number of leaves where a level begins.
func TestLayout_SameAsBoxo(t *testing.T) {
	const m = maxChildren
	for _, n := range []int{0, 1, 2, m - 1, m, m + 1, 2 * m, 2*m + 1, 5 * m, 9*m - 1, m*m - 1, m * m, m*m + 1, m*m + m + 1} {
		for _, layout := range []string{"balanced", "trickle"} {
			for v, kind := range []string{"v0", "v1", "v1 with a mode and a time", "v1 inlined"} {
				t.Run(fmt.Sprintf("%s %s, %d leaves", layout, kind, n), func(t *testing.T) {
					data := content("layout", n)
					p := api.DefaultAddParams()
					p.Layout, p.CidVersion, p.RawLeaves, p.Chunker = layout, min(v, 1), v == 1 || v == 3, "size-1"
					if v == 2 {
						p.FileMode, p.FileMtime = 0o640, time.Unix(1e9, 5)
					}
					p.Inline = v == 3
					pin, _, err := newCluster(t, 1, 1).add(t, dirOf(files.FileEntry("f", files.NewBytesFile(data))), p)
					if err != nil {
						t.Fatal(err)
					}
					f, err := newFormat(p)
					if err != nil {
						t.Fatal(err)
					}
					params := helpers.DagBuilderParams{Maxlinks: helpers.DefaultLinksPerBlock, RawLeaves: f.raw, CidBuilder: f.nodes, FileMode: p.FileMode, FileModTime: p.FileMtime,
						Dagserv: &writer{put: func(blocks.Block) error { return nil }}}
					b, err := params.New(chunk.NewSizeSplitter(bytes.NewReader(data), 1))
					if err != nil {
						t.Fatal(err)
					}
					var want ipld.Node
					if layout == "trickle" {
						want, err = boxotrickle.Layout(b)
					} else {
						want, err = boxobalanced.Layout(b)
					}
					if err != nil {
						t.Fatal(err)
					}
					size, err := want.Size()
					if err != nil {
						t.Fatal(err)
					}
					if pin.Cid.Cid != want.Cid() || pin.Size != size {
						t.Fatalf("got %s of %d, boxo gives %s of %d", pin.Cid, pin.Size, want.Cid(), size)
					}
				})
			}
		}
	}
}
