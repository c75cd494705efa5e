package consensus

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/state"
)

// Trap 1: a heartbeat of a new term, taken beside raft's main loop, lets a deposed
// leader write an entry in a term that is not its own.
func TestTrap1_DeposedLeaderWritesNothing(t *testing.T) {
	t.Parallel()
	t.Run("through the main loop", func(t *testing.T) {
		wrote, err := applyDeposed(t, quick)
		if !errors.Is(err, raft.ErrNotLeader) {
			t.Errorf("Apply on a deposed leader: %v, want %v", err, raft.ErrNotLeader)
		}
		if wrote {
			t.Error("a deposed leader wrote an entry in a term that it does not lead")
		}
	})
	t.Run("control: beside it", func(t *testing.T) {
		o := quick
		o.fastHeartbeats = true
		for range 20 { // whatever else wakes the main loop first ends the leader's
			if wrote, _ := applyDeposed(t, o); wrote {
				return
			}
		}
		t.Error("no entry of a term that the peer does not lead: the trap is gone?")
	})
}

func leaderAmongActors(t *testing.T, o Options) (*node, []*actor, *raft.Raft) {
	t.Helper()
	n, actors := amongActors(t, o, nil)
	n.start()
	g := &group{t: t, m: n.m, nodes: []*node{n}}
	g.leader()
	r, _, err := n.c.running()
	check(t, err)
	return n, actors, r
}

// applyDeposed has a leader hear of another, and then apply an entry. It tells whether there
// is one of a later term now than its own.
func applyDeposed(t *testing.T, o Options) (wrote bool, err error) {
	t.Helper()
	n, actors, r := leaderAmongActors(t, o)
	for _, a := range actors {
		a.stayLoyal() // or the peer leads again, in a term of its own
	}
	term := r.CurrentTerm()

	actors[0].send(t, n.id, actors[0].request(term+1))
	err = r.Apply(joinOps(nil), patience).Error()
	last, lastErr := n.c.logs.LastIndex()
	check(t, lastErr)
	var l raft.Log
	check(t, n.c.logs.GetLog(last, &l))
	return l.Term > term, err
}

// archiveAt makes an archive of a state at index with the pins of names.
func archiveAt(t testing.TB, index uint64, names ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	st, err := state.Open(filepath.Join(dir, "state"), state.Options{}, testLog(t))
	check(t, err)
	defer st.Close()
	b := st.NewBatch()
	for _, name := range names {
		p := *pinOp(name).Pin
		p.Revision = index
		check(t, b.Put(p))
	}
	check(t, b.Commit(index))
	check(t, st.Sync())
	check(t, st.Checkpoint(filepath.Join(dir, "checkpoint")))
	var out bytes.Buffer
	check(t, writeArchive(&out, filepath.Join(dir, "checkpoint"), index))
	return out.Bytes()
}

// Trap 2: a log that goes on past an installed snapshot, and contradicts it.
func TestTrap2_SnapshotOverDivergentLog(t *testing.T) {
	t.Parallel()
	const at, term = 10, 3
	for _, tc := range []struct {
		name    string
		tail    uint64 // last entry of the divergent log
		control bool   // without our answer
		stops   bool
	}{
		{name: "log ends before the snapshot", tail: 8},
		{name: "log goes on past it", tail: 15, stops: true},
		{name: "control: log goes on past it", tail: 15, control: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := quick
			o.HeartbeatTimeout, o.ElectionTimeout = time.Minute, time.Minute // it never stands
			var conf raft.Configuration
			n, actors := amongActors(t, o, func(n *node, c raft.Configuration) {
				conf = c
				fill(t, n, func(s raft.StableStore, l raft.LogStore) {
					check(t, s.SetUint64([]byte(keyTerm), 2))
					for i := uint64(2); i <= tc.tail; i++ {
						check(t, l.StoreLog(&raft.Log{Index: i, Term: 2, Type: raft.LogCommand, Data: joinOps(nil)}))
					}
				})
			})
			check(t, n.open())
			if tc.control {
				n.c.logs.snapshot = func() uint64 { return 0 }
			}
			n.run()
			t.Cleanup(n.stop)

			install := func() {
				data := archiveAt(t, at, "a")
				req := &raft.InstallSnapshotRequest{RPCHeader: actors[0].header(), SnapshotVersion: 1, Term: term,
					LastLogIndex: at, LastLogTerm: term, Configuration: raft.EncodeConfiguration(conf), ConfigurationIndex: 1, Size: int64(len(data))}
				var resp raft.InstallSnapshotResponse
				err := actors[0].trans.InstallSnapshot(serverID(n.id), raft.ServerAddress(serverID(n.id)), req, &resp, bytes.NewReader(data))
				if !tc.stops && (err != nil || !resp.Success) {
					t.Errorf("install snapshot: %v %+v", err, resp)
				}
			}
			sent := make(chan struct{})
			go func() { defer close(sent); install() }()
			if tc.stops {
				if err := n.ends(); err == nil || !strings.Contains(err.Error(), "contradicts") {
					t.Fatalf("Run: %v, want that the log contradicts the snapshot", err)
				}
				n.cancel = nil
				check(t, n.c.logs.Close()) // the process would end here
				check(t, n.st.Close())
				n.start()
				until(t, "raft to run", func() bool { _, _, err := n.c.running(); return err == nil })
			}
			<-sent
			next := actors[0].request(term)
			next.PrevLogEntry, next.PrevLogTerm, next.LeaderCommitIndex = at, term, at+1
			next.Entries = []*raft.Log{{Index: at + 1, Term: term, Type: raft.LogCommand, Data: joinOps([][]byte{encoded(t, pinOp("b"))})}}
			resp := actors[0].send(t, n.id, next)
			if tc.control {
				if resp.Success {
					t.Error("raft goes on by itself now: our answer may go")
				}
				return
			}
			if !resp.Success {
				t.Fatalf("the entry after the snapshot was refused: the leader sends the snapshot for ever")
			}
			check(t, n.c.WaitApplied(t.Context(), at+1))
			if !n.has("a") || !n.has("b") {
				t.Error("the state lacks the snapshot or the entry after it")
			}
		})
	}
}

