// Package transfer carries the blocks of an add from the peer that reads the files
// to a peer that shall keep them, over one long stream of the data host.
//
// A stream is one add. The client says how many bytes it expects to send; the
// server asks its store, and grants or refuses. Then blocks flow one way and counts
// of stored bytes the other, at most a window apart. At the end the client names
// the root, and the server answers once the store has made everything durable and
// pinned it. While it works it repeats its count every few seconds, so that the client
// knows a slow server from one that is gone. The server may break off at any moment
// with a fault, which reaches the client with its kind and text. See frame.go for the bytes on the wire.
//
// Blocks are checked in one place: the store's Put compares each with its CID, as
// the contract of Add says. This package checks form and size only.
package transfer

import (
	"context"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/pinfold-cluster/pinfold/api"
)

// Protocol is the libp2p protocol of an add. Another form of frames gets another one.
const Protocol protocol.ID = "/pinfold/add/1"

// MaxBlock is the most bytes that a block may have.
const MaxBlock = 2 << 20

// Add is the keeping side of one add: a store's, or through a Client a remote one.
// Its methods are not called concurrently. After an error of Put or Commit only
// Abort is of use; one of Commit and Abort ends every Add.
type Add = interface {
	// Put stores blocks, in any order, after checking that each matches its CID.
	// Kinds: Invalid (a block does not), Full, TooLarge, Unavailable.
	Put(ctx context.Context, bs []blocks.Block) error
	// Commit returns once all blocks are durable and root is pinned. With CidUndef
	// nothing is pinned: the blocks are durable and may be collected at any time.
	// Kind Unknown: it may have happened or not.
	Commit(ctx context.Context, root api.Cid) error
	// Abort gives the add up. After Commit, or a second time, it does nothing.
	Abort() error
}

// Store keeps what a Server receives.
type Store interface {
	// OpenAdd begins an add of about size bytes, 0 where nobody knows. Kind Full: it
	// does not fit. ctx bounds the opening only.
	OpenAdd(ctx context.Context, size uint64) (Add, error)
}

// Options tune a Server; the zero value of a field means its default.
type Options struct {
	Streams        int           `json:"streams,omitempty"`          // adds at once; 128
	StreamsPerPeer int           `json:"streams_per_peer,omitempty"` // adds at once from one peer; 32
	Memory         int64         `json:"memory,omitempty"`           // bytes of blocks read and not yet stored, in all adds; 128 MiB
	Window         int64         `json:"window,omitempty"`           // bytes a client may send ahead of what is stored; 8 MiB
	Idle           time.Duration `json:"idle,omitempty"`             // without a sign of life an add is given up; 2m
	Beat           time.Duration `json:"beat,omitempty"`             // between signs of life to a client; 2s
}

// The bounds of a batch given to the store: it is full at either.
const (
	batchBytes  = 4 << 20
	batchBlocks = 256
)

const (
	defaultIdle = 2 * time.Minute
	defaultBeat = 2 * time.Second
)

func (o Options) withDefaults() Options {
	if o.Streams <= 0 {
		o.Streams = 128
	}
	if o.StreamsPerPeer <= 0 {
		o.StreamsPerPeer = 32
	}
	if o.Memory <= 0 {
		o.Memory = 128 << 20
	}
	if o.Window <= 0 {
		o.Window = 8 << 20
	}
	if o.Idle <= 0 {
		o.Idle = defaultIdle
	}
	if o.Beat <= 0 {
		o.Beat = defaultBeat
	}
	// A batch waits unacknowledged until it is full, and the largest block must pass.
	o.Window = max(o.Window, batchBytes+maxBlockFrame)
	o.Memory = max(o.Memory, 2*maxBlockFrame)
	return o
}
