package consensus

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/state"
)

// smallArchive is one of two short files.
func smallArchive(t testing.TB) []byte {
	t.Helper()
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "a"), []byte("first file"), 0o600))
	check(t, os.WriteFile(filepath.Join(dir, "b"), nil, 0o600))
	var out bytes.Buffer
	check(t, writeArchive(&out, dir, 77))
	size, err := archiveSize(dir)
	check(t, err)
	if size != int64(out.Len()) {
		t.Fatalf("archiveSize says %d, it has %d bytes", size, out.Len())
	}
	return out.Bytes()
}

func unpack(data []byte, dir string) (uint64, error) {
	a, err := openArchive(bytes.NewReader(data))
	if err != nil {
		return 0, err
	}
	return a.index, a.unpack(dir)
}

func TestArchive_RefusesDamage(t *testing.T) {
	good := smallArchive(t)
	dir := t.TempDir()
	if index, err := unpack(good, dir); err != nil || index != 77 {
		t.Fatalf("unpack: %d, %v", index, err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "a")); err != nil || string(got) != "first file" {
		t.Fatalf("file a is %q, %v", got, err)
	}
	for n := range good {
		if _, err := unpack(good[:n], ""); api.KindOf(err) != api.Invalid {
			t.Errorf("cut to %d bytes: %v, want invalid", n, err)
		}
		bad := bytes.Clone(good)
		bad[n] ^= 0x10
		if _, err := unpack(bad, ""); api.KindOf(err) != api.Invalid {
			t.Errorf("byte %d flipped: %v, want invalid", n, err)
		}
	}
	if _, err := unpack(append(bytes.Clone(good), 0), ""); api.KindOf(err) != api.Invalid {
		t.Errorf("one byte more: %v, want invalid", err)
	}
}

