package embedded

import (
	"testing"

	block "github.com/ipfs/go-block-format"

	"github.com/pinfold-cluster/pinfold/ipfsconn/ipfsconntest"
)

// BenchmarkAdd adds 256 MiB, durable and pinned: blocks are checked, stored, synced.
func BenchmarkAdd(b *testing.B) {
	tree := ipfsconntest.File(b, 1, 1024, 256<<10)
	b.SetBytes(int64(tree.Size))
	for b.Loop() {
		n := onLine(b, Options{})
		a, err := n.OpenAdd(b.Context(), tree.Size)
		if err != nil {
			b.Fatal(err)
		}
		for i := 0; i < len(tree.Blocks); i += 16 {
			if err := a.Put(b.Context(), append([]block.Block(nil), tree.Blocks[i:min(i+16, len(tree.Blocks))]...)); err != nil {
				b.Fatal(err)
			}
		}
		if err := a.Commit(b.Context(), tree.Root); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPin fetches 64 MiB from another node, or finds them on its own.
func BenchmarkPin(b *testing.B) {
	tree := ipfsconntest.File(b, 1, 256, 256<<10)
	holder := onLine(b, Options{})
	ipfsconntest.Add(b, holder, tree)
	b.Run("fetched", func(b *testing.B) {
		b.SetBytes(int64(tree.Size))
		for b.Loop() {
			if err := onLine(b, Options{}, holder).Pin(b.Context(), ipfsconntest.Pin(tree.Root), nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("local", func(b *testing.B) {
		b.SetBytes(int64(tree.Size))
		for b.Loop() {
			if err := holder.Pin(b.Context(), ipfsconntest.Pin(tree.Root), nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}
