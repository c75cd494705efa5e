package consensus

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/hashicorp/raft"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/state"
)

// Snapshot implements raft.FSM: a checkpoint, in the time that a few links and a sync
// take. The state is synced first, as raft then cuts the log that it came from.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	if err := m.st.Sync(); err != nil {
		m.fault.stop(fmt.Errorf("sync the state: %w", err))
	}
	dir := m.snapshots.scratch()
	if err := m.st.Checkpoint(dir); err != nil {
		return nil, errors.Join(fmt.Errorf("checkpoint the state: %w", err), os.RemoveAll(dir))
	}
	return &checkpoint{dir: dir, applied: m.st.Applied()}, nil
}

// A checkpoint is a snapshot that raft has not yet told the snapshot store of.
type checkpoint struct {
	dir     string
	applied uint64
}

// Persist implements raft.FSMSnapshot.
func (c *checkpoint) Persist(k raft.SnapshotSink) error {
	s, ok := k.(*sink)
	if !ok {
		return fmt.Errorf("snapshot into a %T", k)
	}
	return s.adopt(c.dir, c.applied) // raft closes it
}

// Release implements raft.FSMSnapshot.
func (c *checkpoint) Release() {
	_ = os.RemoveAll(c.dir) // adopted, or litter that the next start clears away
}

// Restore implements raft.FSM. On an error the state is as before and the process must
// end, as raft would only log it.
func (m *machine) Restore(r io.ReadCloser) error {
	if err := m.restore(r); err != nil {
		err = fmt.Errorf("restore snapshot: %w", err)
		m.fault.raise(err)
		return err
	}
	return nil
}

func (m *machine) restore(r io.Reader) error {
	a, err := openArchive(r)
	if err != nil {
		return err
	}
	if a.index <= m.st.Applied() {
		return nil // the state is further on in the same history: it never goes back
	}
	dir, err := m.st.Incoming()
	if err != nil {
		return err
	}
	if err := a.unpack(dir); err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	if at, err := state.IndexAt(dir); err != nil || at != a.index {
		return errors.Join(api.Invalid.Errorf("the state in the snapshot is at index %d, not %d", at, a.index), err, os.RemoveAll(dir))
	}
	if err := m.st.Replace(dir); err != nil {
		return err
	}
	m.listener.Reload()
	m.applied(m.st.Applied())
	return nil
}
