package consensus

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/pinfold-cluster/pinfold/api"
)

func testPart(ops, size int) *part {
	p := &part{done: make(chan struct{}), size: size}
	for range ops {
		p.ops = append(p.ops, nil)
	}
	return p
}

func TestQueue_FillsEntriesInOrder(t *testing.T) {
	q := newQueue()
	all := []*part{testPart(200, 100), testPart(56, 100), testPart(1, 100), testPart(1, maxEntryBytes), testPart(1, 1), testPart(256, 10)}
	gone := testPart(1, 1)
	for i, p := range all {
		if i == 1 {
			q.parts <- gone
		}
		q.parts <- p
	}
	if !gone.withdraw() {
		t.Fatal("a waiting part could not be withdrawn")
	}
	want := []int{2, 1, 1, 1, 1} // parts in each entry
	at := 0
	for i, n := range want {
		got := q.next(t.Context())
		if len(got) != n {
			t.Fatalf("entry %d has %d parts, want %d", i, len(got), n)
		}
		for _, p := range got {
			if p != all[at] {
				t.Fatalf("entry %d: out of order", i)
			}
			if p.withdraw() {
				t.Error("a part was withdrawn from an entry")
			}
			at++
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if got := q.next(ended); got != nil {
		t.Errorf("an empty queue gave %d parts", len(got))
	}
}

func TestEntryError_SaysWhetherItHappened(t *testing.T) {
	for err, want := range map[error]api.Kind{
		raft.ErrNotLeader:                    api.Unavailable,
		raft.ErrEnqueueTimeout:               api.Unavailable,
		raft.ErrLeadershipTransferInProgress: api.Unavailable,
		raft.ErrLeadershipLost:               api.Unknown,
		raft.ErrRaftShutdown:                 api.Unknown,
		context.Canceled:                     api.Unknown,
	} {
		if got := api.KindOf(entryError(err)); got != want {
			t.Errorf("%v: %v, want %v", err, got, want)
		}
	}
}

// Callers that write at the same time share entries, and each gets its own outcomes.
func TestConsensus_CallersShareEntries(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 1, quick) // which goes on leading
	leader := g.leader()
	g.must(leader, pinOp("taken"))
	var mu sync.Mutex
	entries := map[uint64]int{}
	var callers sync.WaitGroup
	for i := range 400 {
		callers.Go(func() {
			ops := []api.Op{pinOp(fmt.Sprint(i)), pinOp("taken")}
			out, err := leader.c.Commit(g.ctx(), ops)
			if err != nil || len(out) != 2 || out[0].Status != api.OpApplied || out[1].Status != api.OpStale {
				t.Errorf("caller %d: %v %v, want applied and stale", i, out, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			entries[out[0].Index]++
		})
	}
	callers.Wait()
	if len(entries) > 300 {
		t.Errorf("400 callers took %d entries", len(entries))
	}
	t.Logf("400 callers took %d entries", len(entries))
}

func TestLogSizes(t *testing.T) {
	var s logSizes
	for i := uint64(5); i <= 10; i++ {
		s.add(i, int64(i)) // 5 to 10, 45 bytes
	}
	type view struct {
		entries uint64
		bytes   int64
	}
	since := func(i uint64) view {
		n, b := s.since(i)
		return view{n, b}
	}
	for _, tc := range []struct {
		what string
		got  any
		want any
	}{
		{"since 0", since(0), view{6, 45}},
		{"since 8", since(8), view{2, 19}},
		{"since 10", since(10), view{}},
		{"trailing 0", s.trailing(0), uint64(0)},
		{"trailing 18", s.trailing(18), uint64(1)},
		{"trailing 19", s.trailing(19), uint64(2)},
		{"trailing all", s.trailing(1000), uint64(6)},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: %v, want %v", tc.what, tc.got, tc.want)
		}
	}
	s.remove(1, 6)
	if got := since(0); got != (view{4, 34}) {
		t.Errorf("without its head: %v", got)
	}
	s.remove(9, 10)
	if got := since(0); got != (view{2, 15}) || s.trailing(8) != 1 {
		t.Errorf("without its tail: %v", got)
	}
	s.add(9, 100)
	if got := since(8); got != (view{1, 100}) {
		t.Errorf("with another tail: %v", got)
	}
	s.add(50, 3)
	if got := since(0); got != (view{1, 3}) {
		t.Errorf("begun afresh: %v", got)
	}
	s.remove(50, 50)
	s.add(60, 4)
	if got := since(0); got != (view{1, 4}) {
		t.Errorf("emptied and begun afresh: %v", got)
	}
}
