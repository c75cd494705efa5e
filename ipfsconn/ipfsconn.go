// Package ipfsconn is the contract between a cluster peer and its IPFS node: what a
// node must do to hold pins and to take in the blocks of an add.
//
// Two packages keep it, under one suite of tests (ipfsconntest): embedded, a node
// inside this process, and kubo, which speaks to a Kubo daemon over its RPC.
//
// Errors carry an api.Kind, and those of Find, Pin and OpenAdd a cause that
// api.CauseOf tells.
package ipfsconn

import (
	"context"
	"iter"

	blocks "github.com/ipfs/go-block-format"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pinfold-cluster/pinfold/api"
)

// A Connector is a peer's IPFS node. Its methods are safe for concurrent use.
type Connector interface {
	// ID tells who the node is and where it listens.
	ID(ctx context.Context) (api.IPFSID, error)

	// Find returns once the block p.Cid is on the node. It looks until ctx ends, and
	// then closes its wants; the cause is api.CauseNoProvider. Peers named in
	// p.Origins are asked too.
	Find(ctx context.Context, p api.Pin) error
	// Pin returns once p.Cid and, unless p.Mode is direct, everything under it is on
	// the node, durable, and pinned in that mode, whatever mode it had. A mark that an
	// add left on it is cleared. progress, which may be nil, is told the bytes of the
	// DAG that are on the node so far: growing, from one goroutine at a time.
	//
	// It gives up when no block has arrived for a while (api.CauseStalled, or
	// api.CauseNoProvider where none came at all), when there is no room
	// (api.CauseDiskFull), and on a block that is over MaxBlockSize
	// (api.CauseTooBig) or cannot be read (api.CauseBadBlock).
	Pin(ctx context.Context, p api.Pin, progress func(bytes uint64)) error
	// Unpin takes the pin and any mark off c. A CID that is not pinned is no error.
	Unpin(ctx context.Context, c api.Cid) error
	// Pinned lists what is pinned, in order of the CIDs' bytes, from the first after
	// the one given; api.CidUndef starts at the first.
	Pinned(ctx context.Context, after api.Cid) iter.Seq2[api.PinnedCid, error]
	// PinStatus tells whether c is pinned, and how.
	PinStatus(ctx context.Context, c api.Cid) (mode api.PinMode, pinned bool, err error)

	// OpenAdd starts an add of about size bytes, 0 if nobody knows. The room is set
	// aside until it ends; the error is Full where there is none.
	OpenAdd(ctx context.Context, size uint64) (Add, error)
	// Marks lists the pins of adds that no Pin has taken over, in order of the CIDs'
	// bytes.
	Marks(ctx context.Context) iter.Seq2[api.Mark, error]
	// ClearMark takes the mark off c and leaves it pinned. No mark is no error.
	ClearMark(ctx context.Context, c api.Cid) error

	// Block returns a block of the node, or one that others have within ctx.
	Block(ctx context.Context, c api.Cid) ([]byte, error)
	// Resolve returns the CID that a path such as /ipfs/CID/a/b or /ipns/NAME leads to now.
	// The error is Invalid for a malformed path, NotFound where it leads nowhere.
	Resolve(ctx context.Context, path string) (api.Cid, error)

	// RepoStat tells the room there is, net of what adds have set aside.
	RepoStat(ctx context.Context) (api.RepoStat, error)
	// GC removes blocks that neither a pin nor an unfinished add or fetch needs, and
	// yields them as they go; their codec may be lost, as only hashes are kept. Leaving
	// the loop ends the collection. The error is Conflict while another runs.
	GC(ctx context.Context) iter.Seq2[api.RepoGCKey, error]

	// Connect connects the node to a peer.
	Connect(ctx context.Context, p peer.AddrInfo) error
	// Close releases what New took. The calls in progress are the caller's to end.
	Close() error
}

// An Add takes in the blocks of one add and keeps collection off them. It ends with
// Commit or Abort; Abort after that does nothing. Calls are made one at a time.
type Add = interface {
	// Put stores blocks. Each is checked against its CID; the error for one that does
	// not match is Invalid, with api.CauseBadBlock. Full tells that there is no room
	// left. After an error the add can only be aborted.
	Put(ctx context.Context, bs []blocks.Block) error
	// Commit returns once all blocks are durable and root, which must be among the
	// node's blocks (else NotFound), is pinned recursively and marked, also where it was
	// pinned already: whoever pinned it may be about to unpin it. With api.CidUndef
	// nothing is pinned: the blocks are durable, and left to collection.
	Commit(ctx context.Context, root api.Cid) error
	// Abort gives the add up: its blocks are left to collection.
	Abort() error
}
