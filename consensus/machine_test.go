package consensus

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/state"
)

// A bench is a machine over a state of its own, fed by hand.
type bench struct {
	t    testing.TB
	m    *machine
	told *recorder
	at   uint64
}

func newBench(t testing.TB) *bench {
	t.Helper()
	st, err := state.Open(t.TempDir(), state.Options{}, testLog(t))
	check(t, err)
	t.Cleanup(func() { st.Close() })
	told := &recorder{}
	return &bench{t: t, told: told, m: &machine{st: st, listener: told, fault: newFault(), applied: func(uint64) {}}}
}

// entry makes the next entry of the log.
func (b *bench) entry(ops ...api.Op) *raft.Log {
	b.at++
	return entryAt(b.t, b.at, ops...)
}

func entryAt(t testing.TB, index uint64, ops ...api.Op) *raft.Log {
	var parts [][]byte
	for _, op := range ops {
		parts = append(parts, encoded(t, op))
	}
	return &raft.Log{Index: index, Term: 1, Type: raft.LogCommand, Data: joinOps(parts)}
}

func (b *bench) apply(ops ...api.Op) []api.Outcome {
	return b.m.Apply(b.entry(ops...)).([]api.Outcome)
}

func (b *bench) want(what string, status api.OpStatus, ops ...api.Op) {
	b.t.Helper()
	if got := b.apply(ops...); got[len(got)-1].Status != status {
		b.t.Errorf("%s: status %d, want %d", what, got[len(got)-1].Status, status)
	}
}

func inSession(op api.Op, p api.PeerID, session, seq, acked uint64) api.Op {
	op.Peer, op.Session, op.Seq, op.Acked = p, session, seq, acked
	return op
}

func TestMachine_Sessions(t *testing.T) {
	b := newBench(t)
	p := fixedID("p")
	b.want("before its session", api.OpNoSession, inSession(pinOp("a"), p, 1, 1, 1))
	b.want("session", api.OpApplied, api.Op{Type: api.OpSession, Peer: p, Session: 1})
	b.want("first", api.OpApplied, inSession(pinOp("a"), p, 1, 1, 1))
	b.want("same session again", api.OpApplied, api.Op{Type: api.OpSession, Peer: p, Session: 1})
	if got := b.apply(inSession(pinOp("a"), p, 1, 1, 1)); got[0] != (api.Outcome{Status: api.OpRepeated, Index: 3}) {
		t.Errorf("retry: %+v, want repeated at 3", got[0])
	}
	b.want("stale", api.OpStale, inSession(pinOp("a"), p, 1, 2, 1))
	fixed := inSession(pinOp("a"), p, 1, 2, 2)
	fixed.Revision = 3
	b.want("decided again under the same number", api.OpApplied, fixed)
	b.want("below what is answered", api.OpAnswered, inSession(pinOp("c"), p, 1, 1, 2))
	b.want("twice in one entry", api.OpRepeated, inSession(pinOp("d"), p, 1, 3, 2), inSession(pinOp("d"), p, 1, 3, 2))
	b.want("next session", api.OpApplied, api.Op{Type: api.OpSession, Peer: p, Session: 2})
	b.want("in the old one", api.OpNoSession, inSession(pinOp("e"), p, 1, 4, 2))
	b.want("the old one again", api.OpNoSession, api.Op{Type: api.OpSession, Peer: p, Session: 1})
	b.want("removed", api.OpApplied, api.Op{Type: api.OpRemove, Peer: p})
	b.want("after it was removed", api.OpNoSession, inSession(pinOp("f"), p, 2, 1, 1))
	b.want("session of a removed peer", api.OpNoSession, api.Op{Type: api.OpSession, Peer: p, Session: 3})
}

func TestMachine_Revisions(t *testing.T) {
	b := newBench(t)
	b.want("new", api.OpApplied, pinOp("a"))
	b.want("new, but there is one", api.OpStale, pinOp("a"))
	b.want("unpin on another revision", api.OpStale, unpinOp("a", 9))
	b.want("unpin", api.OpApplied, unpinOp("a", 1))
	b.want("unpin of nothing", api.OpApplied, unpinOp("a", 0))
	b.want("unpin of nothing, decided on something", api.OpStale, unpinOp("a", 1))
	b.want("pin and unpin in one entry", api.OpApplied, pinOp("b"), unpinOp("b", 7))
	events, _ := b.told.seen()
	if want := []string{"track a 1", "untrack a 1", "track b 7", "untrack b 7"}; !slices.Equal(events, want) {
		t.Errorf("told %q, want %q", events, want)
	}
}