func FuzzArchive(f *testing.F) {
	good := smallArchive(f)
	f.Add(good)
	for _, name := range []string{"../x", "/etc/x", ".", "..", "a/b", ""} {
		f.Add(append(append(bytes.Clone(good[:16]), markFile, byte(len(name))), name...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		parent := t.TempDir()
		dir := filepath.Join(parent, "in")
		check(t, os.Mkdir(dir, 0o700))
		_, err := unpack(data, dir)
		if err == nil && !bytes.Equal(data[:8], []byte(archiveMagic)) {
			t.Error("no archive, and no error")
		}
		if entries, err := os.ReadDir(parent); err != nil || len(entries) != 1 {
			t.Errorf("written outside of the directory: %v %v", entries, err)
		}
	})
}

func TestSnapshots_KeepsTwoAndClearsLitter(t *testing.T) {
	dir := t.TempDir()
	s, err := openSnapshots(dir, testLog(t))
	check(t, err)
	for i := uint64(1); i <= 4; i++ {
		k, err := s.Create(1, i*10, 9-i, raft.Configuration{}, 1, nil) // ever lower terms
		check(t, err)
		_, err = k.Write(smallArchive(t))
		check(t, err)
		check(t, k.Close())
	}
	left, err := s.Create(1, 99, 1, raft.Configuration{}, 1, nil)
	check(t, err)
	_, err = left.Write([]byte("half"))
	check(t, err)

	s, err = openSnapshots(dir, testLog(t)) // the process ended in the middle
	check(t, err)
	metas, err := s.List()
	check(t, err)
	if len(metas) != 2 || metas[0].Index != 40 || metas[1].Index != 30 || s.at.Load() != 40 {
		t.Fatalf("kept %+v, newest %d; want 40 and 30", metas, s.at.Load())
	}
	entries, err := os.ReadDir(dir)
	check(t, err)
	if len(entries) != 2 {
		t.Errorf("%d names in the store, want 2", len(entries))
	}
	meta := filepath.Join(dir, metas[0].ID, metaFile)
	text, err := os.ReadFile(meta)
	check(t, err)
	text[20] ^= 1
	check(t, os.WriteFile(meta, text, 0o600))
	if metas, err := s.List(); err != nil || len(metas) != 1 || metas[0].Index != 30 {
		t.Errorf("with damaged metadata: %+v %v, want the older alone", metas, err)
	}
}

func TestSnapshots_DamagedArchiveNeverBecomesOne(t *testing.T) {
	s, err := openSnapshots(t.TempDir(), testLog(t))
	check(t, err)
	data := smallArchive(t)
	data[len(data)/2] ^= 1
	k, err := s.Create(1, 10, 1, raft.Configuration{}, 1, nil)
	check(t, err)
	_, err = k.Write(data)
	check(t, err)
	if err := k.Close(); api.KindOf(err) != api.Invalid {
		t.Errorf("Close: %v, want invalid", err)
	}
	if metas, err := s.List(); err != nil || len(metas) != 0 {
		t.Errorf("there is a snapshot: %+v %v", metas, err)
	}
}

func TestMachine_BadSnapshotLeavesTheState(t *testing.T) {
	st, err := state.Open(t.TempDir(), state.Options{}, testLog(t))
	check(t, err)
	defer st.Close()
	b := st.NewBatch()
	check(t, b.Put(*pinOp("mine").Pin))
	check(t, b.Commit(5))
	before := st.Digest()
	good := archiveAt(t, 50, "theirs")
	told := &recorder{}
	try := func(data []byte) error {
		m := &machine{st: st, listener: told, fault: newFault(), applied: func(uint64) {}}
		err := m.Restore(io.NopCloser(bytes.NewReader(data)))
		if (err != nil) != (m.fault.raised() != nil) {
			t.Errorf("restore: %v, but the peer's fault is %v", err, m.fault.raised())
		}
		return err
	}
	step := max(1, len(good)/40)
	for n := 0; n < len(good); n += step {
		bad := bytes.Clone(good)
		bad[n] ^= 0x01
		for what, data := range map[string][]byte{"cut": good[:n], "flipped": bad} {
			if err := try(data); err == nil {
				t.Fatalf("%s at %d: restored", what, n)
			}
			if st.Digest() != before {
				t.Fatalf("%s at %d: the state has changed", what, n)
			}
		}
	}
	check(t, try(archiveAt(t, 4, "older")))
	if st.Digest() != before {
		t.Error("an older snapshot took the state back")
	}
	check(t, try(good))
	if _, reloads := told.seen(); st.Applied() != 50 || reloads != 1 {
		t.Errorf("after a good one: index %d, %d reloads", st.Applied(), reloads)
	}
}

// small makes snapshots of every few entries, and keeps more than elections on a busy machine write.
func small() Options {
	o := quick
	o.SnapshotThreshold, o.TrailingLogs = 20, 40
	return o
}

// fillUntilCut commits until all logs have lost their start: any peer may lead next.
func (g *group) fillUntilCut(prefix string) {
	g.t.Helper()
	last := g.leader().st.Applied()
	i := 0
	until(g.t, "the logs to be cut", func() bool {
		g.must(g.leader(), pinOp(fmt.Sprintf("%s-%d", prefix, i)))
		i++
		return !slices.ContainsFunc(g.up(), func(n *node) bool {
			first, err := n.c.logs.FirstIndex()
			check(g.t, err)
			return first <= last+1
		})
	})
}

func TestConsensus_LaggingPeerCatchesUp(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 3, small())
	out := g.must(g.leader(), pinOp("gone"), pinOp("stays"))
	lagging := g.followers(g.leader())[0]
	lagging.stop()
	g.must(g.leader(), pinOp("by log"))
	lagging.start()
	g.same()
	if _, reloads := lagging.told.seen(); !lagging.has("by log") || reloads != 0 {
		t.Fatalf("by log: has it %v, %d reloads", lagging.has("by log"), reloads)
	}

	lagging.stop()
	g.must(g.leader(), unpinOp("gone", out[0].Index))
	g.fillUntilCut("a")
	lagging.start()
	g.same()
	if _, reloads := lagging.told.seen(); reloads == 0 {
		t.Error("no snapshot was restored")
	}
	if lagging.has("gone") || !lagging.has("stays") {
		t.Errorf("after the snapshot: removed pin %v, kept pin %v", lagging.has("gone"), lagging.has("stays"))
	}
	g.must(g.leader(), pinOp("after"))
	g.same()
	lagging.restart()
	g.same()
	if !lagging.has("after") {
		t.Error("a peer restored from a snapshot lost what came after")
	}
}

func TestConsensus_LogIsBoundedByBytes(t *testing.T) {
	t.Parallel()
	o := quick
	o.LogBytes = 256 << 10
	g := newGroup(t, 1, o)
	leader := g.leader()
	for i := range 40 { // 1.2 MB
		big := pinOp(fmt.Sprint(i))
		big.Pin.Metadata = map[string]string{"k": string(bytes.Repeat([]byte("x"), 10<<10))}
		g.must(leader, big, pinOp(fmt.Sprint("small", i)), pinOp(fmt.Sprint("tiny", i)))
	}
	until(t, "the log to be cut", func() bool {
		_, bytes := leader.c.logs.since(0)
		return bytes <= o.LogBytes
	})
	if _, err := leader.c.Commit(g.ctx(), []api.Op{pinOp("after")}); err != nil {
		t.Error(err)
	}
	leader.restart()
	g.leader()
	if got := leader.st.Stats().Pins; got != 121 {
		t.Errorf("after a restart there are %d pins, want 121", got)
	}
}

