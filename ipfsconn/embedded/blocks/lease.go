package blocks

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/disk"
)

// A Lease keeps sweeps off the blocks that are put or touched through it, from then
// until it is closed. It is safe for concurrent use.
type Lease struct {
	s     *Store
	grant uint64 // bytes set aside and not yet used; guarded by s.mu

	mu      sync.Mutex
	touched set
}

// set holds what tells blocks apart well enough to spare them: two blocks that share
// a mark are both spared.
type set map[uint64]struct{}

// mark is the end of a multihash, where it is random.
func mark(hash []byte) uint64 {
	var b [8]byte
	copy(b[:], hash[max(0, len(hash)-8):])
	return binary.LittleEndian.Uint64(b[:])
}

// leases are the open ones, and what those left that were closed during a sweep.
type leases struct {
	mu       sync.Mutex
	open     map[*Lease]struct{}
	sweeping bool
	closed   set
}

// OpenLease opens a lease and sets room aside for it. The error is Full where there
// is not that much.
func (s *Store) OpenLease(room uint64) (*Lease, error) {
	l := &Lease{s: s, touched: set{}}
	if err := s.reserve(l, room); err != nil {
		return nil, err
	}
	s.leases.mu.Lock()
	defer s.leases.mu.Unlock()
	if s.leases.open == nil {
		s.leases.open = map[*Lease]struct{}{}
	}
	s.leases.open[l] = struct{}{}
	return l, nil
}

// Close ends the lease and gives back the room it has not used. A second Close does
// nothing.
func (l *Lease) Close() {
	l.s.mu.Lock()
	l.s.granted -= l.grant
	l.grant = 0
	l.s.mu.Unlock()

	a := &l.s.leases
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.open[l]; !ok {
		return
	}
	delete(a.open, l)
	if a.sweeping {
		l.mu.Lock()
		maps.Copy(a.closed, l.touched)
		l.mu.Unlock()
	}
}

// Touch keeps a block that may be here already, and tells whether it is, its size,
// and whether this lease sees it for the first time.
func (l *Lease) Touch(ctx context.Context, c cid.Cid) (size uint64, here, first bool, err error) {
	l.s.gate.RLock()
	defer l.s.gate.RUnlock()
	first = l.touch(c.Hash())
	size, here, err = l.s.size(ctx, c)
	return size, here, first, err
}

func (l *Lease) touch(hash []byte) (first bool) {
	m := mark(hash)
	l.mu.Lock()
	defer l.mu.Unlock()
	_, known := l.touched[m]
	l.touched[m] = struct{}{}
	return !known
}

// maxBatch bounds what is written at once, in bytes, so that a batch fits the write
// buffer.
const maxBatch = 4 << 20

// Put stores blocks, which must match their CIDs. They are durable after the next
// synced write. The error is Full where there is no room.
func (l *Lease) Put(ctx context.Context, bs []blocks.Block) error {
	for len(bs) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, size := 0, 0
		for n < len(bs) && (n == 0 || size+len(bs[n].RawData()) <= maxBatch) {
			size += len(bs[n].RawData())
			n++
		}
		if err := l.put(bs[:n]); err != nil {
			return err
		}
		bs = bs[n:]
	}
	return nil
}

func (l *Lease) put(bs []blocks.Block) error {
	s := l.s
	s.gate.RLock()
	defer s.gate.RUnlock()
	s.mu.Lock()
	defer s.mu.Unlock()

	fresh := bs[:0:0]
	seen := make(map[string]struct{}, len(bs))
	var size uint64
	for _, b := range bs {
		if _, ok := inlined(b.Cid()); ok {
			continue
		}
		l.touch(b.Cid().Hash())
		if _, ok := seen[string(b.Cid().Hash())]; ok {
			continue
		}
		seen[string(b.Cid().Hash())] = struct{}{}
		_, here, err := s.sizeAt(indexKey(b.Cid()))
		if err != nil {
			return err
		}
		if !here {
			fresh = append(fresh, b)
			size += taken(uint64(len(b.RawData())))
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	if err := s.fits(size, l.grant); err != nil {
		return err
	}
	if err := s.write(fresh, size); err != nil {
		return fmt.Errorf("put %d blocks: %w", len(fresh), err)
	}
	used := min(l.grant, size)
	l.grant -= used
	s.granted -= used
	return nil
}

// write stores blocks that are not here, and count for size bytes altogether. s.mu is held.
func (s *Store) write(bs []blocks.Block, size uint64) error {
	room := 64 + int(size)
	for _, b := range bs {
		room += 2*len(b.Cid().Hash()) + 32
	}
	batch := s.db.NewBatchWithSize(room)
	defer batch.Close()
	var varint [binary.MaxVarintLen64]byte
	for _, b := range bs {
		n := binary.PutUvarint(varint[:], uint64(len(b.RawData())))
		if err := batch.Set(indexKey(b.Cid()), varint[:n], nil); err != nil {
			return err
		}
		if err := batch.Set(dataKey(b.Cid()), b.RawData(), nil); err != nil {
			return err
		}
	}
	return s.commit(batch, s.total+size)
}

// commit writes a batch together with the total it leads to. s.mu is held.
func (s *Store) commit(batch *disk.Batch, total uint64) error {
	if err := batch.Set(totalKey, binary.BigEndian.AppendUint64(nil, total), nil); err != nil {
		return err
	}
	if err := batch.Commit(pebble.NoSync); err != nil {
		return err
	}
	s.total = total
	return nil
}

// Room is the space of a Store, in bytes. A block counts for 256 at least.
type Room struct {
	Used uint64 // by blocks
	Max  uint64 // for blocks, at most
	Free uint64 // of Max, net of what leases have set aside
}

// Room tells how much space there is.
func (s *Store) Room() (Room, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, _, err := s.room()
	return r, err
}

// room is Room, and tells whether it is StorageMax that bounds it rather than the disk.
// s.mu is held.
func (s *Store) room() (r Room, bounded bool, err error) {
	disk, err := diskFree(s.dir)
	if err != nil {
		return Room{}, false, err
	}
	free := disk - min(disk, s.o.DiskReserve)
	r = Room{Used: s.total, Max: s.total + free}
	if s.o.StorageMax > 0 {
		r.Max = s.o.StorageMax
		left := r.Max - min(r.Max, s.total)
		bounded = left <= free
		free = min(free, left)
	}
	r.Free = free - min(free, s.granted)
	return r, bounded, nil
}

// fits tells whether size bytes fit, where grant of them are already set aside. s.mu
// is held.
func (s *Store) fits(size, grant uint64) error {
	r, bounded, err := s.room()
	if err != nil {
		return err
	}
	if r.Free+grant >= size {
		return nil
	}
	mend := fmt.Sprintf("the disk's last %d bytes are not used; free space there, or lower embedded.disk_reserve", s.o.DiskReserve)
	if bounded {
		mend = "raise " + s.o.StorageBy
	}
	return api.CauseDiskFull.Wrap(api.Full.Errorf("no room for %d bytes: %d of %d used, %d set aside, %d free; %s", size, r.Used, r.Max, s.granted, r.Free, mend))
}

func (s *Store) reserve(l *Lease, size uint64) error {
	if size == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.fits(size, 0); err != nil {
		return err
	}
	l.grant = size
	s.granted += size
	return nil
}