func encoded(t testing.TB, op api.Op) []byte {
	t.Helper()
	b, err := encodeOp(op)
	check(t, err)
	return b
}

// Trap 3: a crash between the two halves of a vote.
func TestTrap3_VoteIsOneValue(t *testing.T) {
	t.Parallel()
	type store interface {
		raft.StableStore
		Close() error
	}
	for name, open := range map[string]func(dir string) store{
		"one value": func(dir string) store {
			db, err := openBolt(dir)
			check(t, err)
			return &stableStore{BoltStore: db, fault: newFault(), stall: patience}
		},
		"control: two": func(dir string) store {
			db, err := openBolt(dir)
			check(t, err)
			return db
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(dir)
			check(t, s.SetUint64([]byte(keyVoteTerm), 4))
			check(t, s.Set([]byte(keyVoteCandidate), []byte("old")))
			check(t, s.SetUint64([]byte(keyVoteTerm), 5)) // and here the power goes
			check(t, s.Close())
			s = open(dir)
			defer s.Close()
			term, err := s.GetUint64([]byte(keyVoteTerm))
			check(t, err)
			candidate, err := s.Get([]byte(keyVoteCandidate))
			check(t, err)
			torn := term == 5 && string(candidate) == "old"
			if want := name != "one value"; torn != want {
				t.Errorf("after the crash: term %d, candidate %s; torn %v, want %v", term, candidate, torn, want)
			}
		})
	}
}

// Trap 4: without these options each commit writes the list of free pages.
func TestTrap4_FreelistIsNotWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db, err := openBolt(dir)
	check(t, err)
	check(t, db.Set([]byte("k"), []byte("v")))
	check(t, db.Close())
	f, err := os.Open(filepath.Join(dir, logFile))
	check(t, err)
	defer f.Close()
	page := make([]byte, 2*os.Getpagesize())
	_, err = f.ReadAt(page, 0)
	check(t, err)
	const freelist, txid = 16 + 16 + 16, 16 + 16 + 16 + 16 // in a page with bbolt's meta
	newest := page
	if second := page[os.Getpagesize():]; binary.LittleEndian.Uint64(second[txid:]) > binary.LittleEndian.Uint64(page[txid:]) {
		newest = second
	}
	if got := binary.LittleEndian.Uint64(newest[freelist:]); got != 1<<64-1 {
		t.Errorf("the freelist is written at page %d", got)
	}
}

// Trap 5: a disk that fails, or hangs, ends the peer; the others go on.
func TestTrap5_StorageErrorEndsThePeer(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 3, quick)
	leader := g.leader()
	check(t, leader.c.logs.journal.close()) // all that follows fails
	ctx, cancel := context.WithTimeout(g.ctx(), 5*time.Second)
	defer cancel()
	out, err := leader.c.Commit(ctx, []api.Op{pinOp("a")})
	if k := api.KindOf(err); k != api.Unknown && k != api.Unavailable { // by then another may lead
		t.Errorf("Commit onto a broken disk: %v %v, want unknown", out, err)
	}
	if err := leader.ends(); err == nil || !strings.Contains(err.Error(), "raft log") {
		t.Errorf("Run: %v, want the log's error", err)
	}
	leader.close()
	g.must(g.leader(), pinOp("b"))
}

