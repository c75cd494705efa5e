package ipfsconntest

import (
	"math/rand/v2"
	"testing"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/multiformats/go-multihash"

	"github.com/pinfold-cluster/pinfold/api"
)

// A Tree is a small DAG.
type Tree struct {
	Root   api.Cid
	Blocks []blocks.Block // leaves first, the root last
	Size   uint64         // bytes of all blocks
}

// File makes a UnixFS file of n raw leaves of size random bytes each.
func File(t testing.TB, seed uint64, n, size int) Tree {
	t.Helper()
	var tree Tree
	for i := range n {
		tree.add(Leaf(t, seed<<32|uint64(i), size))
	}
	return tree.Over(t, tree.Blocks...)
}

// Over returns the tree with a UnixFS file of the given leaves on top.
func (tree Tree) Over(t testing.TB, leaves ...blocks.Block) Tree {
	t.Helper()
	file := unixfs.NewFSNode(unixfs.TFile)
	node := new(merkledag.ProtoNode)
	if err := node.SetCidBuilder(cid.V1Builder{Codec: cid.DagProtobuf, MhType: multihash.SHA2_256}); err != nil {
		t.Fatal(err)
	}
	for _, b := range leaves {
		file.AddBlockSize(uint64(len(b.RawData())))
		if err := node.AddRawLink("", &ipld.Link{Size: uint64(len(b.RawData())), Cid: b.Cid()}); err != nil {
			t.Fatal(err)
		}
	}
	return tree.top(t, node, file)
}

// Directory makes a UnixFS directory of trees by name.
func Directory(t testing.TB, entries map[string]Tree) Tree {
	t.Helper()
	var tree Tree
	node := new(merkledag.ProtoNode)
	if err := node.SetCidBuilder(cid.V1Builder{Codec: cid.DagProtobuf, MhType: multihash.SHA2_256}); err != nil {
		t.Fatal(err)
	}
	for name, e := range entries {
		for _, b := range e.Blocks {
			tree.add(b)
		}
		if err := node.AddRawLink(name, &ipld.Link{Name: name, Size: e.Size, Cid: e.Root.Cid}); err != nil {
			t.Fatal(err)
		}
	}
	return tree.top(t, node, unixfs.NewFSNode(unixfs.TDirectory))
}

func (tree Tree) top(t testing.TB, node *merkledag.ProtoNode, content *unixfs.FSNode) Tree {
	t.Helper()
	data, err := content.GetBytes()
	if err != nil {
		t.Fatal(err)
	}
	node.SetData(data)
	b, err := blocks.NewBlockWithCid(node.RawData(), node.Cid())
	if err != nil {
		t.Fatal(err)
	}
	tree.add(b)
	tree.Root = api.Cid{Cid: b.Cid()}
	return tree
}

func (tree *Tree) add(b blocks.Block) {
	tree.Blocks = append(tree.Blocks[:len(tree.Blocks):len(tree.Blocks)], b)
	tree.Size += uint64(len(b.RawData()))
}

// Leaf makes a raw block of random bytes, the same for the same seed.
func Leaf(t testing.TB, seed uint64, size int) blocks.Block {
	t.Helper()
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	data := make([]byte, size)
	if _, err := rand.NewChaCha8(key).Read(data); err != nil {
		t.Fatal(err)
	}
	return Block(t, cid.Raw, data)
}

// Block makes a block of the given codec and data, whatever they are.
func Block(t testing.TB, codec uint64, data []byte) blocks.Block {
	t.Helper()
	c, err := cid.V1Builder{Codec: codec, MhType: multihash.SHA2_256}.Sum(data)
	if err != nil {
		t.Fatal(err)
	}
	b, err := blocks.NewBlockWithCid(data, c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
