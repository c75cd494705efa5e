package consensus

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

const (
	logFile       = "raft.db"
	lockTimeout   = time.Second // how long to wait for another process to let go of the log
	deleteChunk   = 2048        // entries removed in one transaction while others are appended
	entryOverhead = 48          // bytes a stored entry takes besides its data
)

// A logStore is the raft log: raft-boltdb behind a journal, with the newest entries in
// memory, the size of what it holds, and a fault for each error.
type logStore struct {
	*raftboltdb.BoltStore // the concrete type: raft looks for more than LogStore's methods

	writing  sync.Mutex // held while entries go into the journal, and while all of them leave it
	journal  *journal
	fresh    []*raft.Log    // in the journal's present generation
	settling sync.WaitGroup // the generation before that is on its way into the database

	fault      *fault
	stall      time.Duration
	cacheBytes int64
	// snapshot tells the index of the newest snapshot.
	snapshot func() uint64

	mu      sync.Mutex
	grown   func() // called after entries were stored
	sizes   logSizes
	cached  map[uint64]*raft.Log
	oldest  uint64 // lowest index in cached
	held    int64  // bytes in cached
	settled uint64 // the database has all up to this index; what is past it stays in cached
}

// openBolt opens the database of log and votes in dir, which it creates, with all that
// the journal has.
func openBolt(dir string) (*raftboltdb.BoltStore, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	db, err := raftboltdb.New(raftboltdb.Options{
		Path: filepath.Join(dir, logFile),
		BoltOptions: &bbolt.Options{
			Timeout:        lockTimeout,
			NoFreelistSync: true, // else each commit writes the list of free pages,
			FreelistType:   bbolt.FreelistMapType,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("open raft log in %s: %w", dir, err)
	}
	if err := syncDir(dir); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if err := replay(dir, db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// newLogStore measures what db, which is in dir, holds.
func newLogStore(dir string, db *raftboltdb.BoltStore, f *fault, o Options, snapshot func() uint64) (*logStore, error) {
	s := &logStore{BoltStore: db, fault: f, stall: o.StallLimit, cacheBytes: o.CacheBytes,
		snapshot: snapshot, grown: func() {}, cached: make(map[uint64]*raft.Log)}
	first, err := db.FirstIndex()
	if err != nil {
		return nil, fmt.Errorf("read first index of raft log: %w", err)
	}
	last, err := db.LastIndex()
	if err != nil {
		return nil, fmt.Errorf("read last index of raft log: %w", err)
	}
	for i := first; i <= last && i > 0; i++ {
		var l raft.Log
		switch err := db.GetLog(i, &l); {
		case errors.Is(err, raft.ErrLogNotFound):
			return nil, fmt.Errorf("raft log lacks entry %d of %d to %d", i, first, last)
		case err != nil:
			return nil, fmt.Errorf("read raft log entry %d: %w", i, err)
		}
		s.sizes.add(i, entrySize(&l))
	}
	s.settled = last
	done, begun, err := settledGeneration(db)
	if err != nil {
		return nil, err
	}
	if s.journal, err = openJournal(dir, done+1); err != nil {
		return nil, fmt.Errorf("open raft journal in %s: %w", dir, err)
	}
	if !begun { // from now on a journal that is gone is missed
		if err := db.SetUint64([]byte(keyJournal), 0); err != nil {
			return nil, errors.Join(fmt.Errorf("begin raft journal: %w", err), s.journal.close())
		}
	}
	return s, nil
}

// Close settles the journal and closes the files.
func (s *logStore) Close() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	err := s.drain()
	return errors.Join(err, s.journal.close(), s.BoltStore.Close())
}

// bounds tells the first and last index, both 0 for an empty log.
func (s *logStore) bounds() (first, last uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sizes.bounds()
}

// IsMonotonic makes raft drop all of an older log once it has installed a snapshot,
// instead of keeping a tail that contradicts it.
func (s *logStore) IsMonotonic() bool { return true }

// FirstIndex implements raft.LogStore.
func (s *logStore) FirstIndex() (uint64, error) {
	first, _ := s.bounds()
	return first, nil
}

// LastIndex implements raft.LogStore.
func (s *logStore) LastIndex() (uint64, error) {
	_, last := s.bounds()
	return last, nil
}

// GetLog implements raft.LogStore.
func (s *logStore) GetLog(i uint64, l *raft.Log) error {
	s.mu.Lock()
	c, ok := s.cached[i]
	s.mu.Unlock()
	if ok {
		*l = *c
		return nil
	}
	err := s.BoltStore.GetLog(i, l)
	if err != nil && !errors.Is(err, raft.ErrLogNotFound) {
		s.fault.stop(fmt.Errorf("read raft log entry %d: %w", i, err))
	}
	return err
}

// StoreLog implements raft.LogStore.
func (s *logStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore.
func (s *logStore) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	done := s.fault.watch(s.stall, "storing raft log entries")
	settled, err := s.write(logs)
	done()
	if err != nil {
		s.fault.stop(fmt.Errorf("store raft log entries: %w", err))
	}
	s.mu.Lock()
	for _, l := range logs {
		s.sizes.add(l.Index, entrySize(l))
		s.remember(l)
	}
	if settled {
		s.settled = logs[len(logs)-1].Index
	}
	s.evict()
	grown := s.grown
	s.mu.Unlock()
	grown()
	return nil
}

// write makes logs durable. It tells whether they are in the database already.
func (s *logStore) write(logs []*raft.Log) (settled bool, err error) {
	body, err := encodeRecord(logs)
	if err != nil {
		return false, err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if journalHead+len(body) > journalSize/2 { // little is gained
		if err := s.drain(); err != nil {
			return false, err
		}
		return true, s.BoltStore.StoreLogs(logs)
	}
	if !s.journal.fits(len(body)) {
		s.turn()
	}
	s.fresh = append(s.fresh, logs...)
	return false, s.journal.append(body)
}

// turn has the journal's present generation settled, and begins the next. The caller
// holds writing.
func (s *logStore) turn() {
	g := s.next()
	s.settling.Go(func() {
		if err := s.settle(g); err != nil {
			s.fault.stop(err)
		}
	})
}

// drain settles all that is in the journal. The caller holds writing.
func (s *logStore) drain() error {
	if len(s.fresh) == 0 {
		s.settling.Wait()
		return nil
	}
	return s.settle(s.next())
}

// next begins the journal's next generation, once the file for it is settled, and gives
// the one that has ended. The caller holds writing.
func (s *logStore) next() generation {
	s.settling.Wait()
	g := generation{s.journal.gen, s.fresh}
	s.journal.turn()
	s.fresh = nil
	return g
}

// settle puts the entries of g into the database.
func (s *logStore) settle(g generation) error {
	done := s.fault.watch(s.stall, "moving raft log entries out of the journal")
	defer done()
	if err := settleGeneration(s.BoltStore, g); err != nil {
		return fmt.Errorf("move raft log entries out of the journal: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settled = g.logs[len(g.logs)-1].Index
	s.evict()
	return nil
}

// setGrown has f called after entries were stored. It must not block.
func (s *logStore) setGrown(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grown = f
}

// DeleteRange implements raft.LogStore. A range at the log's head goes in steps, so
// that appends get their turn; a tail goes at once, as a part of one that contradicts
// the leader's may not survive a crash.
func (s *logStore) DeleteRange(lo, hi uint64) error {
	s.writing.Lock()
	err := s.drain() // what is deleted must not come back from the journal
	s.writing.Unlock()
	if err != nil {
		s.fault.stop(err)
	}
	_, last := s.bounds()
	s.forget(lo, hi)
	s.mu.Lock()
	s.sizes.remove(lo, hi)
	if hi >= last {
		s.settled = min(s.settled, lo-1)
	}
	s.mu.Unlock()
	step := uint64(deleteChunk)
	if hi >= last {
		step = hi - lo + 1
	}
	for from := lo; from <= hi; from += step {
		done := s.fault.watch(s.stall, "deleting raft log entries")
		err := s.BoltStore.DeleteRange(from, min(from+step-1, hi))
		done()
		if err != nil {
			s.fault.stop(fmt.Errorf("delete raft log entries %d to %d: %w", lo, hi, err))
		}
	}
	if at := s.snapshot(); lo <= at && at < hi {
		// Only after installing a snapshot does raft delete past it. It goes on believing
		// in the tail it had: see DESIGN.md, trap 2.
		s.fault.stop(fmt.Errorf("the log had entries to %d that the cluster's snapshot at %d contradicts; they are dropped and the next start goes on from the snapshot", hi, at))
	}
	return nil
}

// remember caches l. The caller holds mu.
func (s *logStore) remember(l *raft.Log) {
	if old, ok := s.cached[l.Index]; ok {
		s.held -= entrySize(old)
	}
	if len(s.cached) == 0 || l.Index < s.oldest {
		s.oldest = l.Index
	}
	s.cached[l.Index] = l
	s.held += entrySize(l)
}

// evict drops the oldest of the cache down to its limit, as far as they are settled. The
// caller holds mu.
func (s *logStore) evict() {
	for ; s.held > s.cacheBytes && s.oldest <= s.settled && len(s.cached) > 1; s.oldest++ {
		if old, ok := s.cached[s.oldest]; ok {
			s.held -= entrySize(old)
			delete(s.cached, s.oldest)
		}
	}
}

// forget takes a range out of the cache.
func (s *logStore) forget(lo, hi uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, l := range s.cached {
		if lo <= i && i <= hi {
			s.held -= entrySize(l)
			delete(s.cached, i)
		}
	}
}

// trailing tells how many of the newest entries take at most limit bytes.
func (s *logStore) trailing(limit int64) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sizes.trailing(limit)
}

// since tells how many entries there are past index, and their bytes.
func (s *logStore) since(index uint64) (entries uint64, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sizes.since(index)
}

func entrySize(l *raft.Log) int64 {
	return int64(len(l.Data) + len(l.Extensions) + entryOverhead)
}

// stallSteps are those in which it is counted how long a write takes. A process that was frozen,
// with its machine or by a signal, finds one of them over when it goes on, and not its disk at
// fault.
const stallSteps = 5

// watch raises the fault that the disk hangs, unless done is called within limit.
func (f *fault) watch(limit time.Duration, doing string) (done func()) {
	ended := make(chan struct{})
	go func() {
		step := time.NewTicker(max(1, limit/stallSteps))
		defer step.Stop()
		for range stallSteps {
			select {
			case <-ended:
				return
			case <-step.C:
			}
		}
		f.raise(fmt.Errorf("%s has taken over %v: the disk hangs", doing, limit))
	}()
	return func() { close(ended) }
}

// syncDir makes the names in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
