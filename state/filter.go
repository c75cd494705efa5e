package state

import (
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
)

// A pinFilter is a Bloom filter of the records' keys alone, ten bits each. Nothing
// else is ever asked for by a key that may well not be there; with all rows in them,
// filters are seven times as large and push the rest out of the cache.
type pinFilter struct{ bloom bloom.FilterPolicy }

var _ pebble.FilterPolicy = pinFilter{}

func (pinFilter) Name() string { return "pinfold.pins.bloom" }

func (f pinFilter) MayContain(t pebble.FilterType, filter, key []byte) bool {
	return len(key) == 0 || key[0] != pinKind || f.bloom.MayContain(t, filter, key)
}

func (f pinFilter) NewWriter(t pebble.FilterType) pebble.FilterWriter {
	return pinFilterWriter{f.bloom.NewWriter(t)}
}

type pinFilterWriter struct{ pebble.FilterWriter }

func (w pinFilterWriter) AddKey(key []byte) {
	if len(key) > 0 && key[0] == pinKind {
		w.FilterWriter.AddKey(key)
	}
}
