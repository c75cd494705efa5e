package proxy

import (
	"context"
	"iter"

	"github.com/ipfs/boxo/bitswap/server"
	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/mfs"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pinfold-cluster/pinfold/api"
)

// Add takes in blocks and keeps collection off them until Commit, which makes them
// durable and pins root where it is defined, or Abort. Calls are made one at a time.
type Add = interface {
	Put(ctx context.Context, bs []blocks.Block) error
	Commit(ctx context.Context, root api.Cid) error
	Abort() error
}

// Node is the IPFS node in this process.
type Node interface {
	// Reader gives the node's blocks and, with fetch, those of other peers. Patient gives
	// those of others too, but no block is waited for without end.
	Reader(fetch bool) blockservice.BlockService
	Patient() blockservice.BlockService
	// Stored lists the node's blocks as raw CIDs.
	Stored(ctx context.Context) iter.Seq2[cid.Cid, error]
	CountStored(ctx context.Context) (int, error)
	// Pinned lists what is pinned on the node, after the CID given.
	Pinned(ctx context.Context, after api.Cid) iter.Seq2[api.PinnedCid, error]
	// Below lists what is below the node's recursive pins as far as it is here: with
	// distinct each block once.
	Below(ctx context.Context, distinct bool) iter.Seq2[api.Kept, error]
	OpenAdd(ctx context.Context, size uint64) (Add, error)
	// Delete removes a block at once. The error is NotFound where it is not here, and
	// Conflict where something needs it.
	Delete(ctx context.Context, c cid.Cid) error
	Exchanged() (api.Exchanged, error)
	// Ledger tells what was exchanged with one peer; it fails off line.
	Ledger(id peer.ID) (*server.Receipt, error)

	Host() host.Host // nil off line

	RepoStat(ctx context.Context) (api.RepoStat, error)

	// Services and SetServices keep the pinning services of others that are known, by
	// name.
	Services() (map[string]api.PinningService, error)
	SetServices(map[string]api.PinningService) error

	// ViewFiles runs f on the tree of files, which it may not change. ChangeFiles runs
	// f, one at a time, and returns once what it did is durable; what it wrote is
	// dropped where it fails.
	ViewFiles(ctx context.Context, f func(*mfs.Root) error) error
	ChangeFiles(ctx context.Context, f func(*mfs.Root) error) error

	Keys
}

// Keys are the keys that names are signed with, by what people call them.
type Keys interface {
	ListKeys() ([]string, error)
	Key(name string) (crypto.PrivKey, error)
	PutKey(name string, k crypto.PrivKey) error
	DeleteKey(name string) error
	// PutName and GetName keep the last record of each name that was published here.
	PutName(id peer.ID, record []byte) error
	GetName(id peer.ID) ([]byte, error)
}
