package state

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"

	"github.com/pinfold-cluster/pinfold/api"
)

// maxExportLine bounds a line of an export, in bytes: a record's JSON is a few times
// its size at most.
const maxExportLine = 256 << 10

// Export writes all pins as JSON, one a line, in order of the bytes of their CIDs, and
// tells the log index at which the state was. The form is that of the REST API's Pin
// and so of IPFS Cluster's `state export`.
func (s *State) Export(ctx context.Context, w io.Writer) (index uint64, err error) {
	buf := bufio.NewWriterSize(w, 64<<10)
	enc := json.NewEncoder(buf)
	list := s.reading(ctx, func(i uint64) { index = i }, func(v *view, yield func(api.Pin) bool) error {
		return v.eachRecord([]byte{pinKind}, []byte{pinKind + 1}, false, yield)
	})
	for p, err := range list {
		if err == nil {
			err = enc.Encode(p)
		}
		if err != nil {
			return 0, fmt.Errorf("export state: %w", err)
		}
	}
	if err := buf.Flush(); err != nil {
		return 0, fmt.Errorf("export state: %w", err)
	}
	return index, nil
}

// index is the log index of the view.
func (v *view) index() (uint64, error) {
	it, err := v.iterator(headKey, prefixEnd(headKey))
	if err != nil {
		return 0, err
	}
	if !it.First() {
		return 0, errors.Join(api.Internal.Errorf("no head row"), it.Error())
	}
	value, err := it.ValueAndErr()
	if err != nil {
		return 0, err
	}
	h, err := decodeHead(value)
	return h.applied, err
}

// ReadExport reads what Export wrote, or IPFS Cluster's `state export`: a JSON Pin a
// line. Blank lines are skipped and unknown fields ignored. A line that is no pin that
// could be put gives an error of kind Invalid or TooLarge that names its number, and
// reading goes on with the next; an error of r ends it. The type is "pin" where a line
// has none, and max_depth follows from the mode.
func ReadExport(r io.Reader) iter.Seq2[api.Pin, error] {
	return func(yield func(api.Pin, error) bool) {
		var d decoder
		in := bufio.NewReaderSize(r, maxExportLine)
		for number := 1; ; number++ {
			line, err := in.ReadSlice('\n')
			tooLong := errors.Is(err, bufio.ErrBufferFull)
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = in.ReadSlice('\n')
			}
			if err != nil && err != io.EOF {
				yield(api.Pin{}, fmt.Errorf("line %d: %w", number, err))
				return
			}
			if !d.yieldLine(line, number, tooLong, yield) || err == io.EOF {
				return
			}
		}
	}
}

// yieldLine gives what a line holds, if anything, and tells whether to go on.
func (d *decoder) yieldLine(line []byte, number int, tooLong bool, yield func(api.Pin, error) bool) bool {
	line = bytes.TrimSpace(line)
	if len(line) == 0 {
		return true
	}
	if tooLong {
		return yield(api.Pin{}, api.TooLarge.Errorf("line %d: over %d bytes", number, maxExportLine))
	}
	p, err := d.parsePin(line)
	if err != nil {
		err = api.KindOf(err).Errorf("line %d: %w", number, err)
	}
	return yield(p, err)
}

// parsePin reads one JSON Pin. The error is Invalid or TooLarge.
func (d *decoder) parsePin(line []byte) (api.Pin, error) {
	const unset = math.MinInt
	p := api.Pin{Type: api.PinData, MaxDepth: unset}
	if err := json.Unmarshal(line, &p); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return api.Pin{}, api.Invalid.Errorf("not JSON: %w", err)
		}
		return api.Pin{}, api.Invalid.Errorf("not a pin: %w", err)
	}
	if p.MaxDepth == unset {
		p.MaxDepth = p.Mode.MaxDepth()
	}
	stored, _, err := d.encode(p)
	return stored, err
}
