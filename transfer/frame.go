package transfer

import (
	"bufio"
	"encoding/binary"
	"io"
	"strings"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/pinfold-cluster/pinfold/api"
)

// A frame is a uvarint, the length of all that follows it; one byte, its type; and
// a payload, whose size is checked against the type's limit before any is read.
type frameType byte

const (
	// From the client: open, blocks, end.
	frameOpen  frameType = 1 // CBOR of open
	frameBlock frameType = 2 // the CID's bytes, then the data
	frameEnd   frameType = 3 // the root CID's bytes; empty where nothing is to be pinned
	frameAlive frameType = 4 // nothing; sent where there is no block to send

	// From the server: granted, acks, done; or a fault at any time, which is the last.
	frameGranted frameType = 5 // uvarint: the window in bytes
	frameAck     frameType = 6 // uvarint: the sum of the block payloads stored so far
	frameDone    frameType = 7 // nothing
	frameFault   frameType = 8 // CBOR of api.Fault
)

const (
	maxCid        = 128 // bytes of a CID
	maxBlockFrame = MaxBlock + maxCid
	maxFaultText  = 2 << 10
)

var frameLimits = [...]int{
	frameOpen:    1 << 10,
	frameBlock:   maxBlockFrame,
	frameEnd:     maxCid,
	frameAlive:   0,
	frameGranted: binary.MaxVarintLen64,
	frameAck:     binary.MaxVarintLen64,
	frameDone:    0,
	frameFault:   4 << 10,
}

// open is the first frame of a stream.
type open struct {
	Size uint64 `cbor:"1,keyasint,omitempty"` // bytes that are expected, 0 unknown
}

// readHeader reads a frame up to its payload, of n bytes. The error is io.EOF where
// the stream ended between two frames, Invalid for a frame against the rules.
func readHeader(r *bufio.Reader) (t frameType, n int, err error) {
	size, err := readLength(r)
	if err != nil {
		return 0, 0, err
	}
	if size == 0 || size > maxBlockFrame+1 {
		return 0, 0, api.Invalid.Errorf("a frame of %d bytes", size)
	}
	b, err := r.ReadByte()
	if err != nil {
		return 0, 0, unexpected(err)
	}
	t, n = frameType(b), int(size)-1
	if t == 0 || int(t) >= len(frameLimits) {
		return 0, 0, api.Invalid.Errorf("a frame of unknown type %d", t)
	}
	if n > frameLimits[t] {
		return 0, 0, api.Invalid.Errorf("a frame of type %d with %d bytes, over %d", t, n, frameLimits[t])
	}
	return t, n, nil
}

// readLength reads a uvarint of at most four bytes.
func readLength(r io.ByteReader) (v uint64, err error) {
	for shift := 0; shift < 28; shift += 7 {
		b, err := r.ReadByte()
		if err != nil {
			if shift > 0 {
				err = unexpected(err)
			}
			return 0, err
		}
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v, nil
		}
	}
	return 0, api.Invalid.Errorf("a frame of over %d bytes", v)
}

// readPayload reads the n bytes that a header told of.
func readPayload(r io.Reader, n int) ([]byte, error) {
	p := make([]byte, n)
	if _, err := io.ReadFull(r, p); err != nil {
		return nil, unexpected(err)
	}
	return p, nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// appendHeader appends what precedes a payload of n bytes.
func appendHeader(b []byte, t frameType, n int) []byte {
	return append(binary.AppendUvarint(b, uint64(n)+1), byte(t))
}

// frame returns a whole frame.
func frame(t frameType, payload []byte) []byte {
	return append(appendHeader(nil, t, len(payload)), payload...)
}

// countFrame returns a whole frame whose payload is one number.
func countFrame(t frameType, n int64) []byte {
	return frame(t, binary.AppendUvarint(nil, uint64(n)))
}

func parseCount(p []byte) (int64, error) {
	v, n := binary.Uvarint(p)
	if n != len(p) || n <= 0 || v > 1<<62 {
		return 0, api.Invalid.Errorf("a frame whose count cannot be read")
	}
	return int64(v), nil
}

// parseBlock makes a block of a payload, which it keeps. Nobody has compared the
// data with the CID yet.
func parseBlock(p []byte) (blocks.Block, error) {
	n, c, err := cid.CidFromBytes(p)
	if err != nil {
		return nil, api.Invalid.Errorf("a block whose CID cannot be read: %w", err)
	}
	if n > maxCid {
		return nil, api.Invalid.Errorf("a block whose CID has %d bytes", n)
	}
	if len(p)-n > MaxBlock {
		return nil, api.Invalid.Errorf("block %s has %d bytes, over %d", c, len(p)-n, MaxBlock)
	}
	return blocks.NewBlockWithCid(p[n:], c)
}

func parseRoot(p []byte) (api.Cid, error) {
	if len(p) == 0 {
		return api.CidUndef, nil
	}
	c, err := cid.Cast(p)
	if err != nil {
		return api.CidUndef, api.Invalid.Errorf("a root that cannot be read: %w", err)
	}
	return api.Cid{Cid: c}, nil
}

// faultFrame returns the frame that tells err, shortened to what a frame takes.
func faultFrame(err error) ([]byte, error) {
	f := api.FaultOf(err)
	f.Message = strings.ToValidUTF8(f.Message[:min(len(f.Message), maxFaultText)], "\uFFFD")
	p, err := api.Encode(f)
	if err != nil {
		return nil, err
	}
	return frame(frameFault, p), nil
}

func parseFault(p []byte) error {
	var f api.Fault
	if err := api.Decode(p, &f); err != nil {
		return err
	}
	if f.Kind == "" {
		f.Kind = api.Internal
	}
	return f.Err()
}
