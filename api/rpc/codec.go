package rpc

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// Bounds on what is decoded, so that hostile input costs little.
const (
	maxDepth    = 16
	maxElements = 1 << 21
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
	decMode = must(cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		MaxNestedLevels:  maxDepth,
		MaxArrayElements: maxElements,
		MaxMapPairs:      maxElements,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// codec is connect's view of CBOR.
type codec struct{}

// Name implements connect.Codec: messages are application/cbor.
func (codec) Name() string { return "cbor" }

// Marshal implements connect.Codec.
func (codec) Marshal(v any) ([]byte, error) {
	b, err := encMode.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return b, nil
}

// Unmarshal implements connect.Codec.
func (codec) Unmarshal(b []byte, v any) error {
	if err := decMode.Unmarshal(b, v); err != nil {
		return fmt.Errorf("decode %T: %w", v, err)
	}
	return nil
}
