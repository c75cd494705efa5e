package feed

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	maxRequest = 8 << 10      // bytes
	maxFrame   = maxStatement // bytes
	maxAnswer  = 8 << 20      // bytes of all frames of an answer
)

// op is what a stream asks.
type op uint8

const (
	opHello op = 1 + iota
	opSince
	opRoot
	opPage
	opCoverage
	opStatus      // these are for members to ask followers
	opPinStatuses //
	opChallenge   //
)

// A request is what a stream begins with, after its length; there is one a stream.
type request struct {
	Op        op        `cbor:"1,keyasint"`
	Hello     *hello    `cbor:"2,keyasint,omitempty"`
	Index     uint64    `cbor:"3,keyasint,omitempty"` // Since: where the asker stands,
	Digest    []byte    `cbor:"4,keyasint,omitempty"` // with this digest
	Hash      []byte    `cbor:"5,keyasint,omitempty"` // Page
	Cids      []api.Cid `cbor:"6,keyasint,omitempty"` // PinStatuses
	Challenge []byte    `cbor:"7,keyasint,omitempty"`
}

// Bounds of a hello.
const (
	maxName      = 64
	maxAddresses = 4
	maxNeighbour = 16
)

// hello is how peers introduce themselves, both ways.
type hello struct {
	Name      string          `cbor:"1,keyasint,omitempty"`
	Version   string          `cbor:"2,keyasint,omitempty"`
	Addrs     []api.Multiaddr `cbor:"3,keyasint,omitempty"`
	DataID    []byte          `cbor:"4,keyasint,omitempty"`
	DataAddrs []api.Multiaddr `cbor:"5,keyasint,omitempty"`
	Enough    bool            `cbor:"8,keyasint,omitempty"` // few neighbours told of will do

	// In answers.
	Admitted   bool        `cbor:"6,keyasint,omitempty"`
	Neighbours []neighbour `cbor:"7,keyasint,omitempty"` // whom to try instead, or beside
	Beacon     []byte      `cbor:"9,keyasint,omitempty"` // as a member signed it: for who has no place
}

type neighbour struct {
	ID    []byte          `cbor:"1,keyasint"`
	Addrs []api.Multiaddr `cbor:"2,keyasint"`
}

func (h hello) check() error {
	if len(h.Name) > maxName || len(h.Version) > maxName || len(h.Addrs) > maxAddresses || len(h.DataAddrs) > maxAddresses || len(h.Neighbours) > maxNeighbour {
		return api.Invalid.Errorf("a hello that says too much")
	}
	for _, n := range h.Neighbours {
		if len(n.Addrs) > maxAddresses {
			return api.Invalid.Errorf("a hello that says too much")
		}
	}
	return nil
}

// An answer is frames: what they are, their length and their bytes. The last is an end or
// a fault.
const (
	frameData  = 0
	frameEnd   = 1
	frameFault = 2 // a fault
)

// astray is the kind of error of a member that has lost touch with its cluster: it cannot
// tell where the log ends. To earlier versions it is Unavailable.
const astray api.Kind = "out of touch with the cluster"

// A fault is an error of the other side.
type fault struct {
	Kind api.Kind `cbor:"1,keyasint"`
	Text string   `cbor:"2,keyasint"`
}

const maxFault = 1 << 10 // bytes of a fault's text

func writeRequest(w io.Writer, r request) error {
	b, err := api.Encode(r)
	if err != nil {
		return err
	}
	_, err = w.Write(append(binary.AppendUvarint(nil, uint64(len(b))), b...))
	return err
}

// readRequest reads at most a request. The error is Invalid for one that is none.
func readRequest(r io.Reader) (req request, err error) {
	b, err := readSized(bufio.NewReaderSize(io.LimitReader(r, maxRequest+binary.MaxVarintLen64), 512), maxRequest)
	if err != nil {
		return req, err
	}
	if err := api.Decode(b, &req); err != nil {
		return req, err
	}
	if req.Hello != nil {
		return req, req.Hello.check()
	}
	return req, nil
}

// readSized reads a length and as many bytes.
func readSized(r *bufio.Reader, most uint64) ([]byte, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, fmt.Errorf("read a length: %w", err)
	}
	if n > most {
		return nil, api.Invalid.Errorf("%d bytes: at most %d are allowed", n, most)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("read %d bytes: %w", n, err)
	}
	return b, nil
}

func appendFrame(b []byte, kind byte, data []byte) []byte {
	return append(binary.AppendUvarint(append(b, kind), uint64(len(data))), data...)
}

func encodeFault(err error) []byte {
	text := err.Error()
	b, encErr := api.Encode(fault{Kind: api.KindOf(err), Text: text[:min(len(text), maxFault)]})
	if encErr != nil { // a text that is cut inside a letter
		b, _ = api.Encode(fault{Kind: api.KindOf(err)})
	}
	return b
}

// readAnswer gives each frame to take, until the end. A fault of the other side is an
// error of its kind.
func readAnswer(r io.Reader, take func([]byte) error) error {
	br := bufio.NewReaderSize(io.LimitReader(r, maxAnswer+maxFrame), 32<<10)
	for {
		kind, err := br.ReadByte()
		if err != nil {
			return unexpected(err)
		}
		b, err := readSized(br, maxFrame)
		if err != nil {
			return unexpected(err)
		}
		switch kind {
		case frameData:
			if err := take(b); err != nil {
				return err
			}
		case frameEnd:
			return nil
		case frameFault:
			return decodeFault(b)
		default:
			return api.Invalid.Errorf("a frame of kind %d", kind)
		}
	}
}

func decodeFault(b []byte) error {
	var f fault
	if err := api.Decode(b, &f); err != nil {
		return err
	}
	switch f.Kind {
	case api.Invalid, api.NotFound, api.Conflict, api.Denied, api.TooLarge, api.Full, api.Unsupported, astray:
		return f.Kind.Errorf("the other side says: %q", f.Text[:min(len(f.Text), maxFault)])
	}
	return fmt.Errorf("%w: the other side says: %q", errBusy, f.Text[:min(len(f.Text), maxFault)])
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return api.Unavailable.Errorf("the answer ends early: %w", err)
}
