package consensus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/state"
)

const keyTerm = "CurrentTerm" // raft's

// Bootstrap begins a cluster's log in dir, with self as its only voter. The error is
// Conflict where dir has a log already.
func Bootstrap(dir string, self api.PeerID) error {
	return offline(dir, func(db *raftboltdb.BoltStore, snaps *snapshots) error {
		last, term, err := end(db, snaps)
		if err != nil {
			return err
		}
		if last > 0 || term > 0 {
			return api.Conflict.Errorf("%s has a raft log already", dir)
		}
		return appendConfiguration(db, 1, 1, self)
	})
}

// Recover makes self the only voter of the log in dir, for a cluster that has lost its
// quorum. No process may use dir. All entries that are there count as committed from
// then on, also those that the lost peers never confirmed; state and snapshots stay as
// they are. Peers of the old log must not come back: a new incarnation is the caller's.
// The error is NotFound where dir has no log.
func Recover(dir string, self api.PeerID) error {
	return offline(dir, func(db *raftboltdb.BoltStore, snaps *snapshots) error {
		last, term, err := end(db, snaps)
		if err != nil {
			return err
		}
		if last == 0 {
			return api.NotFound.Errorf("%s has no raft log to recover", dir)
		}
		// An entry, not a snapshot with another configuration in its label as the library
		// does it: that would need the state brought up to the end of the log first.
		return appendConfiguration(db, last+1, term+1, self)
	})
}

// Replay applies to st, a copy of the state of the peer whose log is in dir, what the
// log has beyond it. No process may use dir. All entries that are there count as
// committed, also those that other peers never confirmed: what the peer acknowledged is
// among them, and its own state may not say so yet. The error is Conflict where the peer
// must start once, as a snapshot is ahead of its state or entries between the two
// are gone.
func Replay(dir string, st *state.State) error {
	return offline(dir, func(db *raftboltdb.BoltStore, snaps *snapshots) error {
		newest, err := snaps.newest()
		if err != nil {
			return err
		}
		first, err := db.FirstIndex()
		if err != nil {
			return err
		}
		last, err := db.LastIndex()
		if err != nil {
			return err
		}
		at := st.Applied()
		if newest.Applied > at || first > at+1 {
			return api.Conflict.Errorf("the state is at index %d, behind the log's start at %d or the snapshot at %d: start the peer, which restores it", at, first, newest.Applied)
		}
		m := &machine{st: st, listener: nobodyListens{}, snapshots: snaps, fault: newFault(), applied: func(uint64) {}}
		ended := make(chan error, 1)
		go func() { ended <- m.replay(db, at+1, last) }() // it never returns from a fault
		select {
		case err := <-ended:
			return err
		case <-m.fault.done:
			return m.fault.err
		}
	})
}

func (m *machine) replay(db *raftboltdb.BoltStore, from, to uint64) error {
	for i := from; i <= to; i++ {
		var l raft.Log
		if err := db.GetLog(i, &l); err != nil {
			return fmt.Errorf("read raft log entry %d: %w", i, err)
		}
		m.Apply(&l)
	}
	return nil
}

type nobodyListens struct{}

func (nobodyListens) Track(api.Pin)         {}
func (nobodyListens) Untrack(api.Pin)       {}
func (nobodyListens) Reload()               {}
func (nobodyListens) Changed(state.Changes) {}

// offline opens dir for f.
func offline(dir string, f func(*raftboltdb.BoltStore, *snapshots) error) error {
	snaps, err := openSnapshots(filepath.Join(dir, snapshotsDir), slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	db, err := openBolt(dir)
	if err != nil {
		return err
	}
	return errors.Join(f(db, snaps), db.Close())
}

// end settles log and snapshots, and tells the last index and the highest term.
func end(db *raftboltdb.BoltStore, snaps *snapshots) (last, term uint64, err error) {
	newest, err := snaps.newest()
	if err != nil {
		return 0, 0, err
	}
	if _, err := settle(db, newest); err != nil {
		return 0, 0, err
	}
	term, err = db.GetUint64([]byte(keyTerm))
	if err != nil && !errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return 0, 0, err
	}
	if last, err = db.LastIndex(); err != nil {
		return 0, 0, err
	}
	return max(last, newest.Index), max(term, newest.Term), nil
}

// appendConfiguration writes the term and then, as an entry of that term, that self is
// the only voter.
func appendConfiguration(db *raftboltdb.BoltStore, index, term uint64, self api.PeerID) error {
	id := raft.ServerID(self.String())
	only := raft.Configuration{Servers: []raft.Server{{Suffrage: raft.Voter, ID: id, Address: raft.ServerAddress(id)}}}
	if err := db.Set([]byte(keyTerm), binary.BigEndian.AppendUint64(nil, term)); err != nil {
		return err
	}
	return db.StoreLog(&raft.Log{Index: index, Term: term, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(only)})
}

// check tells whether log, snapshots and state fit together: between them there is no
// gap, and the log of a state that was anywhere is not gone. A peer that has forgotten
// its votes and entries may not take part under its old name.
func (c *Consensus) check(newest snapshotMeta) error {
	first, last := c.logs.bounds()
	at := c.st.Applied()
	switch {
	case at > 0 && last == 0 && newest.Index == 0:
		return api.Conflict.Errorf("the state is at index %d, but its raft log is gone: this peer must join again under a new identity", at)
	case at > max(last, newest.Applied):
		return api.Conflict.Errorf("the state is at index %d, but the raft log ends at %d: entries that this peer had confirmed are lost, and it must join again under a new identity", at, last)
	case first > newest.Index+1 && first > 0:
		return api.Conflict.Errorf("the raft log starts at %d, the newest snapshot ends at %d: entries between them are lost", first, newest.Index)
	}
	return nil
}

// settle drops a log that contradicts the newest snapshot, or ends before it: the
// process may have ended between the snapshot's arrival and the end of the log. Raft's
// rule is that the log stays only if it has the snapshot's last entry.
func settle(db *raftboltdb.BoltStore, newest snapshotMeta) (dropped bool, err error) {
	first, err := db.FirstIndex()
	if err != nil {
		return false, err
	}
	last, err := db.LastIndex()
	if err != nil || last == 0 || first > newest.Index {
		return false, err
	}
	var l raft.Log
	if last >= newest.Index {
		if err := db.GetLog(newest.Index, &l); err != nil {
			return false, fmt.Errorf("read raft log entry %d: %w", newest.Index, err)
		}
	}
	if l.Term == newest.Term {
		return false, nil
	}
	return true, db.DeleteRange(first, last)
}

// restores tells whether raft is to restore the newest snapshot into the state at its
// start. The index inside each of the two says which is further on: raft's label on a
// snapshot may be lower, and raft, told not to restore, passes over a gap in silence.
func (c *Consensus) restores() (bool, error) {
	newest, err := c.snapshots.newest()
	return c.st.Applied() < newest.Applied, err
}