func TestMachine_Credentials(t *testing.T) {
	b := newBench(t)
	p, q := fixedID("p"), fixedID("q")
	b.want("first", api.OpApplied, join(p, "one"))
	b.want("same peer again", api.OpApplied, join(p, "one"))
	b.want("another peer", api.OpUsed, join(q, "one"))
	b.want("two with one in an entry", api.OpUsed, join(q, "two"), join(p, "two"))
	b.want("renewed without", api.OpApplied, join(p, ""))
	b.want("removed", api.OpApplied, api.Op{Type: api.OpRemove, Peer: p})
	b.want("removed, without", api.OpUsed, join(p, ""))
	b.want("removed, with its old one", api.OpUsed, join(p, "one"))
	b.want("removed, with another's", api.OpUsed, join(p, "two"))
	b.want("removed, with a fresh one", api.OpApplied, join(p, "three"))
	b.want("and asking again", api.OpApplied, join(p, "three"))
	b.want("removed and back in one entry with what it used in it", api.OpUsed,
		join(p, "four"), api.Op{Type: api.OpRemove, Peer: p}, join(p, "four"))
	if members, err := b.m.st.Members(); err != nil || len(members) != 1 || members[0].ID != q {
		t.Errorf("members %v %v, want only %s", members, err, q)
	}
}

func TestMachine_Revocations(t *testing.T) {
	b := newBench(t)
	revoke := func(text string, expires, now int64) api.Op {
		return api.Op{Type: api.OpRevoke, Credential: []byte(text), Expires: expires, Time: now}
	}
	b.want("first", api.OpApplied, revoke("a", 100, 10))
	b.want("again", api.OpApplied, revoke("a", 100, 10), revoke("b", 20, 10))
	for text, want := range map[string]bool{"a": true, "b": true, "c": false} {
		if got := b.m.st.Used([]byte(text)); got != want {
			t.Errorf("%s is used up: %v, want %v", text, got, want)
		}
	}
	b.want("nobody joins with it", api.OpUsed, join(fixedID("p"), "a"))
	b.want("later", api.OpApplied, revoke("c", 100, 21))
	if b.m.st.Used([]byte("b")) || !b.m.st.Used([]byte("a")) {
		t.Error("b, which has ended, is kept, or a, which has not, is forgotten")
	}
}

func renewKey(number uint64) api.Op {
	return api.Op{Type: api.OpRenewKey, Key: &api.ClusterKey{Number: number, Private: []byte{byte(number)}}}
}

// under is a join decided under the cluster's key with this number.
func under(number uint64, op api.Op) api.Op {
	op.KeyNumber = number
	return op
}

func TestMachine_RenewsTheKey(t *testing.T) {
	b := newBench(t)
	owe := api.Op{Type: api.OpOweKey}
	p, q, r := fixedID("p"), fixedID("q"), fixedID("r")
	b.want("member", api.OpApplied, join(p, "one"))
	b.want("not owed", api.OpStale, renewKey(1))
	b.want("owed", api.OpApplied, owe)
	b.want("nobody comes while it is owed", api.OpStale, join(q, "two"))
	b.want("nor without a credential", api.OpStale, join(q, ""))
	b.want("but members renew their records", api.OpApplied, join(p, ""))
	b.want("not the next", api.OpStale, renewKey(2))
	b.want("the next", api.OpApplied, renewKey(1))
	b.want("once", api.OpStale, renewKey(1))
	if k := b.m.st.Key(); k.Number != 1 || k.Owed || string(k.Private) != "\x01" {
		t.Errorf("key %+v", k)
	}
	b.want("decided under the first key", api.OpStale, join(q, "two"))
	b.want("decided under the new one", api.OpApplied, under(1, join(q, "two")))
	b.want("the secret admits nobody any more", api.OpStale, under(1, join(r, "")))
	b.want("the next after it", api.OpApplied, owe, renewKey(2))
	if shown := fmt.Sprintf("%v %+v %x %q", b.m.st.Key(), renewKey(7).Key, b.m.st.Key().Private, b.m.st.Key().Private); strings.Count(shown, "(private key)") != 4 {
		t.Errorf("a private key shows: %s", shown)
	}
}

