package feed

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	mathrand "math/rand/v2"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multicodec"
	"github.com/multiformats/go-multihash"
	"github.com/pinfold-cluster/pinfold/api"
)

const (
	challengeNonce = sha256.Size
	maxChallenge   = 16  // blocks
	maxDescent     = 64  // blocks from a root to one asked for
	maxChosen      = 512 // blocks read to choose those
)

// A Challenge asks a follower to show that it has some blocks.
type Challenge struct {
	Nonce []byte    `cbor:"1,keyasint"` // 32 random bytes, new each time
	Cids  []api.Cid `cbor:"2,keyasint"` // at most 16
}

// An Answer has a hash for each block asked for: the SHA-256 of nonce and block, or
// nothing where the follower does not have the block.
type Answer struct {
	Hashes [][]byte `cbor:"1,keyasint"`
}

// Blocks reads blocks from the disk of this machine alone. The error is NotFound for a
// block that is not there.
type Blocks interface {
	Block(ctx context.Context, c api.Cid) ([]byte, error)
}

// Links are the CIDs to which a block links, in order.
type Links func(c cid.Cid, block []byte) ([]cid.Cid, error)

// NewChallenge picks up to n blocks of the DAG under root, of which this node has all, at
// random: each byte of the DAG is as likely to be asked for as another, as far as its
// own links tell sizes truly. There is a root for a direct pin, whose recursive is
// false. It reads 512 blocks at most.
//
// Expected is what who has the blocks answers. The error is NotFound where this node lacks
// a block, Unsupported where the DAG has none to ask for: its CIDs hold the data.
func NewChallenge(ctx context.Context, blocks Blocks, links Links, root api.Cid, recursive bool, n int) (c Challenge, expected Answer, err error) {
	c.Nonce = make([]byte, challengeNonce)
	rand.Read(c.Nonce)
	d := descent{blocks: blocks, links: links, recursive: recursive}
	seen := map[api.Cid]bool{}
	for range min(n, maxChallenge) {
		id, block, err := d.pick(ctx, root)
		if errors.Is(err, errChosen) && len(c.Cids) > 0 {
			break
		}
		if err != nil {
			return Challenge{}, Answer{}, fmt.Errorf("choose blocks of %s: %w", root, err)
		}
		if !seen[id] && id.Prefix().MhType != multihash.IDENTITY {
			seen[id] = true
			c.Cids = append(c.Cids, id)
			expected.Hashes = append(expected.Hashes, c.hash(block))
		}
	}
	if len(c.Cids) == 0 {
		return Challenge{}, Answer{}, api.Unsupported.Errorf("%s has no blocks to ask for", root)
	}
	return c, expected, nil
}

func (c Challenge) hash(block []byte) []byte {
	h := sha256.New()
	h.Write(c.Nonce)
	h.Write(block)
	return h.Sum(nil)
}

// Answer reads the blocks and hashes them. The error is Invalid for what no member asks;
// others are of the disk, and the context's.
func (c Challenge) Answer(ctx context.Context, blocks Blocks) (Answer, error) {
	if len(c.Nonce) != challengeNonce || len(c.Cids) == 0 || len(c.Cids) > maxChallenge {
		return Answer{}, api.Invalid.Errorf("a challenge for %d blocks with a nonce of %d bytes: at most %d blocks, and %d bytes", len(c.Cids), len(c.Nonce), maxChallenge, challengeNonce)
	}
	a := Answer{Hashes: make([][]byte, len(c.Cids))}
	for i, id := range c.Cids {
		if !id.Defined() {
			return Answer{}, api.Invalid.Errorf("a challenge for no block")
		}
		block, err := blocks.Block(ctx, id)
		switch {
		case err == nil:
			a.Hashes[i] = c.hash(block)
		case !errors.Is(err, api.NotFound):
			return Answer{}, fmt.Errorf("read block %s: %w", id, err)
		}
	}
	return a, nil
}

// Proves tells whether an answer shows all blocks.
func (expected Answer) Proves(got Answer) bool {
	if len(expected.Hashes) == 0 || len(got.Hashes) != len(expected.Hashes) {
		return false
	}
	for i, h := range expected.Hashes {
		if !bytes.Equal(h, got.Hashes[i]) {
			return false
		}
	}
	return true
}

// A descent goes down a DAG.
type descent struct {
	blocks    Blocks
	links     Links
	recursive bool
	read      int
}

var errChosen = api.TooLarge.Errorf("too many blocks to read")

// pick returns a block at random. From a block it goes on to one below, or stays, with
// chances as the bytes of the block and those below each link.
func (d *descent) pick(ctx context.Context, root api.Cid) (api.Cid, []byte, error) {
	at := root.Cid
	for depth := 1; ; depth++ {
		if d.read++; d.read > maxChosen {
			return api.Cid{}, nil, errChosen
		}
		block, err := d.blocks.Block(ctx, api.Cid{Cid: at})
		if err != nil {
			return api.Cid{}, nil, fmt.Errorf("read block %s: %w", at, err)
		}
		if !d.recursive || depth == maxDescent {
			return api.Cid{Cid: at}, block, nil
		}
		below, err := d.below(at, block)
		if err != nil {
			return api.Cid{}, nil, err
		}
		next := choose(len(block), below)
		if next < 0 {
			return api.Cid{Cid: at}, block, nil
		}
		at = below[next].cid
	}
}

// A link is a CID and the bytes that are said to be under it.
type link struct {
	cid  cid.Cid
	size uint64
}

// below are the links of a block. Where they tell no sizes, each counts as the block does.
func (d *descent) below(c cid.Cid, block []byte) (list []link, err error) {
	if multicodec.Code(c.Type()) == multicodec.DagPb {
		n, err := merkledag.DecodeProtobuf(block)
		if err != nil {
			return nil, api.Invalid.Errorf("read block %s: %w", c, err)
		}
		for _, l := range n.Links() {
			list = append(list, link{l.Cid, max(l.Size, 1)})
		}
		return list, nil
	}
	cids, err := d.links(c, block)
	if err != nil {
		return nil, err
	}
	for _, l := range cids {
		list = append(list, link{l, uint64(max(len(block), 1))})
	}
	return list, nil
}

// choose gives the index of a link, or -1 for the block itself.
func choose(own int, below []link) int {
	sum := float64(own)
	for _, l := range below {
		sum += float64(l.size)
	}
	at := mathrand.Float64()*sum - float64(own)
	for i, l := range below {
		if at < 0 {
			return i - 1
		}
		at -= float64(l.size)
	}
	return len(below) - 1
}
