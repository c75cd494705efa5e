// Package state remembers what the peers of a cluster agree on: the pinset, and the
// sessions, members and used-up credentials that agreeing on it takes. It keeps them
// in a Pebble database and leaves to others what to write.
//
// Everything is read from the database as ranges of keys: see keys.go for the rows.
// Each Batch is one atomic write of pins, their secondary keys, counts, digest and
// the log index it brings the state to. A commit is not synced, since the Raft log
// is: after a crash the state is that of some earlier commit, whole.
//
// The state's directory holds a file CURRENT, which names the directory of the live
// database beside it. Replace makes another one live; reads that are under way end
// on the one they began on.
package state

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/disk"
)

// Options tune a State; the zero value of a field means its default.
type Options struct {
	CacheBytes    int64 `json:"cache_bytes"`    // of blocks read; 8 MiB
	MemTableBytes int64 `json:"memtable_bytes"` // writes kept in memory before they become a file, at most three times this; 2 MiB
	// MaxBytes is what the database may take on disk, to a few MiB; 0 is no bound. The log does
	// not wait for that: it is for followers. MaxBy is the setting that it is of, for errors.
	MaxBytes uint64 `json:"-"`
	MaxBy    string `json:"-"`
}

// WithDefaults returns o with its defaults filled in.
func (o Options) WithDefaults() Options {
	if o.CacheBytes <= 0 {
		o.CacheBytes = 8 << 20
	}
	if o.MemTableBytes <= 0 {
		o.MemTableBytes = 2 << 20
	}
	return o
}

// Stats count pins, and the bytes of their DAGs as far as known.
type Stats struct{ Pins, Bytes uint64 }

// A State is safe for concurrent readers beside one writer, who uses NewBatch,
// Commit, Incoming and Replace.
type State struct {
	dir   string
	o     Options
	log   *slog.Logger
	fs    vfs.FS
	cache *pebble.Cache
	fault *disk.Fault
	open  sync.WaitGroup // one for each database not closed yet

	writer *Batch // the last begun; the writer's own, as are dec and unseen
	dec    decoder
	unseen uint64 // bytes written since what the database takes was looked at; boundStep at first

	mu   sync.RWMutex
	live *database // nil once closed
	mem  memory
}

// memory is what is kept of the live database outside of it.
type memory struct {
	head    head
	digests []Digest // replaced, never changed
	held    map[api.PeerID]Stats
	ledger  ledger
	members []api.Member // the ledger's by ID; replaced, never changed
}

// load reads the memory of a database. The error is Unsupported for a database of
// another format.
func load(db pebble.Reader) (m memory, err error) {
	value, err := getRow(db, headKey)
	if err != nil {
		return memory{}, err
	}
	if value == nil {
		return memory{}, api.Internal.Errorf("the database has no head row: it is no state")
	}
	if m.head, err = decodeHead(value); err != nil {
		return memory{}, err
	}
	if value, err = getRow(db, digestsKey); err != nil {
		return memory{}, err
	}
	if m.digests, err = decodeDigests(value); err != nil {
		return memory{}, err
	}
	m.held = map[api.PeerID]Stats{}
	err = eachRow(db, []byte{heldKind}, func(k, v []byte) error {
		st, ok := decodeStats(v)
		if !ok {
			return api.Internal.Errorf("the row %x cannot be read", k)
		}
		m.held[api.PeerID(k[1:])] = st
		return nil
	})
	if err != nil {
		return memory{}, err
	}
	if m.ledger, err = loadLedger(db); err != nil {
		return memory{}, err
	}
	m.members = m.ledger.sortedMembers()
	return m, nil
}

// Stats counts all pins. It is kept, not computed.
func (s *State) Stats() Stats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.mem.head.stats
}

// HeldStats counts the pins that p holds by name, being allocated or leaving. Those
// pinned everywhere are not among them: they are counted under the peer "".
func (s *State) HeldStats(p api.PeerID) Stats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.mem.held[p]
}

// Held is HeldStats of every peer that holds any pin.
func (s *State) Held() map[api.PeerID]Stats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return maps.Clone(s.mem.held)
}

// Applied is the log index that the state has reached, 0 at first. Reads begun after
// it was told see at least that.
func (s *State) Applied() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.mem.head.applied
}

// Digest is that of the state as it is.
func (s *State) Digest() Digest {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.mem.head.digest()
}

// Digests are the last 64 at log indexes divisible by DigestEvery, oldest first.
func (s *State) Digests() []Digest {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.mem.digests)
}

// Get returns the pin of c, with its revision. The error is NotFound where there is
// none, Internal where its record is damaged.
func (s *State) Get(ctx context.Context, c api.Cid) (api.Pin, error) {
	value, err := s.getPin(ctx, c)
	if err != nil {
		return api.Pin{}, err
	}
	return readRecord(new(decoder), pinKey(c), value)
}

// Has tells whether there is a pin of c.
func (s *State) Has(ctx context.Context, c api.Cid) (bool, error) {
	_, err := s.getPin(ctx, c)
	if errors.Is(err, api.NotFound) {
		return false, nil
	}
	return err == nil, err
}

func (s *State) getPin(ctx context.Context, c api.Cid) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d, err := s.acquire()
	if err != nil {
		return nil, err
	}
	defer d.release()
	value, err := getRow(d.db, pinKey(c))
	if err == nil && value == nil {
		err = api.NotFound.Errorf("pin is not part of the pinset")
	}
	return value, err
}

// readRecord decodes the record under key. One that cannot be read, or is another
// pin's, is Internal: the database is damaged, however well-formed what lies there.
func readRecord(d *decoder, key, value []byte) (api.Pin, error) {
	p, err := d.record(value)
	if err != nil {
		return api.Pin{}, api.Internal.Errorf("the record under key %x is damaged: %v", key, err)
	}
	if p.Cid.KeyString() != string(key[1:]) {
		return api.Pin{}, api.Internal.Errorf("the record under key %x is damaged: it is that of %s", key, p.Cid)
	}
	return p, nil
}

// Sync returns once all that was committed is on disk.
func (s *State) Sync() error {
	d, err := s.acquire()
	if err != nil {
		return err
	}
	defer d.release()
	return d.db.Sync()
}

// Run returns nil once ctx has ended, or with the error after which the database
// cannot be written any more: the process should end, and its next start goes on.
func (s *State) Run(ctx context.Context) error { return s.fault.Run(ctx) }

// Close waits for the reads under way and closes the database. A batch that was not
// committed is lost. After an error of Run it leaves all that to the end of the process.
func (s *State) Close() error {
	s.mu.Lock()
	d := s.live
	s.live = nil
	s.mu.Unlock()
	if d == nil {
		return nil
	}
	if s.fault.Err() != nil {
		return nil
	}
	s.writer.end()
	d.release()
	s.open.Wait()
	s.cache.Unref()
	return d.closed
}
