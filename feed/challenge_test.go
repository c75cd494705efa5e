package feed

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/ipfs/boxo/blockservice"
	chunker "github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/ipld/merkledag"
	mdtest "github.com/ipfs/boxo/ipld/merkledag/test"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/boxo/ipld/unixfs/importer/balanced"
	"github.com/ipfs/boxo/ipld/unixfs/importer/helpers"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/multiformats/go-multihash"
	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded/dag"
)

// memory is a store of blocks that counts what is read.
type memory struct {
	blockservice.BlockService
	reads int
}

func newMemory() *memory { return &memory{BlockService: mdtest.Bserv()} }

func (m *memory) Block(ctx context.Context, c api.Cid) ([]byte, error) {
	m.reads++
	b, err := m.Blockstore().Get(ctx, c.Cid)
	if ipld.IsNotFound(err) {
		return nil, api.NotFound.Errorf("%v", err)
	}
	if err != nil {
		return nil, err
	}
	return b.RawData(), nil
}

func (m *memory) count(t *testing.T) (n int) {
	keys, err := m.Blockstore().AllKeysChan(t.Context())
	check(t, err)
	for range keys {
		n++
	}
	return n
}

// addFile makes the UnixFS DAG of a file of random bytes, 1 KiB a leaf.
func (m *memory) addFile(t *testing.T, seed byte, size int) ipld.Node {
	t.Helper()
	data := io.LimitReader(rand.NewChaCha8([32]byte{seed}), int64(size))
	p := helpers.DagBuilderParams{Maxlinks: 16, RawLeaves: true, Dagserv: merkledag.NewDAGService(m)}
	b, err := p.New(chunker.NewSizeSplitter(data, 1<<10))
	check(t, err)
	n, err := balanced.Layout(b)
	check(t, err)
	return n
}

// addSite makes a directory of small files and one large one.
func (m *memory) addSite(t *testing.T) (root api.Cid, large ipld.Node) {
	t.Helper()
	dir := unixfs.EmptyDirNode()
	large = m.addFile(t, 1, 200<<10)
	check(t, dir.AddNodeLink("large", large))
	for i := range 50 {
		check(t, dir.AddNodeLink(string(rune('a'+i)), m.addFile(t, byte(2+i), 1<<10)))
	}
	check(t, merkledag.NewDAGService(m).Add(t.Context(), dir))
	return api.Cid{Cid: dir.Cid()}, large
}

// challenge is one of 16 blocks, and what proves it.
func challenge(t *testing.T, from Blocks, root api.Cid) (Challenge, Answer) {
	t.Helper()
	c, expected, err := NewChallenge(t.Context(), from, dag.Links, root, true, 16)
	check(t, err)
	return c, expected
}

func answer(t *testing.T, c Challenge, from Blocks) Answer {
	t.Helper()
	b, err := api.Encode(c) // it crosses the wire, both ways
	check(t, err)
	var read Challenge
	check(t, api.Decode(b, &read))
	a, err := read.Answer(t.Context(), from)
	check(t, err)
	b, err = api.Encode(a)
	check(t, err)
	var got Answer
	check(t, api.Decode(b, &got))
	return got
}

func TestChallenge_TellsACopyFromAClaim(t *testing.T) {
	ours, copied, part, none := newMemory(), newMemory(), newMemory(), newMemory()
	root, large := ours.addSite(t)
	copied.addSite(t)
	part.addSite(t)
	for _, l := range large.Links()[:6] { // 96 of some 270 KiB
		b, err := part.Block(t.Context(), api.Cid{Cid: l.Cid})
		check(t, err)
		leaves, err := dag.Links(l.Cid, b)
		check(t, err)
		for _, c := range leaves {
			check(t, part.DeleteBlock(t.Context(), c))
		}
	}

	missed := 0
	for range 50 {
		c, expected := challenge(t, ours, root)
		if len(c.Cids) < 8 || len(c.Cids) > 16 {
			t.Errorf("%d blocks are asked for", len(c.Cids))
		}
		if !expected.Proves(answer(t, c, copied)) {
			t.Fatal("a copy does not prove itself")
		}
		if expected.Proves(answer(t, c, none)) || expected.Proves(Answer{}) {
			t.Fatal("nothing proves a copy")
		}
		if expected.Proves(answer(t, c, part)) {
			missed++
		}
	}
	if missed > 5 { // one in 800 passes
		t.Errorf("who lacks a third passed %d of 50 challenges", missed)
	}
}

// What was answered once, or is right in part, proves nothing.
func TestChallenge_AnswersAreForOneNonce(t *testing.T) {
	ours := newMemory()
	root, _ := ours.addSite(t)
	c, _ := challenge(t, ours, root)
	old := answer(t, c, ours)
	again := Challenge{Nonce: bytes.Repeat([]byte{1}, challengeNonce), Cids: c.Cids}
	expected := answer(t, again, ours)
	if expected.Proves(old) {
		t.Error("the answer to another nonce proves a copy")
	}
	for name, got := range map[string]Answer{
		"short":   {expected.Hashes[1:]},
		"long":    {append(append([][]byte{}, expected.Hashes...), expected.Hashes[0])},
		"swapped": {append([][]byte{expected.Hashes[1], expected.Hashes[0]}, expected.Hashes[2:]...)},
		"hole":    {append([][]byte{nil}, expected.Hashes[1:]...)},
	} {
		if expected.Proves(got) {
			t.Errorf("%s: proves a copy", name)
		}
	}
	if (Answer{}).Proves(Answer{}) {
		t.Error("where nothing is asked, nothing is proven")
	}
}

