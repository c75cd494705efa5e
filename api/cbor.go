package api

import "github.com/fxamacker/cbor/v2"

// Bounds on what Decode accepts, so that hostile input costs little.
const (
	maxCBORDepth    = 16
	maxCBORElements = 1 << 17
)

var (
	encMode = must(cbor.EncOptions{
		Sort:          cbor.SortCoreDeterministic,
		Time:          cbor.TimeUnix,
		IndefLength:   cbor.IndefLengthForbidden,
		ShortestFloat: cbor.ShortestFloat16,
	}.EncMode())
	decMode = must(cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		MaxNestedLevels:  maxCBORDepth,
		MaxArrayElements: maxCBORElements,
		MaxMapPairs:      maxCBORElements,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Encode gives the one deterministic CBOR form (RFC 8949 §4.2.1) of v: the form of
// records on disk and of log entries. Times are whole seconds.
func Encode(v any) ([]byte, error) { return encMode.Marshal(v) }

// Decode reads what Encode wrote. The error is Invalid. Decode into a fresh value:
// fields that the data lacks keep what they had.
func Decode(data []byte, v any) error {
	if err := decMode.Unmarshal(data, v); err != nil {
		return Invalid.Errorf("decode: %w", err)
	}
	return nil
}
