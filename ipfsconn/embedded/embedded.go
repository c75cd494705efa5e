// Package embedded is an IPFS node inside this process, on boxo: blocks and pins on
// disk, bitswap over the data host.
//
// Blocks that are being worked with are under a lease (package blocks), which ends
// once a durable pin keeps them; what neither a lease nor a pin keeps is garbage
// (package gc). Blocks that are fetched for readers are not kept at all.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"path/filepath"
	"sync"

	bsnetwork "github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/boxo/keystore"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded/blocks"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded/gc"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded/pins"
)

// Providers is what a Node asks of the cluster.
type Providers interface {
	// Holders tells who is likely to hold c: the data hosts of the pin's holders, or
	// those of all peers where c is no pin. It does not block.
	Holders(ctx context.Context, c api.Cid) []peer.AddrInfo
}

var _ ipfsconn.Connector = (*Node)(nil)

// Node is an IPFS node. It keeps the contract of ipfsconn.Connector.
type Node struct {
	host  host.Host // nil: off line
	o     Options
	peers Providers
	log   *slog.Logger

	blocks  *blocks.Store
	pins    *pins.Store
	local   blockstore.Blockstore          // blocks, with identity CIDs
	bitswap *trader                        // nil: off line
	asked   *bsnetwork.ConnectEventManager // which peers bitswap asks
	service blockservice.BlockService
	here    blockservice.BlockService // service without the exchange
	bounded blockservice.BlockService // service that gives up on a block after a while
	files   filesTree
	keys    keystore.Keystore

	searches searches

	use     inUse
	closing context.Context // ends when Close begins; for dials that outlive their caller
	cancel  context.CancelFunc
}

// New opens the node whose blocks and pins are in dir, creating it if need be. The
// host may be nil: then the node is off line. With a host it exchanges blocks from now
// on, until Close, which leaves the host open. Whoever the host lets in is given any
// block: the host decides who that is.
func New(h host.Host, dir string, o Options, peers Providers, log *slog.Logger) (*Node, error) {
	o = o.WithDefaults()
	n := &Node{host: h, o: o, peers: peers, log: log, searches: searches{boarding: boardTime, board: map[int]*search{}}}
	store, err := blocks.Open(filepath.Join(dir, "blocks"), blocks.Options{StorageMax: o.StorageMax, StorageBy: o.StorageBy,
		DiskReserve: o.DiskReserve, CacheBytes: o.CacheBytes, MemTableBytes: o.MemTableBytes}, log)
	if err != nil {
		return nil, err
	}
	n.closing, n.cancel = context.WithCancel(context.Background())
	n.blocks, n.pins = store, pins.New(store.DB())
	n.local = blockstore.NewIdStore(guarded{n})
	if h != nil {
		n.bitswap = newTrader(n)
	}
	read := newRecent(n.local)
	n.service = blockservice.New(read, exchange{n}, blockservice.WriteThrough(true))
	n.here = blockservice.New(read, nil)
	n.bounded = blockservice.New(read, patient{exchange{n}}, blockservice.WriteThrough(true))
	n.files.db, n.files.changed = store.DB(), make(chan struct{}, 1)
	if n.keys, err = keystore.NewFSKeystore(filepath.Join(dir, "keystore")); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// Run returns nil once ctx has ended, or with the error after which blocks and pins
// cannot be written any more: the process should end.
func (n *Node) Run(ctx context.Context) error { return n.blocks.Run(ctx) }

// Close ends the exchange of blocks, and with it what waits for blocks, and closes the
// stores once the calls in progress have ended.
func (n *Node) Close() error {
	if !n.use.close() {
		return nil
	}
	n.cancel()
	var err error
	if n.bitswap != nil {
		err = n.bitswap.Close()
	}
	if n.blocks.Failed() {
		return err // calls may stand in it for ever
	}
	n.use.wait()
	return errors.Join(err, n.blocks.Close())
}

// ID implements ipfsconn.Connector. A node off line has no identity.
func (n *Node) ID(context.Context) (api.IPFSID, error) {
	if n.host == nil {
		return api.IPFSID{Error: "the node is off line"}, nil
	}
	addrs, err := peer.AddrInfoToP2pAddrs(&peer.AddrInfo{ID: n.host.ID(), Addrs: n.host.Addrs()})
	if err != nil {
		return api.IPFSID{}, fmt.Errorf("addresses of the data host: %w", err)
	}
	return api.IPFSID{ID: n.host.ID(), Addresses: addrs}, nil
}

// Connect implements ipfsconn.Connector.
func (n *Node) Connect(ctx context.Context, p peer.AddrInfo) error {
	if n.host == nil {
		return api.Unsupported.Errorf("the node is off line")
	}
	if err := n.host.Connect(ctx, p); err != nil {
		return api.Unavailable.Errorf("connect to %s: %w", p.ID, err)
	}
	return nil
}

// RepoStat implements ipfsconn.Connector.
func (n *Node) RepoStat(context.Context) (api.RepoStat, error) {
	if err := n.use.begin(); err != nil {
		return api.RepoStat{}, err
	}
	defer n.use.end()
	r, err := n.blocks.Room()
	return api.RepoStat{RepoSize: r.Used, StorageMax: r.Max, Free: r.Free}, err
}

// GC implements ipfsconn.Connector. All keys are raw CIDs.
func (n *Node) GC(ctx context.Context) iter.Seq2[api.RepoGCKey, error] {
	return during(n, gc.Collect(ctx, n.blocks, n.pins, &n.files, n.log))
}

// during yields what seq does, and keeps the node open meanwhile.
func during[T any](n *Node, seq iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		if err := n.use.begin(); err != nil {
			var none T
			yield(none, err)
			return
		}
		defer n.use.end()
		seq(yield)
	}
}

// inUse counts the calls in progress, so that Close can wait for them.
type inUse struct {
	mu     sync.Mutex
	closed bool
	calls  sync.WaitGroup
}

var errClosed = api.Unavailable.Errorf("the IPFS node is closed")

// begin counts a call that end ends. The error is Unavailable once closed.
func (u *inUse) begin() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return errClosed
	}
	u.calls.Add(1)
	return nil
}

// spawn begins a call that runs f beside the caller's and ends with it.
func (u *inUse) spawn(f func()) error {
	if err := u.begin(); err != nil {
		return err
	}
	go func() {
		defer u.end()
		f()
	}()
	return nil
}

func (u *inUse) end()  { u.calls.Done() }
func (u *inUse) wait() { u.calls.Wait() }

// close lets no more calls begin, and tells whether it is the first to do so.
func (u *inUse) close() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	first := !u.closed
	u.closed = true
	return first
}
