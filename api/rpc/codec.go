package rpc

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// Bounds on what is decoded, so that hostile input costs little: an element of one byte
// may take hundreds in memory.
const (
	maxDepth        = 16
	maxElements     = 1 << 17
	maxLongElements = 1 << 21
)

// Unlike package api's, which makes the records that peers compare, this CBOR keeps the
// nanoseconds and the zone of times.
var (
	encMode = must(cbor.EncOptions{
		Sort:          cbor.SortCoreDeterministic,
		Time:          cbor.TimeRFC3339Nano,
		IndefLength:   cbor.IndefLengthForbidden,
		ShortestFloat: cbor.ShortestFloat16,
	}.EncMode())
	decMode  = decoder(maxElements)
	longMode = decoder(maxLongElements)
)

func decoder(elements int) cbor.DecMode {
	return must(cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		MaxNestedLevels:  maxDepth,
		MaxArrayElements: elements,
		MaxMapPairs:      elements,
	}.DecMode())
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// encoded is a message in its wire form.
type encoded []byte

// codec is connect's view of CBOR. A long one takes the one long answer.
type codec struct{ long bool }

// Name implements connect.Codec: messages are application/cbor.
func (codec) Name() string { return "cbor" }

// Marshal implements connect.Codec.
func (codec) Marshal(v any) ([]byte, error) {
	if e, ok := v.(*encoded); ok {
		return *e, nil
	}
	b, err := encMode.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return b, nil
}

// Unmarshal implements connect.Codec.
func (c codec) Unmarshal(b []byte, v any) error {
	mode := decMode
	if c.long {
		mode = longMode
	}
	if err := mode.Unmarshal(b, v); err != nil {
		return fmt.Errorf("decode %T: %w", v, err)
	}
	return nil
}