// A snapshot has come whole, and the process ends before it is restored.
func TestConsensus_CrashBetweenSnapshotAndRestore(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 3, small())
	lagging := g.followers(g.leader())[0]
	lagging.stop()
	g.fillUntilCut("a")
	leader := g.leader()
	g.copySnapshot(leader, lagging)
	check(t, lagging.open())
	if restore, err := lagging.c.restores(); err != nil || !restore {
		t.Errorf("a snapshot newer than the state is to be restored: %v %v", restore, err)
	}
	lagging.run()
	t.Cleanup(lagging.stop)
	g.must(leader, pinOp("after"))
	g.same()
	if _, reloads := lagging.told.seen(); reloads == 0 || !lagging.has("a-0") || !lagging.has("after") {
		t.Errorf("%d reloads, has a-0 %v, after %v", reloads, lagging.has("a-0"), lagging.has("after"))
	}
	lagging.restart() // the state is ahead of the snapshot now
	g.same()
	if _, reloads := lagging.told.seen(); reloads != 1 {
		t.Errorf("%d snapshots were restored in all, want 1", reloads)
	}
}

// copySnapshot gives the newest snapshot of from to a peer that does not run, as raft
// does on receipt.
func (g *group) copySnapshot(from, to *node) {
	g.t.Helper()
	m, err := from.c.snapshots.newest()
	check(g.t, err)
	meta, r, err := from.c.snapshots.Open(m.ID)
	check(g.t, err)
	defer r.Close()
	s, err := openSnapshots(filepath.Join(to.raftDir(), snapshotsDir), testLog(g.t))
	check(g.t, err)
	k, err := s.Create(1, meta.Index, meta.Term, meta.Configuration, meta.ConfigurationIndex, nil)
	check(g.t, err)
	n, err := io.Copy(k, r)
	check(g.t, err)
	if n != meta.Size {
		g.t.Errorf("snapshot has %d bytes, its size is said to be %d", n, meta.Size)
	}
	check(g.t, k.Close())
}

// The state loses what it had not synced, after the log was cut to a snapshot.
func TestConsensus_CrashAfterLogWasCut(t *testing.T) {
	t.Parallel()
	for name, empty := range map[string]bool{"state as at the snapshot": false, "no state at all": true} {
		t.Run(name, func(t *testing.T) {
			g := newGroup(t, 1, small())
			n := g.leader()
			g.fillUntilCut("a")
			g.must(n, pinOp("last"))
			want := n.st.Digest()
			m, err := n.c.snapshots.newest()
			check(t, err)
			_, r, err := n.c.snapshots.Open(m.ID)
			check(t, err)
			n.stop()
			check(t, os.RemoveAll(filepath.Join(n.dir, "state")))
			if !empty {
				st, err := state.Open(filepath.Join(n.dir, "state"), state.Options{}, testLog(t))
				check(t, err)
				dir, err := st.Incoming()
				check(t, err)
				a, err := openArchive(r)
				check(t, err)
				check(t, a.unpack(dir))
				check(t, st.Replace(dir))
				check(t, st.Close())
			}
			check(t, r.Close())
			n.start()
			g.leader()
			if got := n.st.Digest(); got.Pins != want.Pins {
				t.Errorf("digest %v, before the crash %v", got, want)
			}
		})
	}
}

func TestNew_RefusesWhatDoesNotBelongTogether(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(n *node) error{
		"the log is gone": func(n *node) error { return os.RemoveAll(n.raftDir()) },
		"the snapshots are gone": func(n *node) error {
			return os.RemoveAll(filepath.Join(n.raftDir(), snapshotsDir))
		},
		"a file of the journal is gone": func(n *node) error { return os.Remove(journalFile(n.raftDir(), 1)) },
		"the end of the log is gone": func(n *node) error {
			db, err := openBolt(n.raftDir())
			if err != nil {
				return err
			}
			last, err := db.LastIndex()
			return errors.Join(err, db.DeleteRange(last, last), db.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGroup(t, 1, small())
			n := g.leader()
			g.fillUntilCut("a")
			n.stop()
			check(t, damage(n))
			if err := n.open(); api.KindOf(err) != api.Conflict {
				t.Errorf("New: %v, want conflict", err)
			}
		})
	}
}

func TestRecover_OneSurvivorGoesOn(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 3, small())
	g.fillUntilCut("a")
	g.must(g.leader(), pinOp("last"))
	survivor := g.followers(g.leader())[0]
	g.same()
	for _, n := range slices.Clone(g.nodes) {
		n.stop()
	}
	if err := Bootstrap(survivor.raftDir(), survivor.id); api.KindOf(err) != api.Conflict {
		t.Errorf("Bootstrap over a log: %v, want conflict", err)
	}
	check(t, Recover(survivor.raftDir(), survivor.id))
	survivor.start()
	g.leader()
	g.must(survivor, pinOp("alone"))
	if !survivor.has("last") || !survivor.has("a-0") || len(survivor.c.Servers()) != 1 {
		t.Errorf("has last %v, a-0 %v; servers %v", survivor.has("last"), survivor.has("a-0"), survivor.c.Servers())
	}
	survivor.restart()
	g.must(g.leader(), pinOp("again"))
	if err := Recover(t.TempDir(), survivor.id); api.KindOf(err) != api.NotFound {
		t.Errorf("Recover of nothing: %v, want not found", err)
	}
}