// Bytes are asked for alike, wherever they lie.
func TestNewChallenge_AsksForWhatIsLarge(t *testing.T) {
	ours := newMemory()
	root, large := ours.addSite(t)
	inLarge := map[api.Cid]bool{{Cid: large.Cid()}: true}
	var walk func(c cid.Cid)
	walk = func(c cid.Cid) {
		b, err := ours.Block(t.Context(), api.Cid{Cid: c})
		check(t, err)
		links, err := dag.Links(c, b)
		check(t, err)
		for _, l := range links {
			inLarge[api.Cid{Cid: l}] = true
			walk(l)
		}
	}
	walk(large.Cid())
	d := descent{blocks: ours, links: dag.Links, recursive: true}
	seen, hits := map[api.Cid]bool{}, 0
	const picks = 3000
	for range picks {
		d.read = 0
		c, _, err := d.pick(t.Context(), root)
		check(t, err)
		seen[c] = true
		if inLarge[c] {
			hits++
		}
	}
	// 215 of some 270 KiB: the wider bounds are ten standard deviations away.
	if hits < picks*65/100 || hits > picks*90/100 {
		t.Errorf("%d of %d blocks are of the large file", hits, picks)
	}
	if all := ours.count(t); len(seen) < all*9/10 {
		t.Errorf("%d of %d blocks were ever asked for", len(seen), all)
	}
}

func TestNewChallenge_CostsLittle(t *testing.T) {
	ours := newMemory()
	service := merkledag.NewDAGService(ours)
	n := merkledag.NodeWithData([]byte("end"))
	check(t, service.Add(t.Context(), n))
	for range 2000 { // a chain
		up := merkledag.NodeWithData(nil)
		check(t, up.AddNodeLink("", n))
		check(t, service.Add(t.Context(), up))
		n = up
	}
	ours.reads = 0
	c, expected := challenge(t, ours, api.Cid{Cid: n.Cid()})
	if ours.reads > maxChosen || len(c.Cids) == 0 {
		t.Errorf("%d blocks were read for %d", ours.reads, len(c.Cids))
	}
	if !expected.Proves(answer(t, c, ours)) {
		t.Error("a copy does not prove itself")
	}
}

func TestNewChallenge_DirectPinsAndOthers(t *testing.T) {
	ours := newMemory()
	root, large := ours.addSite(t)
	c, _, err := NewChallenge(t.Context(), ours, dag.Links, root, false, 16)
	check(t, err)
	if len(c.Cids) != 1 || c.Cids[0] != root {
		t.Errorf("of a direct pin %v is asked for", c.Cids)
	}

	// A node that lacks a block challenges nobody.
	for _, l := range large.Links() {
		check(t, ours.DeleteBlock(t.Context(), l.Cid))
	}
	failed := 0
	for range 20 {
		if _, _, err := NewChallenge(t.Context(), ours, dag.Links, root, true, 16); err != nil {
			if api.KindOf(err) != api.NotFound {
				t.Fatalf("%v, want NotFound", err)
			}
			failed++
		}
	}
	if failed == 0 {
		t.Error("lacking most blocks of a file was never noticed")
	}

	inline, err := cid.V1Builder{Codec: cid.Raw, MhType: multihash.IDENTITY}.Sum([]byte("all of it"))
	check(t, err)
	if _, _, err := NewChallenge(t.Context(), inlined{ours}, dag.Links, api.Cid{Cid: inline}, true, 16); api.KindOf(err) != api.Unsupported {
		t.Errorf("a CID that holds its data: %v, want Unsupported", err)
	}
}

// inlined reads blocks out of CIDs too, as nodes do.
type inlined struct{ *memory }

func (m inlined) Block(ctx context.Context, c api.Cid) ([]byte, error) {
	if d, err := multihash.Decode(c.Hash()); err == nil && d.Code == multihash.IDENTITY {
		return d.Digest, nil
	}
	return m.memory.Block(ctx, c)
}

type brokenDisk struct{}

func (brokenDisk) Block(context.Context, api.Cid) ([]byte, error) { return nil, errors.New("broken") }

func TestChallenge_RefusesWhatNobodyAsks(t *testing.T) {
	c := api.Cid{Cid: pageCid(1).Cid}
	nonce := make([]byte, challengeNonce)
	for name, bad := range map[string]Challenge{
		"no nonce":   {Cids: []api.Cid{c}},
		"long nonce": {Nonce: make([]byte, 1<<10), Cids: []api.Cid{c}},
		"no blocks":  {Nonce: nonce},
		"many":       {Nonce: nonce, Cids: make([]api.Cid, maxChallenge+1)},
		"no CID":     {Nonce: nonce, Cids: []api.Cid{{}}},
	} {
		if _, err := bad.Answer(t.Context(), newMemory()); api.KindOf(err) != api.Invalid {
			t.Errorf("%s: %v, want Invalid", name, err)
		}
	}
	if _, err := (Challenge{nonce, []api.Cid{c}}).Answer(t.Context(), brokenDisk{}); err == nil {
		t.Error("a disk that is broken is no answer")
	}
}
