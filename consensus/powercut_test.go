package consensus

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// sector is what a disk writes whole.
const sector = 512

// The power goes while an entry is being made durable: any of the sectors that were on
// their way into the journal are there or not, and any end of the state's own log is
// lost. All that was acknowledged before comes back, from the log, and the entry whole or
// not at all.
func TestConsensus_PowerCut(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 1, quick)
	n := g.leader()
	for i := range 60 {
		name := fmt.Sprint("pin", i)
		out := g.must(n, pinOp(name))
		if i%3 == 0 {
			g.must(n, unpinOp(name, out[0].Index))
		}
	}
	before, synced := n.st.Digest().Pins, n.onDisk()
	g.must(n, pinOp("on its way"))
	after, whole := n.st.Digest().Pins, n.onDisk()
	n.stop()

	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 1))
			dir := t.TempDir()
			check(t, os.CopyFS(dir, os.DirFS(synced)))
			for i := range 2 {
				tear(t, r, journalFile(filepath.Join(dir, "raft"), i), journalFile(filepath.Join(whole, "raft"), i))
			}
			logs, err := filepath.Glob(filepath.Join(dir, "state", "*", "*.log"))
			if err != nil || len(logs) == 0 {
				t.Fatalf("the state's logs: %v, %v", logs, err)
			}
			for _, l := range logs {
				st, err := os.Stat(l)
				check(t, err)
				check(t, os.Truncate(l, r.Int64N(st.Size()+1)))
			}
			again := &node{t: t, id: n.id, dir: dir, m: newMesh(), o: n.o, told: &recorder{}}
			check(t, again.open())
			lost := again.st.Applied()
			again.run()
			t.Cleanup(again.stop)
			(&group{t: t, m: again.m, nodes: []*node{again}}).leader()
			want := before
			if again.has("on its way") {
				want = after
			}
			if got := again.st.Digest().Pins; got != want {
				t.Errorf("digest %v after the cut, which left the state at %d, want %v", got, lost, want)
			}
		})
	}
}

// onDisk copies what the peer has on disk, with no write in progress.
func (n *node) onDisk() string {
	n.t.Helper()
	n.c.logs.writing.Lock()
	defer n.c.logs.writing.Unlock()
	n.c.logs.settling.Wait()
	dir := n.t.TempDir()
	check(n.t, os.CopyFS(dir, os.DirFS(n.dir)))
	return dir
}

// tear puts sectors of the file whole into file, each or not.
func tear(t *testing.T, r *rand.Rand, file, whole string) {
	t.Helper()
	old, err := os.ReadFile(file)
	check(t, err)
	fresh, err := os.ReadFile(whole)
	check(t, err)
	if len(old) != len(fresh) {
		t.Fatalf("%s has grown from %d to %d bytes", file, len(old), len(fresh))
	}
	for at := 0; at < len(old); at += sector {
		if r.IntN(2) == 0 {
			copy(old[at:min(at+sector, len(old))], fresh[at:])
		}
	}
	check(t, os.WriteFile(file, old, 0o600))
}
