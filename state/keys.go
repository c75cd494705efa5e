package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// The first byte of a key tells what its row is. Integers in keys are big endian,
// times are Unix seconds with the sign bit turned, so that both sort as bytes do.
//
//	a                                      applied index, totals, sums   one row
//	g                                      digests kept                  one row
//	c PEER                                 what the peer holds
//	p CID                                  revision and record of a pin
//	h BUCKET(16) CID                       a holder's pin
//	n NAME 00 01 CID                       a named pin
//	d PAIR(16) CID                         a pin with that metadata pair
//	x SECONDS(8) CID                       a pin that expires
//	t SECONDS(8) CID                       every pin, by creation
//	q SECONDS(8) NANOS(4) CID              a request of a pin (see requests.go)
//	k BUCKET(16) CID                       a pin with a request of that name or metadata pair
//	s PEER                                 a session
//	o LENGTH PEER NUMBER(8)                the outcome of one request of it
//	m PEER, r PEER                         a member, a removed one
//	u NONCE                                a credential that was used up
//	y                                      the cluster's key, once renewed  one row
//
// A CID, a peer or a nonce that ends its key needs no terminator. What varies in
// length before a CID is either hashed (BUCKET, PAIR: 16 bytes of a SHA-256) or
// escaped and cut (NAME: 00 becomes 00 FF, at most 128 bytes of the name). Readers
// of those compare the record itself, so neither a cut name nor two equal hashes
// can put a pin where it does not belong.
const (
	headKind       = 'a'
	digestsKind    = 'g'
	heldKind       = 'c'
	pinKind        = 'p'
	holderKind     = 'h'
	nameKind       = 'n'
	metadataKind   = 'd'
	expiryKind     = 'x'
	createdKind    = 't'
	requestKind    = 'q'
	tagKind        = 'k'
	sessionKind    = 's'
	outcomeKind    = 'o'
	memberKind     = 'm'
	removedKind    = 'r'
	credentialKind = 'u'
	clusterKeyKind = 'y'
)

// maxNameKey is how many bytes of a name are part of a key.
const maxNameKey = 128

// everywhere stands for the peer of pins that all peers hold.
const everywhere api.PeerID = ""

var (
	headKey    = []byte{headKind}
	digestsKey = []byte{digestsKind}

	clusterKeyKey = []byte{clusterKeyKind}
)

func pinKey(c api.Cid) []byte { return stringKey(pinKind, c.KeyString()) }

// stringKey is the key whose kind is followed by s alone.
func stringKey(kind byte, s string) []byte {
	k := make([]byte, 0, 1+len(s))
	return append(append(k, kind), s...)
}

func outcomeKey(p api.PeerID, seq uint64) []byte {
	k := make([]byte, 0, 1+binary.MaxVarintLen16+len(p)+8)
	k = binary.AppendUvarint(append(k, outcomeKind), uint64(len(p)))
	return binary.BigEndian.AppendUint64(append(k, p...), seq)
}

// parseOutcomeKey takes apart what outcomeKey made.
func parseOutcomeKey(k []byte) (p api.PeerID, seq uint64, ok bool) {
	n, w := binary.Uvarint(k[1:])
	if w <= 0 || uint64(len(k)-1-w) != n+8 {
		return "", 0, false
	}
	rest := k[1+w:]
	return api.PeerID(rest[:n]), binary.BigEndian.Uint64(rest[n:]), true
}

// holderPrefix starts the keys of what p holds.
func holderPrefix(dst []byte, p api.PeerID) []byte {
	dst = append(dst, holderKind)
	if p == everywhere {
		return append(dst, make([]byte, 16)...)
	}
	sum := sha256.Sum256([]byte(p))
	return append(dst, sum[:16]...)
}

// namePrefix starts the keys of names that start with prefix; those of one name
// start with nameEnd after it.
func namePrefix(dst []byte, prefix string) []byte {
	dst = append(dst, nameKind)
	for i := range min(len(prefix), maxNameKey) {
		dst = append(dst, prefix[i])
		if prefix[i] == 0 {
			dst = append(dst, 0xff)
		}
	}
	return dst
}

const nameEnd = "\x00\x01"

func metadataPrefix(dst []byte, key, value string) []byte {
	b := binary.AppendUvarint(make([]byte, 0, 64), uint64(len(key)))
	sum := sha256.Sum256(append(append(b, key...), value...))
	return append(append(dst, metadataKind), sum[:16]...)
}

func timePrefix(dst []byte, kind byte, seconds int64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, kind), uint64(seconds)^(1<<63))
}

// ceilSeconds is the first whole second not before t; without a t it is none.
func ceilSeconds(t time.Time, none int64) int64 {
	if t.IsZero() {
		return none
	}
	if t.Nanosecond() > 0 && t.Unix() < math.MaxInt64 {
		return t.Unix() + 1
	}
	return t.Unix()
}

// indexKeys gives each secondary key of p to add, in no order. A key is valid until
// add returns.
func indexKeys(p api.Pin, add func(key []byte)) {
	cid := p.Cid.KeyString()
	buf := make([]byte, 0, 256)
	emit := func(prefix []byte) {
		buf = append(prefix, cid...)
		add(buf)
	}
	for _, h := range holders(p) {
		emit(holderPrefix(buf[:0], h))
	}
	if p.Name != "" {
		emit(append(namePrefix(buf[:0], p.Name), nameEnd...))
	}
	for k, v := range p.Metadata {
		emit(metadataPrefix(buf[:0], k, v))
	}
	if p.Expires() {
		emit(timePrefix(buf[:0], expiryKind, p.ExpireAt.Unix()))
	}
	emit(timePrefix(buf[:0], createdKind, p.Timestamp.Unix()))
	for _, prefix := range requestPrefixes(p) {
		emit(append(buf[:0], prefix...))
	}
}

// sortedIndexKeys are the secondary keys of p in order.
func sortedIndexKeys(p api.Pin) [][]byte {
	var keys [][]byte
	indexKeys(p, func(k []byte) { keys = append(keys, bytes.Clone(k)) })
	slices.SortFunc(keys, bytes.Compare)
	return keys
}

// holders are the peers that must hold p, sorted: everywhere alone where all must.
func holders(p api.Pin) []api.PeerID {
	switch {
	case p.Type == api.PinMeta:
		return nil
	case p.Everywhere():
		return []api.PeerID{everywhere}
	case len(p.Leaving) == 0:
		return p.Allocations
	default:
		return sortedSet(append(slices.Clone(p.Allocations), p.Leaving...))
	}
}

// sortedSet gives peers sorted and once each, without changing the slice it is given.
func sortedSet(peers []api.PeerID) []api.PeerID {
	for i := 1; i < len(peers); i++ {
		if peers[i-1] >= peers[i] {
			peers = slices.Clone(peers)
			slices.Sort(peers)
			return slices.Compact(peers)
		}
	}
	return peers
}

// prefixEnd is the first key after all that start with prefix.
func prefixEnd(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}
