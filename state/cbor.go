package state

import "math"

// The major types of CBOR (RFC 8949 §3.1) that records use.
const (
	cborUint  = 0
	cborNint  = 1
	cborBytes = 2
	cborText  = 3
	cborArray = 4
	cborMap   = 5
)

// A cborReader takes apart CBOR from the front of b. It is bad from the first item
// that is not of the type asked for, ends early, or has an indefinite length; what
// it gives then has no meaning, but no length it gives is larger than b.
type cborReader struct {
	b   []byte
	bad bool
}

// head reads the first bytes of an item of type major: its number, or how long it is.
func (r *cborReader) head(major byte) uint64 {
	if r.bad || len(r.b) == 0 || r.b[0]>>5 != major {
		r.bad = true
		return 0
	}
	info := r.b[0] & 0x1f
	if info < 24 {
		r.b = r.b[1:]
		return uint64(info)
	}
	width := 1 << (info - 24) // 1, 2, 4 or 8 bytes follow
	if info > 27 || len(r.b) <= width {
		r.bad = true
		return 0
	}
	var v uint64
	for _, c := range r.b[1 : 1+width] {
		v = v<<8 | uint64(c)
	}
	r.b = r.b[1+width:]
	return v
}

// count reads the head of an array or a map: as many items as could be there.
func (r *cborReader) count(major byte) int {
	n := r.head(major)
	if n > uint64(len(r.b)) {
		r.bad = true
		return 0
	}
	return int(n)
}

// bytes reads a string of type major. It is part of b.
func (r *cborReader) bytes(major byte) []byte {
	n := r.count(major)
	s := r.b[:n]
	r.b = r.b[n:]
	return s
}

func (r *cborReader) int() int {
	major := byte(cborUint)
	if len(r.b) > 0 && r.b[0]>>5 == cborNint {
		major = cborNint
	}
	v := r.head(major)
	if v > math.MaxInt64 {
		r.bad = true
		return 0
	}
	if major == cborNint {
		return -1 - int(v)
	}
	return int(v)
}

func (r *cborReader) uint8() uint8 {
	v := r.head(cborUint)
	if v > math.MaxUint8 {
		r.bad = true
	}
	return uint8(v)
}
