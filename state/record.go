package state

import (
	"encoding/binary"
	"time"
	"unicode/utf8"

	"github.com/pinfold-cluster/pinfold/api"
)

// maxCidSize bounds the bytes of a CID, which is part of every key of its pin.
const maxCidSize = 256

// A decoder reads and writes records. It remembers the peers it has seen, of which there are
// few, so that a list does not allocate and check each of them again and again. The
// zero value is ready; it is not for concurrent use.
type decoder struct {
	peers map[string]api.PeerID
}

// maxPeersSeen bounds what a decoder remembers.
const maxPeersSeen = 1024

// encode gives the value under which p is stored: its revision as a uvarint,
// then its CBOR. The record holds no request-only field and no mode (the depth says
// it), its peers are sorted, its times whole seconds. The error is Invalid, or
// TooLarge past api.MaxRecordSize; what is accepted is sure to be readable again.
func (d *decoder) encode(p api.Pin) (stored api.Pin, value []byte, err error) {
	if !p.Cid.Defined() {
		return api.Pin{}, nil, api.Invalid.Errorf("a pin without a CID")
	}
	if n := p.Cid.ByteLen(); n > maxCidSize {
		return api.Pin{}, nil, api.TooLarge.Errorf("a CID of %d bytes: at most %d are allowed", n, maxCidSize)
	}
	p.UserAllocations, p.Mode = nil, 0
	p.Allocations, p.Leaving, p.Followers = sortedSet(p.Allocations), sortedSet(p.Leaving), sortedSet(p.Followers)
	p.ExpireAt, p.Timestamp = wholeSeconds(p.ExpireAt), wholeSeconds(p.Timestamp)
	if !p.Expires() {
		p.ExpireAt = time.Time{}
	}
	record, err := api.Encode(p)
	if err != nil {
		return api.Pin{}, nil, api.Invalid.Errorf("encode pin %s: %w", p.Cid, err)
	}
	if len(record) > api.MaxRecordSize {
		return api.Pin{}, nil, api.TooLarge.Errorf("pin %s takes %d bytes: at most %d are allowed", p.Cid, len(record), api.MaxRecordSize)
	}
	value = binary.AppendUvarint(make([]byte, 0, len(record)+binary.MaxVarintLen64), p.Revision)
	value = append(value, record...)
	if stored, err = d.record(value); err != nil {
		return api.Pin{}, nil, api.Invalid.Errorf("pin %s cannot be stored: %w", p.Cid, err)
	}
	return stored, value, nil
}

// record reads a value that encode made. Each pin is a fresh one that shares
// no memory with value. The error is Invalid.
func (d *decoder) record(value []byte) (api.Pin, error) {
	revision, n := binary.Uvarint(value)
	if n <= 0 {
		return api.Pin{}, api.Invalid.Errorf("a record without a revision")
	}
	p, ok := d.pin(value[n:])
	if !ok {
		p = api.Pin{}
		if err := api.Decode(value[n:], &p); err != nil {
			return api.Pin{}, err
		}
	}
	if !p.Cid.Defined() {
		return api.Pin{}, api.Invalid.Errorf("a record without a CID")
	}
	if !inCalendar(p.ExpireAt) || !inCalendar(p.Timestamp) {
		return api.Pin{}, api.Invalid.Errorf("a record with a time outside the years 0 to 9999")
	}
	p = normal(p)
	p.Revision = revision
	return p, nil
}

func wholeSeconds(t time.Time) time.Time { return time.Unix(t.Unix(), 0).UTC() }

// The Unix seconds that can be written as RFC 3339: the years 0 to 9999.
const (
	firstSecond = -62167219200
	lastSecond  = 253402300799
)

func inCalendar(t time.Time) bool {
	return firstSecond <= t.Unix() && t.Unix() <= lastSecond
}

// normal gives absent fields the form they have for readers: that of the incumbent's
// JSON.
func normal(p api.Pin) api.Pin {
	p.UserAllocations = nil
	p.Mode = api.PinRecursive
	if p.MaxDepth == api.PinDirect.MaxDepth() {
		p.Mode = api.PinDirect
	}
	if len(p.Metadata) == 0 {
		p.Metadata = nil
	}
	if p.Origins == nil {
		p.Origins = []api.Multiaddr{}
	}
	if p.Allocations == nil {
		p.Allocations = []api.PeerID{}
	}
	if len(p.Leaving) == 0 {
		p.Leaving = nil
	}
	if len(p.Followers) == 0 {
		p.Followers = nil
	}
	if p.Expires() {
		p.ExpireAt = p.ExpireAt.UTC()
	} else {
		p.ExpireAt = time.Time{}
	}
	if !p.Timestamp.IsZero() {
		p.Timestamp = p.Timestamp.UTC()
	}
	return p
}

