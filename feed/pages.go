package feed

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math/bits"

	"github.com/ipfs/go-cid"
	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/state"
)

// A page is a part of the pinset, or a list of such parts. Its first byte is its level;
// items follow up to its end, in strict order of their keys, which are the bytes of CIDs:
//
//	level 0    rows    length CID length value
//	level > 0  parts   length CID hash(32) rows
//
// Lengths and numbers are uvarints. A part names the page one level below that holds
// the rows from that CID, which is its first, up to that of the next part, and says
// how many they are. Only the empty pinset's page has no items.
//
// Where a page ends depends on its last items alone (see endsPage), so a change of the
// pinset changes the pages that it falls into and those above them, and no others.

// MaxPage bounds a page, in bytes.
const MaxPage = 128 << 10

const (
	pageSize    = 32 << 10 // on average
	minParts    = 16       // in a page above level 0, the last of its level apart: it bounds the levels
	maxLevel    = 8
	maxCidSize  = 256
	maxRowValue = api.MaxRecordSize + binary.MaxVarintLen64
)

// A Hash names a page: it is the SHA-256 of its bytes.
type Hash [sha256.Size]byte

// String is the hexadecimal form of the hash.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// A Root is the whole pinset at one log index. Members sign its CBOR.
type Root struct {
	Index  uint64   `cbor:"1,keyasint"`
	Digest [32]byte `cbor:"2,keyasint"` // state.Digest.Pins
	Pins   uint64   `cbor:"3,keyasint"`
	Hash   Hash     `cbor:"4,keyasint"` // of the page above all others
}

// A part is what a page says of one a level below.
type part struct {
	first string // bytes of the CID of its first row
	hash  Hash
	rows  uint64 // at least 1
}

// endsPage tells whether the page of that level ends after the item of this key and
// size: one in pageSize/size does.
func endsPage(level int, key string, size int) bool {
	b := append(make([]byte, 0, 1+maxCidSize), byte(level))
	sum := sha256.Sum256(append(b, key...))
	n, _ := bits.Mul64(binary.BigEndian.Uint64(sum[:]), pageSize) // less than pageSize
	return n < uint64(size)
}

func appendRow(page []byte, r state.Row) []byte {
	key := r.Cid.KeyString()
	page = append(binary.AppendUvarint(page, uint64(len(key))), key...)
	return append(binary.AppendUvarint(page, uint64(len(r.Value))), r.Value...)
}

func appendPart(page []byte, p part) []byte {
	page = append(binary.AppendUvarint(page, uint64(len(p.first))), p.first...)
	return binary.AppendUvarint(append(page, p.hash[:]...), p.rows)
}

// A page as it is read. It shares memory with the bytes it was read from.
type page struct {
	level int
	rows  []state.Row // of level 0
	parts []part      // of those above
}

// parsePage reads a page. The error is Invalid for whatever no tree has: what is read is
// of the one form in which its items can be written.
func parsePage(b []byte) (p page, err error) {
	if len(b) == 0 || len(b) > MaxPage || b[0] > maxLevel {
		return page{}, api.Invalid.Errorf("a page of %d bytes that is none", len(b))
	}
	p.level = int(b[0])
	r := pageReader{b: b[1:]}
	last := ""
	for len(r.b) > 0 {
		key := string(r.bytes(maxCidSize))
		if p.level == 0 {
			p.rows = append(p.rows, r.row(key))
		} else {
			p.parts = append(p.parts, r.part(key))
		}
		if r.bad || key <= last {
			return page{}, api.Invalid.Errorf("item %d of a page of level %d is damaged, or out of order", len(p.rows)+len(p.parts), p.level)
		}
		last = key
	}
	if p.level > 0 && len(p.parts) == 0 {
		return page{}, api.Invalid.Errorf("a page of level %d is empty", p.level)
	}
	return p, nil
}

// A pageReader takes items off b. What cannot be one makes it bad and ends it.
type pageReader struct {
	b   []byte
	bad bool
}

func (r *pageReader) fail() {
	r.b, r.bad = nil, true
}

func (r *pageReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || n != len(binary.AppendUvarint(make([]byte, 0, binary.MaxVarintLen64), v)) {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// bytes reads a length, from 1 to limit, and as many bytes.
func (r *pageReader) bytes(limit uint64) []byte {
	n := r.uvarint()
	if n == 0 || n > limit || n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *pageReader) row(key string) state.Row {
	c, err := cid.Cast([]byte(key))
	value := r.bytes(maxRowValue)
	if err != nil || !bytes.Equal(c.Bytes(), []byte(key)) {
		r.fail()
	}
	return state.Row{Cid: api.Cid{Cid: c}, Value: value}
}

func (r *pageReader) part(key string) part {
	p := part{first: key}
	if n := copy(p.hash[:], r.b); n < len(p.hash) {
		r.fail()
		return p
	}
	r.b = r.b[len(p.hash):]
	if p.rows = r.uvarint(); p.rows == 0 {
		r.fail()
	}
	return p
}
