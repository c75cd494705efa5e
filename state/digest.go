package state

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math/bits"

	"github.com/pinfold-cluster/pinfold/api"
)

// DigestEvery is the distance of the log indexes at which digests are kept, for
// peers to compare.
const DigestEvery = 1024

// digestsKept is how many of them are kept.
const digestsKept = 64

// A Digest tells two states apart. At the same index of the same log it is equal on
// every peer, or something went wrong; it is no proof against a liar.
type Digest struct {
	Index uint64 // log index
	// Pins is the sum modulo 2^256 of the SHA-256 of each pin's row; Sessions that of
	// all else that is replicated: sessions, outcomes, members, credentials.
	Pins, Sessions [32]byte
}

// String is the hexadecimal form of both sums.
func (d Digest) String() string {
	return hex.EncodeToString(d.Pins[:]) + hex.EncodeToString(d.Sessions[:])
}

// A sum adds up hashes modulo 2^256. Its words are in big-endian order.
type sum [4]uint64

func (s *sum) add(key, value []byte) {
	h := rowHash(key, value)
	var carry uint64
	for i := 3; i >= 0; i-- {
		s[i], carry = bits.Add64(s[i], h[i], carry)
	}
}

func (s *sum) subtract(key, value []byte) {
	h := rowHash(key, value)
	var borrow uint64
	for i := 3; i >= 0; i-- {
		s[i], borrow = bits.Sub64(s[i], h[i], borrow)
	}
}

func (s sum) bytes() (b [32]byte) {
	for i, w := range s {
		binary.BigEndian.PutUint64(b[8*i:], w)
	}
	return b
}

func sumOf(b [32]byte) (s sum) {
	for i := range s {
		s[i] = binary.BigEndian.Uint64(b[8*i:])
	}
	return s
}

// rowHash is the SHA-256 of the key's length (a uvarint), the key and the value.
func rowHash(key, value []byte) sum {
	b := binary.AppendUvarint(make([]byte, 0, 512), uint64(len(key)))
	b = append(append(b, key...), value...)
	return sumOf(sha256.Sum256(b))
}

// A head is the row that says where the state stands.
type head struct {
	applied        uint64
	stats          Stats
	pins, sessions sum
}

func (h head) digest() Digest {
	return Digest{Index: h.applied, Pins: h.pins.bytes(), Sessions: h.sessions.bytes()}
}

// formatVersion is the first byte of the head. A layout that older programs cannot
// read gets another.
const formatVersion = 1

const headSize = 1 + 3*8 + 2*32

func (h head) encode() []byte {
	b := make([]byte, 0, headSize)
	b = append(b, formatVersion)
	b = binary.BigEndian.AppendUint64(b, h.applied)
	b = binary.BigEndian.AppendUint64(b, h.stats.Pins)
	b = binary.BigEndian.AppendUint64(b, h.stats.Bytes)
	d := h.digest()
	return append(append(b, d.Pins[:]...), d.Sessions[:]...)
}

func decodeHead(b []byte) (head, error) {
	if len(b) > 0 && b[0] != formatVersion {
		return head{}, api.Unsupported.Errorf("a database of format %d: this program reads format %d", b[0], formatVersion)
	}
	if len(b) != headSize {
		return head{}, api.Internal.Errorf("a head row of %d bytes, not %d", len(b), headSize)
	}
	word := func(i int) uint64 { return binary.BigEndian.Uint64(b[1+8*i:]) }
	return head{
		applied:  word(0),
		stats:    Stats{Pins: word(1), Bytes: word(2)},
		pins:     sumOf([32]byte(b[25:57])),
		sessions: sumOf([32]byte(b[57:89])),
	}, nil
}

const digestSize = 8 + 64

func encodeDigests(list []Digest) []byte {
	b := make([]byte, 0, digestSize*len(list))
	for _, d := range list {
		b = binary.BigEndian.AppendUint64(b, d.Index)
		b = append(append(b, d.Pins[:]...), d.Sessions[:]...)
	}
	return b
}

func decodeDigests(b []byte) ([]Digest, error) {
	if len(b)%digestSize != 0 {
		return nil, api.Internal.Errorf("a row of digests of %d bytes", len(b))
	}
	var list []Digest
	for ; len(b) > 0; b = b[digestSize:] {
		list = append(list, Digest{
			Index:    binary.BigEndian.Uint64(b),
			Pins:     [32]byte(b[8:40]),
			Sessions: [32]byte(b[40:72]),
		})
	}
	return list, nil
}

// passed extends the digests kept by those of the indexes divisible by DigestEvery
// that lie past before and not past after. The log has entries that change nothing
// here, so such an index may go by between the two: then the state was before's.
func passed(kept []Digest, before, after head) []Digest {
	first := before.applied/DigestEvery + 1
	last := after.applied / DigestEvery
	if last < first {
		return kept
	}
	kept = append([]Digest(nil), kept...)
	for n := max(first, last-min(last, digestsKept-1)); n <= last; n++ {
		d := before.digest()
		if n*DigestEvery == after.applied {
			d = after.digest()
		}
		d.Index = n * DigestEvery
		kept = append(kept, d)
	}
	return kept[max(0, len(kept)-digestsKept):]
}
