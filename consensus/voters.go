package consensus

import (
	"context"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/pinfold-cluster/pinfold/api"
)

// caughtUp is how many entries a peer may lag and still be given a vote.
const caughtUp = 256

// A council is the leader's view of who takes part.
type council struct {
	servers []seat // least recently heard of first
	target  int    // how many should vote
	calm    bool   // it leads long enough to have heard of everyone who is there
}

type seat struct {
	id     raft.ServerID
	self   bool
	voter  bool
	near   bool // answers now
	ready  bool // answers, has no vote and has caught up
	silent bool // has not answered for Options.ReplaceAfter
	gone   bool // removed by a command
}

// A step is one change of the configuration.
type step struct {
	kind stepKind
	id   raft.ServerID
}

type stepKind int

const (
	stepNone stepKind = iota
	stepPromote
	stepDemote
	stepRemove
)

// keepVoters makes one step at a time, while this peer leads, until ctx ends.
func (c *Consensus) keepVoters(ctx context.Context, r *raft.Raft, trans *transport) error {
	tick := time.NewTicker(c.o.VoterInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if r.State() != raft.Leader {
			continue
		}
		if err := c.takeStep(ctx, r, trans); err != nil && ctx.Err() == nil {
			c.log.Warn("voters could not be changed", "err", err)
		}
	}
}

func (c *Consensus) takeStep(ctx context.Context, r *raft.Raft, trans *transport) error {
	if !c.voting.TryLock() {
		return nil // a member is being removed
	}
	defer c.voting.Unlock()
	s := c.council(r, trans, c.lately()).next()
	if s.kind == stepNone {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.o.NetworkTimeout)
	defer cancel()
	if s.kind == stepRemove && s.id == raft.ServerID(c.self.String()) {
		if err := c.makeHeir(ctx); err != nil {
			return err
		}
		return c.handOver(ctx, r, trans)
	}
	return c.carryOut(ctx, s)
}

// carryOut changes the configuration by one step.
func (c *Consensus) carryOut(ctx context.Context, s step) error {
	c.log.Info("voters change", "peer", s.id, "step", s.kind.String())
	return c.reconfigure(ctx, func(r *raft.Raft, _ raft.Configuration, index uint64) raft.Future {
		switch s.kind {
		case stepPromote:
			return r.AddVoter(s.id, raft.ServerAddress(s.id), index, c.o.NetworkTimeout)
		case stepDemote:
			return r.DemoteVoter(s.id, index, c.o.NetworkTimeout)
		default:
			return r.RemoveServer(s.id, index, c.o.NetworkTimeout)
		}
	})
}

func (k stepKind) String() string {
	return [...]string{"none", "promote", "demote", "remove"}[k]
}

// lately is since when a peer has answered that answers now.
func (c *Consensus) lately() time.Time { return time.Now().Add(-c.o.HeartbeatTimeout) }

// council looks at who takes part now, and who has answered since near.
func (c *Consensus) council(r *raft.Raft, trans *transport, near time.Time) council {
	term, last, now := r.CurrentTerm(), r.LastIndex(), time.Now()
	c.mu.Lock()
	since := c.since
	c.mu.Unlock()
	type heard struct {
		seat
		at time.Time
	}
	var all []heard
	for _, s := range r.GetConfiguration().Configuration().Servers {
		p, err := api.ParsePeerID(string(s.ID))
		match, at := trans.progress.view(s.ID, term)
		h := heard{at: at, seat: seat{id: s.ID, self: p == c.self, voter: s.Suffrage == raft.Voter,
			near: at.After(near),
			gone: err == nil && c.st.Removed(p)}}
		if h.self {
			h.near, h.at = true, now
		}
		if at.IsZero() {
			at = since
		}
		h.silent = !h.self && !since.IsZero() && now.Sub(at) > c.o.ReplaceAfter
		h.ready = h.near && !h.voter && !h.gone && match+caughtUp >= last
		all = append(all, h)
	}
	slices.SortStableFunc(all, func(a, b heard) int { return a.at.Compare(b.at) })
	v := council{target: odd(min(c.o.Voters, len(all))), calm: !since.IsZero() && now.Sub(since) > 2*c.o.HeartbeatTimeout}
	for _, h := range all {
		v.servers = append(v.servers, h.seat)
	}
	return v
}

// odd rounds down to an odd number, at least 1.
func odd(n int) int { return max(1, n-(n+1)%2) }

// next decides on a step. Nobody is removed but by a command; a vote is taken from
// nobody while it would leave fewer than there should be; nothing is done while the
// voters that answer are no quorum, as no change could be agreed on.
func (v council) next() step {
	var voters, near, ready int
	for _, s := range v.servers {
		voters += count(s.voter)
		near += count(s.voter && s.near)
		ready += count(s.ready)
	}
	if !v.calm || near < voters/2+1 {
		return step{}
	}
	if s, ok := v.first(func(s seat) bool { return s.gone }); ok {
		if first, ok := v.without(s.id); ok && first.kind != stepNone && !s.self {
			return first
		}
		return step{stepRemove, s.id}
	}
	if voters > v.target {
		return v.demote()
	}
	silent, replace := v.first(func(s seat) bool { return s.voter && s.silent })
	heir, ok := v.first(func(s seat) bool { return s.ready })
	switch {
	case voters < v.target && ok && (voters%2 == 0 || ready >= 2):
		// From an odd number, two at least: an even one stands no more crashes than the
		// odd one below, and needs more to be up.
		return step{stepPromote, heir.id}
	case voters == v.target && replace && silent.id != "" && ok:
		return step{stepPromote, heir.id} // then there is one too many, and the silent one goes
	}
	return step{}
}

// without decides on the next step of taking id's vote, none where it has none. It tells
// false where no step can be agreed on.
func (v council) without(id raft.ServerID) (s step, ok bool) {
	var voters, near, others, nearOthers int
	for _, s := range v.servers {
		voters += count(s.voter)
		near += count(s.voter && s.near)
		others += count(s.voter && s.id != id)
		nearOthers += count(s.voter && s.near && s.id != id)
	}
	if voters == others {
		return step{}, true
	}
	if nearOthers >= others/2+1 {
		return step{stepDemote, id}, true
	}
	if near < voters/2+1 {
		return step{}, false
	}
	if heir, ok := v.first(func(s seat) bool { return s.ready }); ok {
		return step{stepPromote, heir.id}, true
	}
	if late, ok := v.first(func(s seat) bool { return s.voter && !s.near && s.id != id }); ok {
		return step{stepDemote, late.id}, true
	}
	return step{}, false
}

// demote picks who loses the vote: who has been silent longest, never the leader.
func (v council) demote() step {
	s, ok := v.first(func(s seat) bool { return s.voter && !s.self })
	if !ok {
		return step{}
	}
	return step{stepDemote, s.id}
}

func (v council) first(f func(seat) bool) (seat, bool) {
	i := slices.IndexFunc(v.servers, f)
	if i < 0 {
		return seat{}, false
	}
	return v.servers[i], true
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}
