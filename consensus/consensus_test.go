package consensus

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

func TestConsensus_Replicates(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 3, quick)
	leader := g.leader()
	var ops []api.Op
	for i := range 700 {
		ops = append(ops, pinOp(fmt.Sprint(i)))
	}
	out := g.must(leader, ops...)
	if out[0].Index == out[699].Index || out[0].Index != out[255].Index {
		t.Errorf("700 changes went into entries %d, %d, %d: want 256 in each", out[0].Index, out[255].Index, out[699].Index)
	}
	for _, n := range g.nodes {
		if err := n.c.WaitApplied(g.ctx(), out[699].Index); err != nil {
			t.Fatal(err)
		}
		if got := n.st.Stats().Pins; got != 700 {
			t.Errorf("%s has %d pins, want 700", n.id, got)
		}
		var events []string
		until(t, "the listener to be told", func() bool { // it is, just after the state has it
			events, _ = n.told.seen()
			return len(events) >= 700
		})
		if want := fmt.Sprintf("track 699 %d", out[699].Index); len(events) != 700 || events[699] != want {
			t.Errorf("%s was told %d changes, last %q, want 700 and %q", n.id, len(events), events[len(events)-1], want)
		}
	}
	g.same()

	until(t, "a leader that all know", func() bool { // on a busy machine it may be another any time
		leader := g.leader()
		follower := g.followers(leader)[0]
		_, err := follower.c.Commit(g.ctx(), ops)
		p, leaderErr := follower.c.WaitLeader(g.ctx())
		return api.KindOf(err) == api.Unavailable && leaderErr == nil && p == leader.id &&
			follower.c.Role(leader.id) == "leader" && leader.c.Role(follower.id) == "voter"
	})
}

func TestConsensus_FailoverKeepsWhatWasAcknowledged(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 3, quick)
	for round := range 2 {
		leader := g.leader()
		started := make(chan struct{})
		done := make(chan []string)
		go func() { // writes until the leader is gone
			var acked []string
			for i := 0; ; i++ {
				if i == 50 {
					close(started)
				}
				name := fmt.Sprintf("%d-%d", round, i)
				if _, err := leader.c.Commit(context.Background(), []api.Op{pinOp(name)}); err != nil {
					break
				}
				acked = append(acked, name)
			}
			if len(acked) < 50 {
				close(started) // it lost its place by itself
			}
			done <- acked
		}()
		<-started
		leader.kill()
		acked := <-done
		next := g.leader()
		for _, name := range acked {
			if !next.has(name) {
				t.Fatalf("pin %s was acknowledged and is lost", name)
			}
		}
		g.m.heal()
		leader.start()
		g.same()
	}
}

func TestConsensus_RestartOfAll(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 3, quick)
	out := g.must(g.leader(), pinOp("a"), pinOp("b"))
	g.must(g.leader(), unpinOp("a", out[0].Index))
	for _, n := range g.nodes {
		n.stop()
	}
	for _, n := range g.nodes {
		n.start()
	}
	g.must(g.leader(), pinOp("c"))
	g.same()
	for _, n := range g.nodes {
		if n.has("a") || !n.has("b") || !n.has("c") {
			t.Errorf("%s: a %v, b %v, c %v, want only b and c", n.id, n.has("a"), n.has("b"), n.has("c"))
		}
	}
}

func TestConsensus_DecisionOfAnOldLeaderIsStale(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 3, quick)
	first := g.must(g.leader(), pinOp("a"))[0].Index
	old := g.leader()
	g.m.split(old.id, old.others()...)
	next := g.leaderOf(g.followers(old))
	second := g.must(next, api.Op{Type: api.OpPin, Pin: pinOp("a").Pin, Revision: first})[0].Index
	g.m.heal()
	g.same()

	// The old leader's decision, on the record as it was, reaches the log now.
	out, leader, _ := g.commit(g.leader(), unpinOp("a", first))
	if out[0].Status != api.OpStale {
		t.Errorf("an unpin decided on revision %d, now %d: %v, want stale", first, second, out)
	}
	if !leader.has("a") {
		t.Error("the stale unpin was applied")
	}
}

func TestConsensus_RetryIsAppliedOnce(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 3, quick)
	leader := g.leader()
	p := g.followers(leader)[0].id
	g.must(leader, api.Op{Type: api.OpSession, Peer: p, Session: 7})
	op := pinOp("a")
	op.Peer, op.Session, op.Seq, op.Acked = p, 7, 1, 1
	first := g.must(leader, op)[0].Index
	g.must(leader, unpinOp("a", first))

	leader.kill()
	g.m.heal()
	leader.start()
	out, _, _ := g.commit(g.leader(), op)
	if out[0] != (api.Outcome{Status: api.OpRepeated, Index: first}) {
		t.Errorf("a retry after a lost leader: %v, want repeated at %d", out, first)
	}
	g.same()
	for _, n := range g.nodes {
		if n.has("a") {
			t.Errorf("%s applied the retry", n.id)
		}
	}
}

func TestConsensus_CommitErrors(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 1, quick)
	leader := g.leader()
	big := pinOp("big")
	big.Pin.Metadata = map[string]string{"k": string(make([]byte, api.MaxRecordSize))}
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	for name, tc := range map[string]struct {
		ctx  context.Context
		ops  []api.Op
		want api.Kind
	}{
		"record too large": {g.ctx(), []api.Op{pinOp("a"), big}, api.TooLarge},
		"no CID":           {g.ctx(), []api.Op{{Type: api.OpPin, Pin: &api.Pin{}}}, api.Invalid},
		"unknown type":     {g.ctx(), []api.Op{{Type: 99}}, api.Unsupported},
		"context is over":  {gone, []api.Op{pinOp("b")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := leader.c.Commit(tc.ctx, tc.ops)
			kind := api.KindOf(err)
			if tc.want == "" && (kind == api.Unavailable || kind == api.Unknown || kind == "") {
				return // it may have been in time
			}
			if kind != tc.want {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
	if leader.has("a") {
		t.Error("a list with one bad change was applied in part")
	}
	leader.stop()
	if _, err := leader.c.Commit(g.ctx(), []api.Op{pinOp("c")}); api.KindOf(err) != api.Unavailable {
		t.Errorf("Commit after Run: %v, want unavailable", err)
	}
}

func TestConsensus_CutOffLeaderDoesNotRead(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 3, quick)
	leader := g.lead(func(leader *node) error {
		_, err := leader.c.ReadIndex(g.ctx())
		return err
	})
	g.m.split(leader.id, leader.others()...)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if i, err := leader.c.ReadIndex(ctx); api.KindOf(err) != api.Unavailable {
		t.Errorf("ReadIndex of a leader without a quorum: %d, %v, want unavailable", i, err)
	}
	out, err := leader.c.Commit(ctx, []api.Op{pinOp("a")})
	if k := api.KindOf(err); k != api.Unknown && k != api.Unavailable {
		t.Errorf("Commit without a quorum: %v, %v", out, err)
	}
	if err := leader.c.WaitApplied(ctx, 1<<40); api.KindOf(err) != api.Unavailable || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("WaitApplied of the far future: %v", err)
	}
	g.m.heal()
	g.same()
}
