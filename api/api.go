// Package api names the things that the rest of Pinfold talks about: pins, their
// options and statuses, peers, metrics, alerts, the changes that peers agree on,
// and the kinds of errors. It holds their JSON, which is that of the IPFS Cluster
// 1.1.6 REST API, and their CBOR, which is what crosses between peers and lies on
// disk. It does nothing else and imports none of the other packages.
package api

import (
	"encoding/json"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
)

// PeerID is the libp2p identity of a peer. Its JSON is the base58 form.
type PeerID = peer.ID

// Multiaddr is a libp2p address. Its JSON is the text form.
type Multiaddr = multiaddr.Multiaddr

// Cid is a content identifier whose JSON is its plain string, or null when it is
// undefined, and not the {"/": …} of IPLD. It is comparable and can key a map.
type Cid struct{ cid.Cid }

// CidUndef is the absent CID.
var CidUndef = Cid{}

// ParseCid reads the text form of a CID. The error is Invalid.
func ParseCid(s string) (Cid, error) {
	c, err := cid.Decode(s)
	if err != nil {
		return CidUndef, Invalid.Errorf("error decoding Cid: %w", err)
	}
	return Cid{c}, nil
}

// MarshalJSON implements json.Marshaler.
func (c Cid) MarshalJSON() ([]byte, error) {
	if !c.Defined() {
		return []byte("null"), nil
	}
	return json.Marshal(c.String())
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *Cid) UnmarshalJSON(b []byte) error {
	var s *string
	if err := json.Unmarshal(b, &s); err != nil {
		return Invalid.Errorf("a CID must be a string: %w", err)
	}
	if s == nil || *s == "" {
		*c = CidUndef
		return nil
	}
	parsed, err := ParseCid(*s)
	if err != nil {
		return err
	}
	*c = parsed
	return nil
}

// ParsePeerID reads the text form of a peer ID. The error is Invalid.
func ParsePeerID(s string) (PeerID, error) {
	p, err := peer.Decode(s)
	if err != nil {
		return "", Invalid.Errorf("error decoding Peer ID: %w", err)
	}
	return p, nil
}
