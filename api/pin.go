package api

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"
)

// MaxRecordSize bounds an encoded Pin, in bytes. A larger one is refused at the door.
const MaxRecordSize = 16 << 10

// PinType tells what a pin stands for.
type PinType uint8

// The pin types. Only PinData is made by Pinfold; the others come in with the
// incumbent's exports.
const (
	PinData PinType = iota + 1
	PinMeta
	PinClusterDAG
	PinShard
)

var pinTypes = names[PinType]{PinData: "pin", PinMeta: "meta-pin", PinClusterDAG: "clusterdag-pin", PinShard: "shard-pin"}

func (t PinType) String() string                { return pinTypes.name(t, "bad-type") }
func (t PinType) MarshalJSON() ([]byte, error)  { return json.Marshal(t.String()) }
func (t *PinType) UnmarshalJSON(b []byte) error { return pinTypes.parseJSON(b, "pin type", t) }

// ParsePinType reads a pin type's name. The error is Invalid.
func ParsePinType(s string) (PinType, error) { return pinTypes.parse(s, "pin type") }

// PinMode says how much of a DAG is pinned. The zero value is recursive.
type PinMode uint8

// The pin modes.
const (
	PinRecursive PinMode = iota
	PinDirect
)

var pinModes = names[PinMode]{PinRecursive: "recursive", PinDirect: "direct"}

func (m PinMode) String() string                { return pinModes.name(m, "recursive") }
func (m PinMode) MarshalJSON() ([]byte, error)  { return json.Marshal(m.String()) }
func (m *PinMode) UnmarshalJSON(b []byte) error { return pinModes.parseJSON(b, "pin mode", m) }

// ParsePinMode reads a pin mode's name. The error is Invalid.
func ParsePinMode(s string) (PinMode, error) { return pinModes.parse(s, "pin mode") }

// MaxDepth is the depth to which a pin of mode m keeps its DAG: -1 all, 0 the root.
func (m PinMode) MaxDepth() int {
	if m == PinDirect {
		return 0
	}
	return -1
}

// PinOptions are what a user chooses about a pin.
type PinOptions struct {
	// ReplicationFactorMin and Max bound the number of copies: -1 everywhere, 0 the
	// cluster's default (in a request only).
	ReplicationFactorMin int     `json:"replication_factor_min" cbor:"1,keyasint,omitempty"`
	ReplicationFactorMax int     `json:"replication_factor_max" cbor:"2,keyasint,omitempty"`
	Name                 string  `json:"name" cbor:"3,keyasint,omitempty"`
	Mode                 PinMode `json:"mode" cbor:"4,keyasint,omitempty"`
	ShardSize            uint64  `json:"shard_size" cbor:"5,keyasint,omitempty"`
	// UserAllocations are peers the user prefers; part of a request, never stored.
	UserAllocations []PeerID `json:"user_allocations" cbor:"6,keyasint,omitempty"`
	// ExpireAt is when the pin goes; zero never.
	ExpireAt  time.Time         `json:"expire_at" cbor:"7,keyasint,omitzero"`
	Metadata  map[string]string `json:"metadata" cbor:"8,keyasint,omitempty"`
	PinUpdate Cid               `json:"pin_update" cbor:"9,keyasint,omitempty"`
	Origins   []Multiaddr       `json:"origins" cbor:"10,keyasint,omitempty"`
	// Followers are followers of the cluster that are to hold copies too, beyond those that
	// the factors ask for; sorted.
	Followers []PeerID `json:"followers,omitempty" cbor:"20,keyasint,omitempty"`
}

// A Pin is one record of the pinset: what is kept, how, and by whom.
type Pin struct {
	PinOptions
	Cid  Cid     `json:"cid" cbor:"11,keyasint"`
	Type PinType `json:"type" cbor:"12,keyasint"`
	// Allocations are the peers that hold it, sorted; empty means everywhere.
	Allocations []PeerID  `json:"allocations" cbor:"13,keyasint,omitempty"`
	MaxDepth    int       `json:"max_depth" cbor:"14,keyasint,omitempty"`
	Reference   Cid       `json:"reference" cbor:"15,keyasint,omitempty"`
	Timestamp   time.Time `json:"timestamp" cbor:"16,keyasint,omitzero"`
	// Leaving are peers that keep their copy until enough of Allocations have theirs.
	Leaving []PeerID `json:"leaving,omitempty" cbor:"17,keyasint,omitempty"`
	// Size is the bytes of the DAG, 0 where nobody knows.
	Size uint64 `json:"size,omitempty" cbor:"18,keyasint,omitempty"`
	// Requests are those of the Pinning Service API, the oldest first, and with them the
	// one for the pin of another door if there is one. See AllRequests.
	Requests []PinRequest `json:"requests,omitempty" cbor:"19,keyasint,omitempty"`
	// Revision is the log index of the record's last change. It is kept beside the
	// record, never in it.
	Revision uint64 `json:"-" cbor:"-"`
}

// NewPin returns a data pin of c with options o, stamped now.
func NewPin(c Cid, o PinOptions, now time.Time) Pin {
	return Pin{PinOptions: o, Cid: c, Type: PinData, MaxDepth: o.Mode.MaxDepth(), Timestamp: now}
}

// Everywhere tells whether the pin is for all peers.
func (p Pin) Everywhere() bool { return p.ReplicationFactorMin < 0 }

// HeldBy tells whether peer is to hold a copy: it is allocated, is leaving, or the
// pin is everywhere.
func (p Pin) HeldBy(peer PeerID) bool {
	if p.Type == PinMeta {
		return false
	}
	return p.Everywhere() || slices.Contains(p.Allocations, peer) || slices.Contains(p.Leaving, peer)
}

// ExpiredAt tells whether the pin has an expiry that is not after t.
func (p Pin) ExpiredAt(t time.Time) bool {
	return p.Expires() && !p.ExpireAt.After(t)
}

// Expires tells whether the pin has an expiry. The Unix epoch counts as none.
func (p Pin) Expires() bool { return !p.ExpireAt.IsZero() && p.ExpireAt.Unix() != 0 }

// names maps the values of an enumeration to their text.
type names[T comparable] map[T]string

func (n names[T]) name(v T, other string) string {
	if s, ok := n[v]; ok {
		return s
	}
	return other
}

func (n names[T]) parse(s, what string) (T, error) {
	for v, name := range n {
		if name == s {
			return v, nil
		}
	}
	var zero T
	known := slices.Sorted(maps.Values(n))
	return zero, Invalid.Errorf("unknown %s %q: want one of %s", what, s, strings.Join(known, ", "))
}

func (n names[T]) parseJSON(b []byte, what string, v *T) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return Invalid.Errorf("a %s must be a string: %w", what, err)
	}
	parsed, err := n.parse(s, what)
	if err != nil {
		return err
	}
	*v = parsed
	return nil
}