// However raft cuts its batches, and wherever a peer was restarted, the state is the same.
func TestD02_SameStateHoweverBatched(t *testing.T) {
	p := fixedID("p")
	var logs []*raft.Log
	index := uint64(0)
	for i := range 1500 {
		index++
		if i%7 == 3 {
			index++ // an entry that raft keeps to itself
		}
		name := fmt.Sprint(i % 50)
		ops := []api.Op{pinOp(name), unpinOp(fmt.Sprint((i+9)%50), index-uint64(i%13)), inSession(pinOp(name+"s"), p, 1, uint64(i+1), uint64(i/2))}
		switch i {
		case 0:
			ops = []api.Op{{Type: api.OpSession, Peer: p, Session: 1}}
		case 500, 900:
			ops = append(ops, join(fixedID("q"), "credential"), api.Op{Type: api.OpRemove, Peer: fixedID("q")})
		case 600, 601:
			ops = append(ops, api.Op{Type: api.OpOweKey})
		case 602, 603, 700:
			ops = append(ops, renewKey(1), join(fixedID("q"), "another"))
		}
		logs = append(logs, entryAt(t, index, ops...))
		if i%100 == 50 {
			index++
			logs = append(logs, &raft.Log{Index: index, Type: raft.LogConfiguration})
		}
	}
	one := newBench(t)
	var want []any
	for _, l := range logs {
		want = append(want, one.m.Apply(l))
	}
	for _, size := range []int{7, 256, len(logs)} {
		b := newBench(t)
		var got []any
		for i := 0; i < len(logs); i += size {
			batch := logs[i:min(i+size, len(logs))]
			got = append(got, b.m.ApplyBatch(batch)...)
			again := b.m.ApplyBatch(batch) // as after a restart: changes nothing
			if i == 0 && len(again) != len(batch) {
				t.Fatalf("%d answers to %d entries", len(again), len(batch))
			}
		}
		for i, g := range got {
			if !reflect.DeepEqual(g, want[i]) && len(g.([]api.Outcome)) > 0 {
				t.Fatalf("batches of %d, entry %d: %v, want %v", size, i, g, want[i])
			}
		}
		if a, c := one.m.st.Digests(), b.m.st.Digests(); len(a) == 0 || !slices.Equal(a, c) {
			t.Errorf("batches of %d: digests %v, want %v", size, c, a)
		}
		if a, c := one.m.st.Digest(), b.m.st.Digest(); a != c {
			t.Errorf("batches of %d: digest %v, want %v", size, c, a)
		}
	}
}

func TestMachine_RepeatedEntryIsAnsweredAsBefore(t *testing.T) {
	b := newBench(t)
	p := fixedID("p")
	logs := []*raft.Log{
		b.entry(api.Op{Type: api.OpSession, Peer: p, Session: 1}),
		b.entry(inSession(pinOp("a"), p, 1, 1, 1), pinOp("b"), join(p, "c")),
		b.entry(inSession(pinOp("a"), p, 1, 1, 1), inSession(pinOp("b"), p, 1, 2, 1), unpinOp("x", 0)),
		b.entry(api.Op{Type: api.OpRemove, Peer: fixedID("q")}),
	}
	first := b.m.ApplyBatch(logs)
	before := b.m.st.Digest()
	if again := b.m.ApplyBatch(logs); !reflect.DeepEqual(first, again) {
		t.Errorf("again: %v, first: %v", again, first)
	}
	if events, _ := b.told.seen(); len(events) != 2 || b.m.st.Digest() != before {
		t.Errorf("told %q, digest changed %v", events, b.m.st.Digest() != before)
	}
}

func TestMachine_UnknownEntryEndsThePeer(t *testing.T) {
	for name, data := range map[string][]byte{"later version": {2, 0x80}, "garbage": {1, 0xff}, "empty": {}} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			go b.m.Apply(&raft.Log{Index: 1, Type: raft.LogCommand, Data: data}) // does not return
			select {
			case <-b.m.fault.done:
			case <-time.After(patience):
				t.Fatal("the entry was passed over")
			}
			if b.m.st.Applied() != 0 {
				t.Error("the state has moved on")
			}
		})
	}
}