func TestTrap5_HangingDiskEndsThePeer(t *testing.T) {
	t.Parallel()
	o := quick
	o.StallLimit = time.Second
	n := newNode(t, newMesh(), o)
	check(t, Bootstrap(n.raftDir(), n.id))
	check(t, n.open())
	n.c.logs.writing.Lock() // no entry can be written
	n.run()
	if err := n.ends(); err == nil || !strings.Contains(err.Error(), "hangs") {
		t.Errorf("Run: %v, want that the disk hangs", err)
	}
	n.c.logs.writing.Unlock()
	n.close()
}

// A write that was frozen, with all of the process, does not count as one that hangs. Not
// parallel: other tests would be frozen too.
func TestTrap5_FrozenProcessGoesOn(t *testing.T) {
	const limit = 4 * time.Second // for what is done beside being frozen, on a slow machine
	f := newFault()
	done := f.watch(limit, "writing")
	freeze := exec.CommandContext(t.Context(), "sh", "-c", fmt.Sprintf("kill -STOP %[1]d; sleep 5; kill -CONT %[1]d", os.Getpid()))
	began := time.Now()
	check(t, freeze.Run())
	if time.Since(began) < limit {
		t.Fatal("the process was not frozen")
	}
	select {
	case <-f.done:
		t.Errorf("fault: %v", f.raised())
	case <-time.After(limit / 40): // what the write takes once it goes on
	}
	done()
}

// Trap 6: raft's VerifyLeader counts answers to what was sent before it was asked.
func TestTrap6_OldAnswersDoNotVerify(t *testing.T) {
	t.Parallel()
	o := quick
	const lease = 5 * time.Second // the leader's: it is to go on leading here
	o.HeartbeatTimeout, o.ElectionTimeout, o.LeaderLeaseTimeout = lease, lease, lease
	o.CommitTimeout, o.quietCommits = time.Minute, true // heartbeats only
	n, actors, r := leaderAmongActors(t, o)

	// Each actor receives one more heartbeat, and answers it only once it is asked for.
	received, release := make(chan struct{}, len(actors)), make(chan struct{})
	silence := make(chan struct{})
	t.Cleanup(func() { close(silence) })
	for _, a := range actors {
		var once sync.Once
		a.holding(func(*raft.AppendEntriesRequest) {
			mine := false
			once.Do(func() { mine = true })
			if !mine {
				<-silence
				return
			}
			received <- struct{}{}
			<-release
		})
	}
	for range actors {
		<-received
	}
	ctx, cancel := context.WithTimeout(t.Context(), lease)
	defer cancel()
	read := make(chan error, 1)
	go func() {
		_, err := n.c.ReadIndex(ctx)
		read <- err
	}()
	verified := make(chan error, 1)
	f := r.VerifyLeader()
	go func() { verified <- f.Error() }()
	<-time.After(lease / 10) // both have asked
	close(release)
	if err := <-verified; err != nil {
		t.Errorf("control: raft's VerifyLeader does not count old answers now: %v", err)
	}
	if err := <-read; api.KindOf(err) != api.Unavailable {
		t.Errorf("ReadIndex on answers from before it: %v, want unavailable", err)
	}
}

func TestNudge_FollowersHearOfACommitAtOnce(t *testing.T) {
	t.Parallel()
	for name, quiet := range map[string]bool{"nudged": false, "control: raft alone": true} {
		t.Run(name, func(t *testing.T) {
			o := quick
			o.CommitTimeout = 3 * time.Second // and up to twice that
			o.quietCommits = quiet
			g := newGroup(t, 3, o)
			leader := g.leader()
			g.must(leader, pinOp("a"))
			const entries = 20
			late := 0
			for i := range entries {
				out := g.must(leader, pinOp(string(rune('b'+i))))
				for _, n := range g.followers(leader) {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					if err := n.c.WaitApplied(ctx, out[0].Index); err != nil {
						late++
					}
					cancel()
				}
				if quiet && late > 0 {
					return
				}
			}
			if quiet {
				t.Error("followers hear of commits without nudges")
			}
			if late > entries/2 { // on a slow machine some are
				t.Errorf("%d times an entry had not come to a follower within a second", late)
			}
		})
	}
}
