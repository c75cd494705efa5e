package feed

import (
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/state"
)

// Three full peers and thirty followers, each with its host on loopback and its state on
// disk, a third of which leave and come back while pins go on.
func TestFollower_ThirtyComeAndGo(t *testing.T) {
	const followers = 30
	w := emptyWorld(t)
	w.beacon = 2 * time.Second // for 33 hosts of one process five a second are more work than all the rest
	for range 3 {
		w.addMember()
	}
	w.pin(0, 500)
	pins := 500
	more := func() {
		w.pin(pins, pins+3)
		pins += 3
	}
	var all []*follower
	for range followers {
		all = append(all, w.follow(FollowerOptions{Neighbours: 4})) // of 32: with 8 half the time goes into handshakes
		more()
	}
	w.same(all[:3]...)
	// Those that leave miss entries, some of them while they copy pages.
	away := rand.Perm(followers)[:followers/3]
	for _, i := range away {
		all[i].stop()
		more()
	}
	w.leader.Store(1)
	w.commit(edit{remove: []int{1, 2, 3}, put: []int{4}, name: "renamed"})
	for _, i := range away {
		all[i].start()
		more()
	}
	w.same(all...)
	for i, m := range w.members {
		if n := len(m.host.Guests()); n > w.rooms {
			t.Errorf("member %d has %d guests and %d rooms", i, n, w.rooms)
		}
		if a, b := m.st.Digest(), w.members[0].st.Digest(); a.Pins != b.Pins {
			t.Fatalf("member %d has another pinset: the test is wrong", i)
		}
	}
}

// firstSync has a follower take 100,000 pins from a full peer, between two hosts on
// loopback; interrupted says after how many it is to be stopped and started again, 0 for
// never. It returns the time it was running, and its state.
func firstSync(b *testing.B, w *world, interrupted uint64) (time.Duration, *state.State) {
	f := w.follow(FollowerOptions{})
	begin := time.Now()
	var took time.Duration
	if interrupted > 0 {
		eventually(b, "some pages are there", func() bool { return f.st.Stats().Pins >= interrupted })
		f.stop()
		took = time.Since(begin)
		if f.st.Applied() != 0 {
			b.Fatal("the copy was whole before it was interrupted")
		}
		begin = time.Now()
		f.start()
	}
	if err := f.Settled(b.Context()); err != nil {
		b.Fatal(err)
	}
	took += time.Since(begin)
	w.same(f)
	b.Cleanup(f.stop)
	return took, f.st
}

// BenchmarkFollowerFirstSync is a first copy of 100,000 pins, end to end: the follower's
// start, introductions, the full peer's tree, pages, and the follower's state on disk.
// Beside it stand what the same bytes take over a TCP connection on loopback, and what
// the same rows take to be written to a state.
func BenchmarkFollowerFirstSync(b *testing.B) {
	for _, c := range []struct {
		name        string
		interrupted uint64
	}{{"whole", 0}, {"interrupted", 40_000}} {
		b.Run(c.name, func(b *testing.B) {
			var sync, tcp, write time.Duration
			for b.Loop() {
				w := newWorld(b, 1)
				for i := 0; i < 100_000; i += 1000 {
					w.pin(i, i+1000)
				}
				took, st := firstSync(b, w, c.interrupted)
				sync += took
				t, d := limits(b, st)
				tcp, write = tcp+t, write+d
			}
			n := float64(b.N)
			b.ReportMetric(sync.Seconds()/n, "s-sync")
			b.ReportMetric(tcp.Seconds()/n, "s-tcp-alone")
			b.ReportMetric(write.Seconds()/n, "s-state-alone")
		})
	}
}

// limits are what the rows of st take over TCP, and to be written.
func limits(b *testing.B, st *state.State) (tcp, write time.Duration) {
	frozen, err := st.Freeze()
	check(b, err)
	defer frozen.Close()
	var rows []state.Row
	var bytes int
	for r, err := range frozen.Rows(b.Context(), nil, nil) {
		check(b, err)
		rows = append(rows, r)
		bytes += len(r.Cid.Bytes()) + len(r.Value)
	}
	begin := time.Now()
	overTCP(b, bytes)
	tcp = time.Since(begin)

	to := openState(b, b.TempDir())
	defer to.Close()
	begin = time.Now()
	for len(rows) > 0 {
		batch := to.NewBatch()
		n := min(len(rows), 3000)
		for _, r := range rows[:n] {
			check(b, batch.PutRow(r))
		}
		check(b, batch.CommitAt(0))
		rows = rows[n:]
	}
	check(b, to.Sync())
	return tcp, time.Since(begin)
}

// overTCP sends so many bytes over loopback.
func overTCP(b *testing.B, bytes int) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(b, err)
	defer l.Close()
	var g errgroup.Group
	g.Go(func() error {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write(make([]byte, bytes))
		return err
	})
	c, err := net.Dial("tcp", l.Addr().String())
	check(b, err)
	defer c.Close()
	n, err := io.Copy(io.Discard, c)
	check(b, err)
	check(b, g.Wait())
	if n != int64(bytes) {
		b.Fatalf("%d bytes of %d came", n, bytes)
	}
}