// The fields of a Pin's CBOR, as the tags in package api number them.
const (
	fieldMin         = 1
	fieldMax         = 2
	fieldName        = 3
	fieldMode        = 4
	fieldShardSize   = 5
	fieldExpireAt    = 7
	fieldMetadata    = 8
	fieldPinUpdate   = 9
	fieldOrigins     = 10
	fieldCid         = 11
	fieldType        = 12
	fieldAllocations = 13
	fieldMaxDepth    = 14
	fieldReference   = 15
	fieldTimestamp   = 16
	fieldLeaving     = 17
	fieldSize        = 18
	fieldFollowers   = 20
)

// pin reads the CBOR of a Pin whose fields are in order and of the types we write.
// It is a quicker way to what api.Decode gives: whatever is in the least unusual is
// not ok, and left to that.
func (d *decoder) pin(b []byte) (p api.Pin, ok bool) {
	r := cborReader{b: b}
	last := uint64(0)
	for range r.head(cborMap) {
		field := r.head(cborUint)
		if field <= last || r.bad {
			return p, false
		}
		last = field
		switch field {
		case fieldMin:
			p.ReplicationFactorMin = r.int()
		case fieldMax:
			p.ReplicationFactorMax = r.int()
		case fieldName:
			p.Name = r.text()
		case fieldMode:
			p.Mode = api.PinMode(r.uint8())
		case fieldShardSize:
			p.ShardSize = r.head(cborUint)
		case fieldExpireAt:
			p.ExpireAt = time.Unix(int64(r.int()), 0)
		case fieldMetadata:
			p.Metadata = r.metadata()
		case fieldPinUpdate:
			p.PinUpdate = r.cid()
		case fieldOrigins:
			p.Origins = r.multiaddrs()
		case fieldCid:
			p.Cid = r.cid()
		case fieldType:
			p.Type = api.PinType(r.uint8())
		case fieldAllocations:
			p.Allocations = d.peerIDs(&r)
		case fieldMaxDepth:
			p.MaxDepth = r.int()
		case fieldReference:
			p.Reference = r.cid()
		case fieldTimestamp:
			p.Timestamp = time.Unix(int64(r.int()), 0)
		case fieldLeaving:
			p.Leaving = d.peerIDs(&r)
		case fieldSize:
			p.Size = r.head(cborUint)
		case fieldFollowers:
			p.Followers = d.peerIDs(&r)
		default:
			return p, false
		}
	}
	return p, !r.bad && len(r.b) == 0
}

func (d *decoder) peerIDs(r *cborReader) []api.PeerID {
	n := r.count(cborArray)
	if n == 0 {
		return nil
	}
	peers := make([]api.PeerID, 0, n)
	for range n {
		b := r.bytes(cborBytes)
		id, seen := d.peers[string(b)]
		if !seen {
			if r.bad || id.UnmarshalBinary(b) != nil {
				r.bad = true
				return nil
			}
			if d.peers == nil || len(d.peers) == maxPeersSeen {
				d.peers = make(map[string]api.PeerID)
			}
			d.peers[string(id)] = id
		}
		peers = append(peers, id)
	}
	return peers
}

// text reads a text string; one that is not UTF-8 is bad.
func (r *cborReader) text() string {
	b := r.bytes(cborText)
	if !utf8.Valid(b) {
		r.bad = true
	}
	return string(b)
}

func (r *cborReader) cid() (c api.Cid) {
	if err := c.UnmarshalBinary(r.bytes(cborBytes)); err != nil {
		r.bad = true
	}
	return c
}

func (r *cborReader) multiaddrs() []api.Multiaddr {
	list := make([]api.Multiaddr, r.count(cborArray))
	for i := range list {
		if err := list[i].UnmarshalBinary(r.bytes(cborBytes)); err != nil {
			r.bad = true
		}
	}
	return list
}

func (r *cborReader) metadata() map[string]string {
	n := r.count(cborMap)
	m := make(map[string]string, n)
	for range n {
		k := r.text()
		m[k] = r.text()
	}
	if len(m) != n {
		r.bad = true
	}
	return m
}
