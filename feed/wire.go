package feed

import (
	"crypto/sha256"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/state"
)

// The kinds of statements that members sign. The form of each is pinned by a golden file.
const (
	kindBatches  = "feed batches 1"
	kindBeacon   = "feed beacon 1"
	kindRoot     = "feed root 1"
	kindCoverage = "feed coverage 1"
)

const (
	// messageBytes of batches go into a statement, about; one batch may be larger.
	messageBytes = 64 << 10
	// maxStatement bounds a statement, in bytes: that of the largest batch, with room.
	maxStatement = 256 << 10
	// maxBatches are in one statement, maxRows in one batch.
	maxBatches = 1024
	maxRows    = 4096
)

// A batch is what one log entry did to the pinset, as members tell it. It follows from
// the log alone, so that every honest member's is the same.
type batch struct {
	index         uint64
	before, after [32]byte
	rows          []state.Row
}

// hash tells one batch from another.
func (b batch) hash() ([32]byte, error) {
	enc, err := api.Encode(b.wire())
	return sha256.Sum256(enc), err
}

type batchWire struct {
	_      struct{} `cbor:",toarray"`
	Index  uint64
	Before []byte
	After  []byte
	Rows   []rowWire
}

type rowWire struct {
	_     struct{} `cbor:",toarray"`
	Cid   []byte
	Value []byte // empty: the pin is gone
}

func (b batch) wire() batchWire {
	w := batchWire{Index: b.index, Before: b.before[:], After: b.after[:], Rows: make([]rowWire, len(b.rows))}
	for i, r := range b.rows {
		w.Rows[i] = rowWire{Cid: r.Cid.Bytes(), Value: r.Value}
		if r.Value == nil {
			w.Rows[i].Value = []byte{}
		}
	}
	return w
}

func encodeBatch(c state.Changes) ([]byte, error) {
	return api.Encode(batch{c.Index, c.Before, c.After, c.Rows}.wire())
}

// batchesBody is the body of a statement of batches, from their encodings: an array.
func batchesBody(batches [][]byte) []byte {
	n := len(batches)
	body := []byte{0x80 | byte(n)} // RFC 8949 §3: the head of an array
	switch {
	case n >= 256:
		body = []byte{0x99, byte(n >> 8), byte(n)}
	case n >= 24:
		body = []byte{0x98, byte(n)}
	}
	for _, b := range batches {
		body = append(body, b...)
	}
	return body
}

// decodeBatches reads consecutive batches, in order of index. The error is Invalid.
func decodeBatches(body []byte) ([]batch, error) {
	var ws []batchWire
	if err := api.Decode(body, &ws); err != nil {
		return nil, err
	}
	if len(ws) == 0 || len(ws) > maxBatches {
		return nil, api.Invalid.Errorf("a message of %d batches", len(ws))
	}
	out := make([]batch, len(ws))
	for i, w := range ws {
		b, err := w.batch()
		if err != nil {
			return nil, err
		}
		if i > 0 && (b.index <= out[i-1].index || b.before != out[i-1].after) {
			return nil, api.Invalid.Errorf("batch %d does not follow on batch %d", b.index, out[i-1].index)
		}
		out[i] = b
	}
	return out, nil
}

func (w batchWire) batch() (b batch, err error) {
	if w.Index == 0 || len(w.Rows) == 0 || len(w.Rows) > maxRows {
		return b, api.Invalid.Errorf("a batch at index %d of %d rows", w.Index, len(w.Rows))
	}
	b.index = w.Index
	if b.before, err = digest(w.Before); err != nil {
		return b, err
	}
	if b.after, err = digest(w.After); err != nil {
		return b, err
	}
	b.rows = make([]state.Row, len(w.Rows))
	for i, r := range w.Rows {
		if err := b.rows[i].Cid.UnmarshalBinary(r.Cid); err != nil || !b.rows[i].Cid.Defined() {
			return b, api.Invalid.Errorf("batch %d: a row without a CID", w.Index)
		}
		if len(r.Value) > 0 {
			b.rows[i].Value = r.Value
		}
	}
	return b, nil
}

func digest(b []byte) (d [32]byte, err error) {
	if len(b) != len(d) {
		return d, api.Invalid.Errorf("a digest of %d bytes", len(b))
	}
	return [32]byte(b), nil
}

// A beacon says where the pinset stands, for those that have missed the last batch.
type beacon struct {
	index  uint64
	digest [32]byte
	time   time.Time // by its signer's clock; whole milliseconds
}

type beaconWire struct {
	_      struct{} `cbor:",toarray"`
	Index  uint64
	Digest []byte
	Time   int64 // Unix milliseconds
}

func (b beacon) encode() ([]byte, error) {
	return api.Encode(beaconWire{Index: b.index, Digest: b.digest[:], Time: b.time.UnixMilli()})
}

func decodeBeacon(body []byte) (b beacon, err error) {
	var w beaconWire
	if err := api.Decode(body, &w); err != nil {
		return b, err
	}
	b.index, b.time = w.Index, time.UnixMilli(w.Time)
	b.digest, err = digest(w.Digest)
	return b, err
}
