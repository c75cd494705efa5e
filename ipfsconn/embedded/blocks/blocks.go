// Package blocks keeps IPFS blocks on disk, in Pebble, under their multihash.
//
// The one idea: nothing that is being worked with is swept. Whoever means to keep
// blocks opens a Lease and puts or touches them through it; a Sweep leaves alone what
// any lease that was open since its beginning has touched. A lease is closed only
// after the pin that keeps its blocks is durable.
//
// Writes go to the write-ahead log unsynced, in order. So one synced write to DB(),
// such as that of a pin, makes every block put before it durable too.
package blocks

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/multiformats/go-multihash"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/disk"
)

// Prefixes of the keys that this package owns in the database. Those of others must
// differ.
const (
	prefixData  = 'b' // + multihash: the block
	prefixIndex = 'i' // + multihash: its size, as a varint; small, so that looking up and listing reads no block
	prefixTotal = 't' // + a byte 1: what all blocks count for, in bytes
)

// totalKey is another than that of builds in which blocks counted for their bytes alone.
var totalKey = []byte{prefixTotal, 1}

// Options tune a Store; the zero value of a field means its default.
type Options struct {
	StorageMax    uint64 // bytes of blocks at most, see Room; no limit but the disk
	StorageBy     string // the setting that StorageMax is of, for errors; embedded.storage_max
	DiskReserve   uint64 // bytes of the disk to leave free; 512 MiB
	CacheBytes    int64  // of memory for reads; 16 MiB
	MemTableBytes uint64 // of memory for one buffer of writes, of which there are at most 3; 16 MiB

	fs vfs.FS // the disk; a test's may crash
}

func (o Options) withDefaults() Options {
	if o.StorageBy == "" {
		o.StorageBy = "embedded.storage_max"
	}
	if o.DiskReserve == 0 {
		o.DiskReserve = 512 << 20
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 16 << 20
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = 16 << 20
	}
	if o.fs == nil {
		o.fs = vfs.Default
	}
	return o
}

// Store keeps blocks. It is a boxo Blockstore, which cannot delete: only a Sweep does.
type Store struct {
	dir string
	o   Options
	db  *disk.DB

	// gate keeps sweeps and leases apart: a sweep holds it while it looks at the leases
	// and deletes, the others share it while they touch a block and look whether it is
	// there.
	gate sync.RWMutex

	mu      sync.Mutex // one writer at a time, so that total is exact
	total   uint64     // what all blocks count for
	granted uint64     // bytes set aside for leases and not yet used

	leases leases
}

// Open opens the store in dir, creating it if need be.
func Open(dir string, o Options, log *slog.Logger) (*Store, error) {
	o = o.withDefaults()
	db, err := openDB(dir, o, log)
	if err != nil {
		return nil, fmt.Errorf("open block store %s: %w", dir, err)
	}
	s := &Store{dir: dir, o: o, db: db}
	if s.total, err = readTotal(db); err != nil {
		return nil, errors.Join(fmt.Errorf("open block store %s: %w", dir, err), db.Close())
	}
	return s, nil
}

func readTotal(db *disk.DB) (uint64, error) {
	v, err := get(db, totalKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return countTotal(db)
	}
	if err == nil && len(v) != 8 {
		err = api.Internal.Errorf("bad total %x", v)
	}
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(v), nil
}

// countTotal is the total by what there is.
func countTotal(db *disk.DB) (total uint64, err error) {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte{prefixIndex}, UpperBound: []byte{prefixIndex + 1}})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		size, n := binary.Uvarint(it.Value())
		if n <= 0 {
			return 0, api.Internal.Errorf("bad index row %x", it.Value())
		}
		total += taken(size)
	}
	return total, nil
}

// least is what a block counts for at least: its rows, and those of its pin, may take more
// of the disk than itself.
const least = 256

// taken is what a block of size bytes counts for.
func taken(size uint64) uint64 { return max(size, least) }

// Run returns nil once ctx has ended, or with the error after which the store cannot
// be written any more: the process should end.
func (s *Store) Run(ctx context.Context) error { return s.db.Fault().Run(ctx) }

