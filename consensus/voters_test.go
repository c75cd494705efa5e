package consensus

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/pinfold-cluster/pinfold/api"
)

// seats reads a council: a word for each peer, least recently heard of first. In it V
// votes, n does not, and then: * the leader, + answers and has caught up, - silent for
// long, . lags or is just late, x removed.
func seats(target int, text string) council {
	v := council{target: target, calm: true}
	for i, w := range strings.Fields(text) {
		s := seat{id: raft.ServerID(fmt.Sprint(i)), voter: w[0] == 'V'}
		switch w[1] {
		case '*':
			s.self, s.near = true, true
		case '+':
			s.near, s.ready = true, !s.voter
		case '-':
			s.silent = true
		case 'x':
			s.near, s.gone = true, true
		}
		v.servers = append(v.servers, s)
	}
	return v
}

func TestCouncil_Next(t *testing.T) {
	for name, tc := range map[string]struct {
		target int
		peers  string
		want   step
	}{
		"alone":                                   {1, "V*", step{}},
		"one other stays without a vote":          {1, "n+ V*", step{}},
		"two others: the first of them":           {3, "n+ n+ V*", step{stepPromote, "0"}},
		"two others: the second":                  {3, "n+ V+ V*", step{stepPromote, "0"}},
		"one of two others lags":                  {3, "n. n+ V*", step{}},
		"settled at three":                        {3, "n+ V+ V+ V*", step{}},
		"a fourth and fifth":                      {5, "n+ n+ V+ V+ V*", step{stepPromote, "0"}},
		"fewer peers than before":                 {3, "V+ V+ V+ V*", step{stepDemote, "0"}},
		"too many: the silent one goes":           {3, "V- V+ V+ V*", step{stepDemote, "0"}},
		"a silent voter, and somebody for it":     {3, "V- n+ V+ V*", step{stepPromote, "1"}},
		"a silent voter, and nobody for it":       {3, "V- n. V+ V*", step{}},
		"a voter that is late only":               {3, "V. n+ V+ V*", step{}},
		"no quorum answers":                       {3, "V- V- n+ V*", step{}},
		"no quorum of five":                       {5, "V- V. V- n+ V+ V*", step{}},
		"removed by a command: first the vote":    {3, "Vx n+ V+ V*", step{stepDemote, "0"}},
		"removed without a vote":                  {1, "nx V*", step{stepRemove, "0"}},
		"never the leader, though heard of first": {1, "V* V+", step{stepDemote, "1"}},
		"even after a lost heir: the next one":    {3, "n- n+ V+ V*", step{stepPromote, "1"}},
		"even, and nobody to make it odd":         {3, "n- V+ V*", step{}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := seats(tc.target, tc.peers).next(); got != tc.want {
				t.Errorf("%s, target %d: %v %s, want %v %s", tc.peers, tc.target, got.kind, got.id, tc.want.kind, tc.want.id)
			}
			early := seats(tc.target, tc.peers)
			early.calm = false
			if got := early.next(); got.kind != stepNone {
				t.Errorf("a leader that has just begun: %v", got.kind)
			}
		})
	}
	for n, want := range map[int]int{0: 1, 1: 1, 2: 1, 3: 3, 4: 3, 5: 5, 6: 5} {
		if got := odd(n); got != want {
			t.Errorf("odd(%d) = %d, want %d", n, got, want)
		}
	}
}

// Who has a vote and is to go is always the first.
func TestCouncil_Without(t *testing.T) {
	for name, tc := range map[string]struct {
		peers string
		want  step
		ok    bool
	}{
		"it has no vote":                          {"n+ V+ V+ V*", step{}, true},
		"the others answer":                       {"V+ V+ V*", step{stepDemote, "0"}, true},
		"enough of the others answer":             {"V+ V- V+ V+ V*", step{stepDemote, "0"}, true},
		"it does not answer itself":               {"V- V+ V*", step{stepDemote, "0"}, true},
		"another voter is away: an heir first":    {"V+ V- n+ V*", step{stepPromote, "2"}, true},
		"with the heir it can go":                 {"V+ V- V+ V*", step{stepDemote, "0"}, true},
		"another is away, and nobody for it":      {"V+ V. n. V*", step{stepDemote, "1"}, true},
		"without the one that was away it can go": {"V+ n- n. V*", step{stepDemote, "0"}, true},
		"two of five are away: one of them first": {"V+ V- V- V+ V*", step{stepDemote, "1"}, true},
		"no quorum answers":                       {"V- V- n+ V*", step{}, false},
		"the only voter":                          {"V*", step{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got, ok := seats(3, tc.peers).without("0"); got != tc.want || ok != tc.ok {
				t.Errorf("%s: %v %s %t, want %v %s %t", tc.peers, got.kind, got.id, ok, tc.want.kind, tc.want.id, tc.ok)
			}
		})
	}
}

