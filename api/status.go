package api

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// TrackerStatus is the state of one pin on one peer, or, as a filter, a set of them.
type TrackerStatus uint32

// The statuses, and the composites that filters accept.
const (
	StatusClusterError TrackerStatus = 1 << iota // the peer could not be asked
	StatusPinError
	StatusUnpinError
	StatusPinned
	StatusPinning
	StatusPinQueued
	StatusUnpinned
	StatusUnpinning
	StatusUnpinQueued
	StatusRemote  // in the pinset, not allocated to this peer
	StatusSharded // a meta pin
	StatusUnexpectedlyUnpinned

	StatusUndefined TrackerStatus = 0 // as a filter: everything
	StatusError                   = StatusClusterError | StatusPinError | StatusUnpinError
	StatusQueued                  = StatusPinQueued | StatusUnpinQueued
)

var statuses = names[TrackerStatus]{
	StatusUndefined: "undefined", StatusClusterError: "cluster_error", StatusPinError: "pin_error",
	StatusUnpinError: "unpin_error", StatusError: "error", StatusPinned: "pinned", StatusPinning: "pinning",
	StatusPinQueued: "pin_queued", StatusUnpinned: "unpinned", StatusUnpinning: "unpinning",
	StatusUnpinQueued: "unpin_queued", StatusQueued: "queued", StatusRemote: "remote",
	StatusSharded: "sharded", StatusUnexpectedlyUnpinned: "unexpectedly_unpinned",
}

// String gives the name; a set that has none is a comma-separated list.
func (s TrackerStatus) String() string {
	if name, ok := statuses[s]; ok {
		return name
	}
	var parts []string
	for bit := StatusClusterError; bit <= StatusUnexpectedlyUnpinned; bit <<= 1 {
		if s&bit != 0 {
			parts = append(parts, statuses[bit])
		}
	}
	return strings.Join(parts, ",")
}

// Match tells whether status s passes filter f; everything passes StatusUndefined.
func (s TrackerStatus) Match(f TrackerStatus) bool { return f == StatusUndefined || s&f != 0 }

func (s TrackerStatus) MarshalJSON() ([]byte, error)  { return json.Marshal(s.String()) }
func (s *TrackerStatus) UnmarshalJSON(b []byte) error { return statuses.parseJSON(b, "status", s) }

// ParseStatusFilter reads a comma-separated list of statuses. Unknown names are
// ignored; where nothing matched the error is Invalid. "" is everything.
func ParseStatusFilter(list string) (TrackerStatus, error) {
	list = strings.ReplaceAll(list, " ", "")
	if list == "" {
		return StatusUndefined, nil
	}
	parts := strings.Split(list, ",")
	var f TrackerStatus
	var unknown error
	for _, part := range parts {
		s, err := statuses.parse(part, "status")
		if err != nil {
			unknown = err
		}
		f |= s
	}
	if f == StatusUndefined && !slices.Contains(parts, "undefined") {
		return 0, Invalid.Errorf("invalid filter value: %w", unknown)
	}
	return f, nil
}

// Cause says why a pin is not there yet.
type Cause string

// The causes of a failed or waiting pin.
const (
	CauseNoProvider  Cause = "no provider"  // nobody offered its first block
	CauseStalled     Cause = "stalled"      // blocks stopped arriving
	CauseDiskFull    Cause = "disk full"    // no room on this peer
	CauseTooBig      Cause = "too big"      // a block or DAG is over a limit
	CauseBadBlock    Cause = "bad block"    // a block cannot be decoded or does not match its CID
	CauseBackendDown Cause = "backend down" // the IPFS node does not answer
	CauseOther       Cause = "other"
)

