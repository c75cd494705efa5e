package consensus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

const (
	snapshotPause = time.Second      // least time between two snapshots
	snapshotRetry = 10 * time.Second // after one that failed
)

// takeSnapshots has raft take a snapshot and cut its log whenever the log has grown by
// half of Options.LogBytes, or by Options.SnapshotThreshold entries, until ctx ends.
// Raft itself would count entries only, which are anything from 100 bytes to 64 KiB.
func (c *Consensus) takeSnapshots(ctx context.Context, r *raft.Raft) error {
	grown := make(chan struct{}, 1)
	c.logs.setGrown(func() {
		select {
		case grown <- struct{}{}:
		default:
		}
	})
	for {
		if c.snapshotDue() {
			pause := snapshotPause
			if err := c.takeSnapshot(ctx, r); err != nil && ctx.Err() == nil {
				c.log.Warn("snapshot was not taken", "err", err)
				pause = snapshotRetry
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(pause):
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-grown:
		}
	}
}

func (c *Consensus) snapshotDue() bool {
	entries, bytes := c.logs.since(c.snapshots.at.Load())
	return entries >= c.o.SnapshotThreshold || bytes >= c.o.LogBytes/2
}

// takeSnapshot keeps as many entries past the snapshot as half of Options.LogBytes holds.
func (c *Consensus) takeSnapshot(ctx context.Context, r *raft.Raft) error {
	reload := r.ReloadableConfig()
	reload.TrailingLogs = min(c.o.TrailingLogs, c.logs.trailing(c.o.LogBytes/2))
	if err := r.ReloadConfig(reload); err != nil {
		return fmt.Errorf("set how much of the log to keep: %w", err)
	}
	err := c.await(ctx, func() raft.Future { return r.Snapshot() })
	if errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return nil
	}
	return err
}