func TestConsensus_SettlesAtAnOddNumberOfVoters(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 4, quick) // settles at 3
	g.join(newNode(t, g.m, quick))
	g.join(newNode(t, g.m, quick))
	g.settle(5)
	g.must(g.leader(), pinOp("a"))
	g.same()
	leader := g.leader()
	// It stays so.
	for range 5 {
		<-time.After(quick.VoterInterval)
		n := 0
		for _, s := range leader.c.Servers() {
			n += count(s.Voter)
		}
		if n != 5 {
			t.Errorf("%d voters of 6 peers, want 5", n)
		}
	}
}

func TestConsensus_ReplacesASilentVoter(t *testing.T) {
	t.Parallel()
	o := quick
	o.ReplaceAfter = 2 * time.Second
	g := newGroup(t, 4, o)
	leader := g.leader()
	var silent *node
	for _, n := range g.followers(leader) {
		if leader.c.Role(n.id) == "voter" {
			silent = n
		}
	}
	silent.kill()
	until(t, "the silent voter to be replaced", func() bool {
		leader := g.leader()
		n := 0
		for _, s := range leader.c.Servers() {
			n += count(s.Voter)
		}
		return n == 3 && leader.c.Role(silent.id) == "non-voter"
	})
	g.must(g.leader(), pinOp("a"))
	g.m.heal()
	silent.start()
	g.same()
	if !silent.has("a") {
		t.Error("the one that came back did not catch up")
	}
}

func TestConsensus_RemoveMember(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 3, quick)
	gone := g.followers(g.leader())[0]
	g.must(g.leader(), api.Op{Type: api.OpSession, Peer: gone.id, Session: 5})
	g.lead(func(leader *node) error {
		err := leader.c.RemoveMember(g.ctx(), newPeerID(t), false)
		if api.KindOf(err) == api.NotFound {
			return nil
		}
		return errors.Join(err, errors.New("removing a stranger: want not found"))
	})
	leader := g.remove(gone.id)
	if _, _, ok := leader.st.Session(gone.id); ok || !leader.st.Removed(gone.id) {
		t.Error("the removed peer has a session, or is not remembered as removed")
	}
	if got := leader.c.Role(gone.id); got != "" {
		t.Errorf("role of the removed: %q", got)
	}
	gone.stop()
	g.settle(1)

	// Now the leader itself, which is the only voter.
	leader = g.leader()
	other := g.followers(leader)[0]
	if err := leader.c.RemoveMember(g.ctx(), leader.id, false); api.KindOf(err) != api.Unavailable {
		t.Errorf("the leader removes itself: %v, want unavailable", err)
	}
	check(t, leader.c.HandOver(g.ctx()))
	if next := g.leader(); next != other {
		t.Fatalf("%s leads, which has handed over", next.id)
	}
	check(t, other.c.RemoveMember(g.ctx(), leader.id, false))
	if role := other.c.Role(other.id); role != "leader" || other.c.Role(leader.id) != "" {
		t.Errorf("who stays is %q, who was removed %q", role, other.c.Role(leader.id))
	}
	leader.stop()
	g.must(other, pinOp("a"))
	if err := other.c.RemoveMember(g.ctx(), other.id, false); api.KindOf(err) != api.Conflict {
		t.Errorf("removing the last peer: %v, want conflict", err)
	}
}

// A voter is removed, and stops, while another one is away: those that stay go on.
func TestConsensus_RemovesAVoterWhileAnotherIsAway(t *testing.T) {
	t.Parallel()
	for n, name := range map[int]string{3: "nobody takes the place", 4: "a fourth takes the place"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGroup(t, n, quick)
			var voters []*node
			until(t, "a leader and two more that vote", func() bool {
				leader := g.leader()
				voters = slices.DeleteFunc(g.followers(leader), func(f *node) bool { return leader.c.Role(f.id) != "voter" })
				return len(voters) == 2
			})
			gone, away := voters[0], voters[1]
			away.kill()
			g.remove(gone.id)
			gone.stop()
			g.must(g.leader(), pinOp("a"))
			g.same()
			g.m.heal()
			away.start()
			g.same()
			if !away.has("a") {
				t.Error("who was away did not catch up")
			}
		})
	}
}

// Where too few voters answer nobody is removed, and the error says so.
func TestConsensus_RemovesNobodyWithoutAQuorum(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 3, quick)
	leader := g.leader()
	others := g.followers(leader)
	for _, o := range others {
		o.kill()
	}
	err := leader.c.RemoveMember(g.ctx(), others[0].id, false)
	if api.KindOf(err) != api.Unavailable || leader.st.Removed(others[0].id) {
		t.Errorf("%v (%s), removed %t: want unavailable, and nobody removed", err, api.KindOf(err), leader.st.Removed(others[0].id))
	}
	g.m.heal()
	for _, o := range others {
		o.start()
	}
	g.must(g.leader(), pinOp("a"))
	g.same()
	if g.leader().st.Removed(others[0].id) {
		t.Error("the peer was removed all the same")
	}
}