// PinInfoShort is one peer's part of a GlobalPinInfo.
type PinInfoShort struct {
	PeerName      string        `json:"peername" cbor:"8,keyasint,omitempty"`
	IPFS          PeerID        `json:"ipfs_peer_id,omitempty" cbor:"9,keyasint,omitempty"`
	IPFSAddresses []Multiaddr   `json:"ipfs_peer_addresses,omitempty" cbor:"10,keyasint,omitempty"`
	Status        TrackerStatus `json:"status" cbor:"11,keyasint,omitempty"`
	Timestamp     time.Time     `json:"timestamp" cbor:"12,keyasint,omitzero"`
	Error         string        `json:"error" cbor:"13,keyasint,omitempty"`
	AttemptCount  int           `json:"attempt_count" cbor:"14,keyasint,omitempty"`
	PriorityPin   bool          `json:"priority_pin" cbor:"15,keyasint,omitempty"`

	Cause   Cause     `json:"cause,omitempty" cbor:"16,keyasint,omitempty"`
	NextTry time.Time `json:"next_try,omitzero" cbor:"17,keyasint,omitzero"`
	Bytes   uint64    `json:"bytes,omitempty" cbor:"18,keyasint,omitempty"` // of the DAG here so far
	Rate    uint64    `json:"rate,omitempty" cbor:"19,keyasint,omitempty"`  // bytes/s arriving now
}

// PinInfo is the status of one CID on one peer.
type PinInfo struct {
	Cid         Cid               `json:"cid" cbor:"1,keyasint"`
	Name        string            `json:"name" cbor:"2,keyasint,omitempty"`
	Peer        PeerID            `json:"peer" cbor:"3,keyasint,omitempty"`
	Allocations []PeerID          `json:"allocations" cbor:"4,keyasint,omitempty"`
	Origins     []Multiaddr       `json:"origins" cbor:"5,keyasint,omitempty"`
	Created     time.Time         `json:"created" cbor:"6,keyasint,omitzero"`
	Metadata    map[string]string `json:"metadata" cbor:"7,keyasint,omitempty"`
	PinInfoShort
}

// GlobalPinInfo is the status of one CID on all peers.
type GlobalPinInfo struct {
	Cid         Cid                     `json:"cid"`
	Name        string                  `json:"name"`
	Allocations []PeerID                `json:"allocations"`
	Origins     []Multiaddr             `json:"origins"`
	Created     time.Time               `json:"created"`
	Metadata    map[string]string       `json:"metadata"`
	PeerMap     map[string]PinInfoShort `json:"peer_map"` // by PeerID.String()
	// Followers says what followers of the cluster tell, by PeerID.String(), where they
	// were asked. It may be false.
	Followers map[string]PinInfoShort `json:"followers,omitempty"`
}

// Merge adds what one peer says to g.
func (g *GlobalPinInfo) Merge(p PinInfo) {
	if g.PeerMap == nil {
		*g = GlobalPinInfo{Cid: p.Cid, Name: p.Name, Allocations: p.Allocations, Origins: p.Origins,
			Created: p.Created, Metadata: p.Metadata, PeerMap: map[string]PinInfoShort{}}
	}
	g.PeerMap[p.Peer.String()] = p.PinInfoShort
}

// Match tells whether the status on any peer passes the filter.
func (g GlobalPinInfo) Match(f TrackerStatus) bool {
	for _, p := range g.PeerMap {
		if p.Status.Match(f) {
			return true
		}
	}
	return false
}

// StatusQuery asks a peer for a page of statuses, in order of the CID's bytes.
type StatusQuery struct {
	After  Cid           `cbor:"1,keyasint,omitempty"` // start past this one; CidUndef: at the first
	Limit  int           `cbor:"2,keyasint"`           // at most this many
	Filter TrackerStatus `cbor:"3,keyasint,omitempty"`
	// Brief asks for items without what the asker has itself: the peer and the part of
	// the pin's record, a Timestamp that is the record's included.
	Brief bool `cbor:"4,keyasint,omitempty"`
}

// StatusPage answers a StatusQuery. More tells that others may follow Last, which is
// set even where the filter left no item.
type StatusPage struct {
	Items []PinInfo `cbor:"1,keyasint"`
	Last  Cid       `cbor:"2,keyasint,omitempty"`
	More  bool      `cbor:"3,keyasint"`
	// From has the names of the peer and its node that the items of a brief page lack.
	From PinInfoShort `cbor:"4,keyasint,omitzero"`
}