// Failed tells whether Run ends with an error.
func (s *Store) Failed() bool { return s.db.Fault().Err() != nil }

// Close flushes and closes the store. Nothing may be using it, but after an error of
// Run, when closing is left to the end of the process.
func (s *Store) Close() error { return s.db.Close() }

// DB is the database below, for rows that must share a snapshot or a sync with the
// blocks. Keys of other owners start with other letters than b, i and t.
func (s *Store) DB() *disk.DB { return s.db }

// Sync makes everything written so far durable.
func (s *Store) Sync() error {
	if err := s.db.Sync(); err != nil {
		return fmt.Errorf("sync blocks: %w", err)
	}
	return nil
}

// Has tells whether the block is here.
func (s *Store) Has(ctx context.Context, c cid.Cid) (bool, error) {
	_, ok, err := s.size(ctx, c)
	return ok, err
}

// GetSize returns the bytes of a block, or a not-found error of go-ipld-format.
func (s *Store) GetSize(ctx context.Context, c cid.Cid) (int, error) {
	size, ok, err := s.size(ctx, c)
	if err != nil {
		return 0, err
	}
	if !ok {
		return 0, ipld.ErrNotFound{Cid: c}
	}
	return int(size), nil
}

// Get returns a block, or a not-found error of go-ipld-format.
func (s *Store) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if data, ok := inlined(c); ok {
		return blocks.NewBlockWithCid(data, c)
	}
	data, err := get(s.db, dataKey(c))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, ipld.ErrNotFound{Cid: c}
	}
	if err != nil {
		return nil, fmt.Errorf("get block %s: %w", c, err)
	}
	return blocks.NewBlockWithCid(data, c)
}

// Put stores a block that nothing keeps from the next collection.
func (s *Store) Put(ctx context.Context, b blocks.Block) error {
	return s.PutMany(ctx, []blocks.Block{b})
}

// PutMany stores blocks that nothing keeps from the next collection.
func (s *Store) PutMany(ctx context.Context, bs []blocks.Block) error {
	l, err := s.OpenLease(0)
	if err != nil {
		return err
	}
	defer l.Close()
	return l.Put(ctx, bs)
}

// DeleteBlock is not supported: blocks go by Sweep.
func (s *Store) DeleteBlock(context.Context, cid.Cid) error {
	return api.Unsupported.Errorf("blocks are removed by garbage collection only")
}

// AllKeysChan is not supported: nothing asks for it, and Sweep lists by itself.
func (s *Store) AllKeysChan(context.Context) (<-chan cid.Cid, error) {
	return nil, api.Unsupported.Errorf("the block store is not listed")
}

// size looks a block up by its index row.
func (s *Store) size(ctx context.Context, c cid.Cid) (size uint64, ok bool, err error) {
	if err := ctx.Err(); err != nil {
		return 0, false, err
	}
	if data, ok := inlined(c); ok {
		return uint64(len(data)), true, nil
	}
	return s.sizeAt(indexKey(c))
}

func (s *Store) sizeAt(key []byte) (size uint64, ok bool, err error) {
	v, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("look up block: %w", err)
	}
	size, n := binary.Uvarint(v)
	if n <= 0 {
		err = api.Internal.Errorf("look up block: bad index row %x", v)
	}
	return size, true, errors.Join(err, closer.Close())
}

func get(db *disk.DB, key []byte) ([]byte, error) {
	v, closer, err := db.Get(key)
	if err != nil {
		return nil, err
	}
	v = append(make([]byte, 0, len(v)), v...)
	return v, closer.Close()
}

// inlined returns the data of a CID that holds it itself; such are never stored.
func inlined(c cid.Cid) ([]byte, bool) {
	if c.Prefix().MhType != multihash.IDENTITY {
		return nil, false
	}
	d, err := multihash.Decode(c.Hash())
	if err != nil {
		return nil, false
	}
	return d.Digest, true
}

func dataKey(c cid.Cid) []byte  { return key(prefixData, c) }
func indexKey(c cid.Cid) []byte { return key(prefixIndex, c) }

func key(prefix byte, c cid.Cid) []byte {
	h := c.Hash()
	return append(append(make([]byte, 0, 1+len(h)), prefix), h...)
}
