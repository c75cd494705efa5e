// Package consensus makes the full peers of a cluster agree on the changes of the
// pinset, their order, and who is a member.
//
// The log is hashicorp/raft's. Its entries hold the changes as the leader decided them;
// a machine applies them to the state of each peer and computes nothing that could
// differ. Commit puts changes in, on the leader only; finding the leader and deciding
// are the caller's. DESIGN.md tells what is done about the traps of the library.
//
// A peer whose disk fails or hangs stops: Run ends with an error, and the process
// should exit, as raft cannot be trusted with what may not have been written.
package consensus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/state"
)

const (
	snapshotsDir  = "snapshots"
	shutdownLimit = 10 * time.Second // for raft's goroutines to end
)

// Consensus is this peer's part in the agreement.
type Consensus struct {
	self  api.PeerID
	st    *state.State
	net   Network
	o     Options
	log   *slog.Logger
	fault *fault

	logs      *logStore
	stable    *stableStore
	snapshots *snapshots
	machine   *machine
	moved     watermark

	queue queue

	ready chan struct{} // holds one item: the right to pass a barrier
	term  uint64        // of the last barrier passed; owned by who holds ready

	voting sync.Mutex // held while votes change hands in several steps

	mu        sync.Mutex
	raft      *raft.Raft // nil before Run
	trans     *transport
	since     time.Time // when this peer began to lead in sinceTerm, zero while it does not
	sinceTerm uint64
	heard     chan struct{} // closed and made anew when the leader changes

	ended chan struct{} // closed when raft has ended
}

// New opens the log, votes and snapshots in dir, which it creates. st is the state of
// the same peer; where a snapshot is newer, Run restores it. The error is Conflict where
// log and state cannot belong together. New starts nothing; Close releases.
func New(self api.PeerID, dir string, st *state.State, net Network, l Listener, o Options, log *slog.Logger) (*Consensus, error) {
	o = o.WithDefaults()
	log = log.With("component", "consensus")
	snaps, err := openSnapshots(filepath.Join(dir, snapshotsDir), log)
	if err != nil {
		return nil, err
	}
	db, err := openBolt(dir)
	if err != nil {
		return nil, err
	}
	c := &Consensus{self: self, st: st, net: net, o: o, log: log, fault: newFault(),
		snapshots: snaps, queue: newQueue(), ready: make(chan struct{}, 1),
		heard: make(chan struct{}), ended: make(chan struct{})}
	c.ready <- struct{}{}
	c.stable = &stableStore{BoltStore: db, fault: c.fault, stall: o.StallLimit}
	if err := c.openLog(dir, db); err != nil {
		if c.logs != nil {
			return nil, errors.Join(err, c.logs.Close())
		}
		return nil, errors.Join(err, db.Close())
	}
	c.machine = &machine{st: st, listener: l, snapshots: snaps, fault: c.fault, applied: func(uint64) { c.moved.moved() }}
	return c, nil
}

// openLog settles what is in db with the snapshots, and checks all against the state.
func (c *Consensus) openLog(dir string, db *raftboltdb.BoltStore) error {
	newest, err := c.snapshots.newest()
	if err != nil {
		return err
	}
	dropped, err := settle(db, newest)
	if err != nil {
		return err
	}
	if dropped {
		c.log.Warn("raft log is dropped: the cluster's snapshot has other entries", "snapshot", newest.Index)
	}
	if c.logs, err = newLogStore(dir, db, c.fault, c.o, c.snapshots.at.Load); err != nil {
		return err
	}
	return c.check(newest)
}

// Close releases the files. Run has returned before, or was never called. Where a disk
// hangs it gives up and leaves the rest to the end of the process.
func (c *Consensus) Close() error {
	if err := c.fault.raised(); err != nil {
		return nil // Run told it; waiting for the files could take for ever
	}
	return c.logs.Close()
}

