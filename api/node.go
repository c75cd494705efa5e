package api

import "time"

// PinnedCid is one pin as an IPFS node lists it.
type PinnedCid struct {
	Cid  Cid
	Mode PinMode
	Size uint64 // bytes of its DAG, 0 where nobody knows
}

// Mark tells of a pin that an add made on the node before the pinset knew of it, and
// when: by this machine's clock, with its fraction of a second.
type Mark struct {
	Cid   Cid
	Since time.Time
	// Before tells that the CID was pinned before the add, too, by whomever.
	Before bool
}

// Kept is a block below a pin.
type Kept struct{ Cid, Pin Cid }

// PinningService is one of others that speaks the Pinning Service API: its URL, without
// /pins, and the token to show there.
type PinningService struct{ Endpoint, Key string }

// Exchanged is what an IPFS node has traded with others over bitswap, since it started.
type Exchanged struct {
	Wantlist       []Cid
	Peers          []PeerID
	Messages       uint64 // received
	BlocksReceived uint64
	DataReceived   uint64 // bytes
	BlocksSent     uint64
	DataSent       uint64 // bytes
}
