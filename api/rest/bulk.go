package rest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
)

const (
	// maxBulkLine is the longest line of a bulk request, in bytes: that of the largest
	// record, every byte of it escaped.
	maxBulkLine = 8 * api.MaxRecordSize
	// bulkBatch is how many changes go to the pinner in one call.
	bulkBatch = 1024
	// bulkAhead is how many lines are read while a call is in flight.
	bulkAhead = bulkBatch
)

// bulkLine is a line as read: what it asks for, or what is wrong with it.
type bulkLine struct {
	number  int
	request api.Request
	err     error
}

// bulk changes the pinset as the lines of the body say, and answers each with a line
// in the same order. What is wrong with one does not stop the others; without a
// majority of the peers, the lines that have come are answered so and no more are
// done. Lines that have
// come while changes were being committed are committed together next; no more than
// two batches are in memory.
//
// A client must read results while it writes lines: they are not kept for it.
func (h *handler) bulk(w http.ResponseWriter, r *http.Request) error {
	q, err := query(r)
	if err != nil {
		return err
	}
	for _, name := range []string{"wait", "timeout"} {
		if q.Has(name) {
			return api.Invalid.Errorf("parameter %s invalid: a bulk request waits for no pins; ask for GET /pins/{cid}?wait=pinned after it", name)
		}
	}
	// Without this, net/http reads all that is left of the body at the first result. It
	// is not there for HTTP/2, which needs it not.
	if err := http.NewResponseController(w).EnableFullDuplex(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	ctx, stop := context.WithCancel(r.Context())
	defer stop()
	var g errgroup.Group // a body that breaks off ends no commit of the lines before
	body := web.NewBody(w, r)
	lines := make(chan bulkLine, bulkAhead)
	g.Go(func() error {
		defer close(lines)
		return readBulk(ctx, body, lines)
	})
	s := web.NewStream(w)
	err = h.commitBulk(ctx, lines, s)
	if err != nil {
		stop() // nobody takes lines any more
		body.Stop()
	}
	if readErr := g.Wait(); err == nil {
		err = readErr
	}
	return h.end(r, s, err)
}

// commitBulk takes what lines has, commits it, and sends the results, until lines is
// closed.
func (h *handler) commitBulk(ctx context.Context, lines <-chan bulkLine, s *web.Stream) error {
	batch := make([]bulkLine, 0, bulkBatch)
	requests := make([]api.Request, 0, bulkBatch)
	for line := range lines {
		batch, requests = append(batch[:0], line), requests[:0]
	gather:
		for len(batch) < bulkBatch {
			select {
			case line, ok := <-lines:
				if !ok {
					break gather
				}
				batch = append(batch, line)
			default:
				break gather
			}
		}
		for _, l := range batch {
			if l.err == nil {
				requests = append(requests, l.request)
			}
		}
		results, late := h.pinMany(ctx, requests)
		if len(results) != len(requests) {
			return api.Internal.Errorf("%d requests got %d results", len(requests), len(results))
		}
		for _, l := range batch {
			out := api.BulkResult{Line: l.number, Cid: l.request.Pin.Cid}
			err := l.err
			if err == nil {
				out.Index = results[0].Index
				err = results[0].Fault.Err()
				results = results[1:]
			}
			if err != nil {
				out.Error = web.ErrorOf(err)
			}
			if err := s.Send(out); err != nil {
				return err
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if late {
			return api.Unavailable.Errorf("the changes took over %s: the lines after %d were not done", writeTimeout, batch[len(batch)-1].number)
		}
	}
	return nil
}

// pinMany commits one batch. It is late where that took so long that those to come
// had better not wait for it again: there is no majority.
func (h *handler) pinMany(ctx context.Context, requests []api.Request) (results []api.Result, late bool) {
	if len(requests) == 0 {
		return nil, false
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	results = h.Pins.PinMany(ctx, requests)
	return results, ctx.Err() != nil
}

// readBulk sends the lines of body. It returns an error only where body cannot be
// read on or ctx ends.
func readBulk(ctx context.Context, body io.Reader, lines chan<- bulkLine) error {
	in := bufio.NewReaderSize(body, 64<<10)
	var text []byte
	for number := 1; ; number++ {
		var long bool
		var err error
		text, long, err = readLine(in, text[:0])
		if err != nil && !errors.Is(err, io.EOF) {
			// Half a line of a broken upload must not be taken for a whole one.
			return err
		}
		if trimmed := bytes.TrimSpace(text); long || len(trimmed) > 0 {
			line := bulkLine{number: number}
			if long {
				line.err = api.TooLarge.Errorf("line %d is over %d bytes", number, maxBulkLine)
			} else {
				line.request, line.err = parseBulk(trimmed, number, time.Now())
			}
			select {
			case lines <- line:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err != nil {
			return nil
		}
	}
}

// readLine appends the next line to text. It skips one that is too long and says so.
func readLine(in *bufio.Reader, text []byte) (line []byte, long bool, err error) {
	for {
		part, err := in.ReadSlice('\n')
		if !long {
			text = append(text, part...)
			if len(text) > maxBulkLine {
				text, long = text[:0], true
			}
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return text, long, err
		}
	}
}

// exportKeys are those that a line of an export has besides api.BulkOp's. A change
// does not choose them.
type exportKeys struct {
	Allocations json.RawMessage `json:"allocations"`
	Leaving     json.RawMessage `json:"leaving"`
	MaxDepth    json.RawMessage `json:"max_depth"`
	Reference   json.RawMessage `json:"reference"`
	Timestamp   json.RawMessage `json:"timestamp"`
	Size        json.RawMessage `json:"size"`
	Requests    json.RawMessage `json:"requests"`
}

// parseBulk reads one line. The CID of the request is set, where it could be read,
// also with an error.
func parseBulk(text []byte, number int, now time.Time) (api.Request, error) {
	var op struct {
		api.BulkOp
		exportKeys
	}
	in := json.NewDecoder(bytes.NewReader(text))
	in.DisallowUnknownFields()
	err := in.Decode(&op)
	request := api.Request{Pin: api.Pin{Cid: op.Cid}}
	wrong, ok := err.(*json.UnmarshalTypeError) // that of a CID's own decoder is wrapped
	switch {
	case ok && wrong.Field == "":
		return request, api.Invalid.Errorf("line %d: a JSON %s, not an object", number, wrong.Value)
	case ok:
		key := wrong.Field[strings.LastIndexByte(wrong.Field, '.')+1:]
		return request, api.Invalid.Errorf("line %d: %q cannot be a JSON %s", number, key, wrong.Value)
	case err != nil:
		return request, api.Invalid.Errorf("line %d: %w", number, err)
	case !utf8.Valid(text):
		return request, api.Invalid.Errorf("line %d: it is not UTF-8", number)
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return request, api.Invalid.Errorf("line %d: there is more than one object", number)
	}
	if !op.Cid.Defined() {
		return request, api.Invalid.Errorf("line %d: there is no cid", number)
	}
	if op.Cid.ByteLen() > maxCidBytes {
		return request, api.Invalid.Errorf("line %d: error decoding Cid: it is over %d bytes", number, maxCidBytes)
	}
	switch op.Op {
	case "", api.BulkPin:
		if op.Type != 0 && op.Type != api.PinData {
			return request, api.Invalid.Errorf("line %d: a %s cannot be made", number, op.Type)
		}
		if err := checkOptions(op.PinOptions, now); err != nil {
			return request, api.KindOf(err).Errorf("line %d: %w", number, err)
		}
		request.Type = api.RequestPin
		request.Pin = api.NewPin(op.Cid, op.PinOptions, now)
	case api.BulkUnpin:
		request.Type = api.RequestUnpin
	default:
		return request, api.Invalid.Errorf("line %d: unknown op %q", number, op.Op)
	}
	return request, nil
}