// Run takes part until ctx ends; then it hands over leadership and stops. It ends with
// an error where the peer must not go on: the process should exit. It may be called
// once.
func (c *Consensus) Run(ctx context.Context) error {
	restore, err := c.restores()
	if err != nil {
		return err
	}
	layer, err := newStreamLayer(c.self, c.net)
	if err != nil {
		return fmt.Errorf("listen for raft: %w", err)
	}
	hlog := newHclogger(c.log)
	trans := newTransport(layer, c.o, hlog)
	c.machine.applied = func(index uint64) {
		c.moved.moved()
		trans.progress.has(index)
	}
	r, err := raft.NewRaft(c.config(restore, hlog), c.machine, c.logs, c.stable, c.snapshots, trans)
	if err != nil {
		return errors.Join(fmt.Errorf("start raft: %w", err), trans.Close())
	}
	return c.run(ctx, r, trans)
}

// run works on a running raft and stops it.
func (c *Consensus) run(ctx context.Context, r *raft.Raft, trans *transport) error {
	c.mu.Lock()
	c.raft, c.trans = r, trans
	c.mu.Unlock()

	g, gctx := errgroup.WithContext(ctx)
	for range entriesInFlight {
		g.Go(func() error { c.commit(gctx, r); return nil })
	}
	g.Go(func() error { return c.watchLeader(gctx, r) })
	g.Go(func() error { return c.takeSnapshots(gctx, r) })
	g.Go(func() error { return c.keepVoters(gctx, r, trans) })
	if !c.o.quietCommits {
		g.Go(func() error {
			return trans.nudge(gctx, func(term uint64) bool { return r.State() == raft.Leader && r.CurrentTerm() == term })
		})
	}
	g.Go(func() error {
		select {
		case <-c.fault.done:
			return c.fault.err
		case <-gctx.Done():
			return nil
		}
	})
	<-gctx.Done()
	c.stop(r, trans)
	return g.Wait()
}

// stop ends raft, after handing over leadership where the disks are well.
func (c *Consensus) stop(r *raft.Raft, trans *transport) {
	well := c.fault.raised() == nil
	if well && r.State() == raft.Leader {
		ctx, cancel := context.WithTimeout(context.Background(), 2*c.o.ElectionTimeout)
		if err := c.handOver(ctx, r, trans); err != nil {
			c.log.Info("leadership was not handed over", "err", err)
		}
		cancel()
	}
	limit := shutdownLimit
	if !well {
		limit = 0 // its goroutines wait for the disk
	}
	f := r.Shutdown()
	_ = trans.Close() // its goroutines may be in calls to peers that do not answer
	ended := make(chan struct{})
	go func() { // raft's future knows no deadline
		_ = f.Error()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(limit):
	}
	close(c.ended)
}

// config is raft's configuration. Snapshots are taken when takeSnapshots says so.
func (c *Consensus) config(restore bool, log *hclogger) *raft.Config {
	conf := raft.DefaultConfig()
	conf.LocalID = raft.ServerID(c.self.String())
	conf.HeartbeatTimeout = c.o.HeartbeatTimeout
	conf.ElectionTimeout = c.o.ElectionTimeout
	conf.LeaderLeaseTimeout = c.o.LeaderLeaseTimeout
	conf.CommitTimeout = c.o.CommitTimeout
	conf.MaxAppendEntries = c.o.MaxAppendEntries
	conf.BatchApplyCh = true
	conf.TrailingLogs = c.o.TrailingLogs
	conf.SnapshotThreshold = math.MaxUint64
	conf.SnapshotInterval = time.Hour
	conf.NoSnapshotRestoreOnStart = !restore
	conf.NoLegacyTelemetry = true
	conf.Logger = log
	return conf
}

// running gives raft and its transport. The error is Unavailable.
func (c *Consensus) running() (*raft.Raft, *transport, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.raft == nil || c.raft.State() == raft.Shutdown {
		return nil, nil, api.Unavailable.Errorf("this peer's consensus is not running")
	}
	return c.raft, c.trans, nil
}

// await waits for what start begins. Raft's futures know no context, and some are never
// answered when raft stops; the goroutine then ends with the process.
func (c *Consensus) await(ctx context.Context, start func() raft.Future) error {
	done := make(chan error, 1)
	go func() { done <- start().Error() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-c.ended:
		return raft.ErrRaftShutdown
	}
}
