// Package dag reads the links out of blocks.
package dag

import (
	"bytes"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/go-cid"
	"github.com/ipld/go-ipld-prime/codec"
	"github.com/ipld/go-ipld-prime/codec/dagcbor"
	"github.com/ipld/go-ipld-prime/codec/dagjson"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	"github.com/ipld/go-ipld-prime/node/basicnode"
	"github.com/ipld/go-ipld-prime/traversal"
	"github.com/multiformats/go-multicodec"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn"
)

// IsLeaf tells whether blocks of c's codec never have links, so that they need not be
// read.
func IsLeaf(c cid.Cid) bool {
	switch multicodec.Code(c.Type()) {
	case multicodec.Raw, multicodec.Cbor, multicodec.Json, multicodec.Libp2pKey:
		return true
	}
	return false
}

// Links returns the CIDs that block c with the given data links to, in order. An error
// is Invalid, with api.CauseBadBlock: the block cannot be read as its codec says, the
// codec is not known here, or a link's hash function is not to be relied on.
func Links(c cid.Cid, data []byte) ([]cid.Cid, error) {
	if IsLeaf(c) {
		return nil, nil
	}
	var links []cid.Cid
	var err error
	switch multicodec.Code(c.Type()) {
	case multicodec.DagPb:
		links, err = linksPB(data)
	case multicodec.DagCbor:
		links, err = linksIPLD(data, dagcbor.Decode)
	case multicodec.DagJson:
		links, err = linksIPLD(data, dagjson.Decode)
	default:
		return nil, bad(c, api.Unsupported.Errorf("codec %s", multicodec.Code(c.Type())))
	}
	if err != nil {
		return nil, bad(c, err)
	}
	for _, l := range links {
		if err := ipfsconn.CheckCid(l); err != nil {
			return nil, bad(c, err)
		}
	}
	return links, nil
}

func bad(c cid.Cid, err error) error {
	return api.CauseBadBlock.Wrap(api.Invalid.Errorf("read block %s: %w", c, err))
}

func linksPB(data []byte) ([]cid.Cid, error) {
	n, err := merkledag.DecodeProtobuf(data)
	if err != nil {
		return nil, err
	}
	links := make([]cid.Cid, 0, len(n.Links()))
	for _, l := range n.Links() {
		links = append(links, l.Cid)
	}
	return links, nil
}

func linksIPLD(data []byte, decode codec.Decoder) ([]cid.Cid, error) {
	b := basicnode.Prototype.Any.NewBuilder()
	if err := decode(b, bytes.NewReader(data)); err != nil {
		return nil, err
	}
	found, err := traversal.SelectLinks(b.Build())
	if err != nil {
		return nil, err
	}
	links := make([]cid.Cid, 0, len(found))
	for _, l := range found {
		c, ok := l.(cidlink.Link)
		if !ok {
			return nil, api.Invalid.Errorf("link %v is no CID", l)
		}
		links = append(links, c.Cid)
	}
	return links, nil
}
