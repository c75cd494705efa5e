package api

import (
	"encoding/binary"
	"strings"
	"time"
)

// A PinRequest is one of several reasons to keep a CID: what a client of the Pinning
// Service API asked for. The content goes when the last of its requests does.
type PinRequest struct {
	// ID tells the requests of one CID apart. The one that stands for a pin made by
	// another door has none, and no Created.
	ID string `json:"id" cbor:"1,keyasint,omitempty"`
	// Created is when the leader took the request, in Unix milliseconds; no other request
	// of its term has the same.
	Created  int64             `json:"created,omitempty" cbor:"2,keyasint,omitempty"`
	Name     string            `json:"name,omitempty" cbor:"3,keyasint,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty" cbor:"4,keyasint,omitempty"`
	Origins  []Multiaddr       `json:"origins,omitempty" cbor:"5,keyasint,omitempty"`
	// Expire is when the pin of another door would go if no client asked for its CID too,
	// in Unix seconds; 0 never. Requests of clients have no end.
	Expire int64 `json:"expire,omitempty" cbor:"6,keyasint,omitempty"`
}

// AllRequests are the requests of p, the oldest first. A pin that names none has one,
// of its own name, metadata and origins.
func (p Pin) AllRequests() []PinRequest {
	if len(p.Requests) > 0 {
		return p.Requests
	}
	return []PinRequest{p.Plain()}
}

// Plain is the request that a pin without requests stands for.
func (p Pin) Plain() PinRequest {
	r := PinRequest{Name: p.Name, Metadata: p.Metadata, Origins: p.Origins}
	if p.Expires() {
		r.Expire = p.ExpireAt.Unix()
	}
	return r
}

// RequestTime is when r, one of p's requests, was made. Records keep whole seconds, and
// lists of requests go by times that differ: the pin of another door has a fraction
// that follows from its CID.
func (p Pin) RequestTime(r PinRequest) time.Time {
	if r.ID != "" {
		return time.UnixMilli(r.Created).UTC()
	}
	return time.Unix(p.Timestamp.Unix(), int64(PlainRequestNanos([]byte(p.Cid.KeyString())))).UTC()
}

// PlainRequestNanos is the fraction of its second, in nanoseconds, that RequestTime gives
// the pin of another door, of the CID with these bytes.
func PlainRequestNanos(cid []byte) uint32 {
	// A hash ends the CID: its last bytes are as good as random.
	var tail [4]byte
	copy(tail[:], cid[max(0, len(cid)-4):])
	return binary.BigEndian.Uint32(tail[:]) % 1e9
}

// RequestName is the name by which clients know r, one of p's requests: unique in the
// cluster. That of another door's pin is its CID, as IPFS Cluster has it.
func (p Pin) RequestName(r PinRequest) string {
	if r.ID == "" {
		return p.Cid.String()
	}
	return p.Cid.String() + "-" + r.ID
}

// ParseRequestName takes apart what RequestName made. The error is NotFound: no
// request has another name.
func ParseRequestName(s string) (c Cid, id string, err error) {
	text, id, cut := strings.Cut(s, "-")
	if c, err = ParseCid(text); err != nil || !c.Defined() || cut && id == "" {
		return CidUndef, "", NotFound.Errorf("there is no pin request %q", s)
	}
	return c, id, nil
}

// A RequestEntry is one request in a list by time: which pin's, and its RequestTime.
type RequestEntry struct {
	Cid Cid
	At  time.Time
}
