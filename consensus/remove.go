package consensus

import (
	"context"
	"time"

	"github.com/hashicorp/raft"

	"github.com/pinfold-cluster/pinfold/api"
)

// RemoveMember removes p, and with revoke commits that the cluster's key is to be renewed.
// P loses its vote first, and not before the other voters are able to agree without it:
// who is removed stops. What is left of it in raft's configuration once the removal is
// committed, every leader goes on to take out. It works on the leader, for another
// peer. The error is Conflict where p is the only peer, NotFound where it is none,
// Unavailable where p is not removed, Unknown where it may be.
func (c *Consensus) RemoveMember(ctx context.Context, p api.PeerID, revoke bool) error {
	if err := c.removable(p); err != nil {
		return err
	}
	if p == c.self {
		return api.Unavailable.Errorf("%s leads: another peer has to, to remove it", p)
	}
	c.voting.Lock()
	defer c.voting.Unlock()
	if err := c.excuse(ctx, p); err != nil {
		return api.Unavailable.Errorf("%s is not removed; try again: %w", p, err)
	}
	ops := []api.Op{{Type: api.OpRemove, Peer: p}}
	if revoke {
		ops = append(ops, api.Op{Type: api.OpOweKey})
	}
	if _, err := c.Commit(ctx, ops); err != nil {
		if api.KindOf(err) == api.Unknown {
			return api.Unknown.Errorf("%s may be removed or not; look with 'peers ls' before you try again: %w", p, err)
		}
		return err
	}
	if err := c.drop(ctx, p); err != nil {
		c.log.Info("a removed peer is still in raft's configuration", "peer", p, "err", err) // keepVoters goes on trying
	}
	return nil
}

// excuse takes the vote of p, once the other voters that answer are a quorum without it.
// Where they are not, a peer that has caught up gets a vote, or a voter that does not
// answer loses its.
func (c *Consensus) excuse(ctx context.Context, p api.PeerID) error {
	ctx, cancel := context.WithTimeout(ctx, c.o.NetworkTimeout)
	defer cancel()
	for {
		s, err := c.excusing(ctx, raft.ServerID(p.String()))
		if err != nil || s.kind == stepNone {
			return err
		}
		if err := c.carryOut(ctx, s); err != nil {
			return err
		}
	}
}

// excusing decides on the next step by who answers from now on. Only for want of answers
// anybody but id is given a vote or loses it. The error is Unavailable.
func (c *Consensus) excusing(ctx context.Context, id raft.ServerID) (step, error) {
	r, trans, err := c.running()
	if err != nil {
		return step{}, err
	}
	asked, late := time.Now(), time.After(c.o.HeartbeatTimeout)
	for waited := false; ; {
		if r.State() != raft.Leader {
			return step{}, errNotLeader()
		}
		_, answer := trans.progress.confirmations(nil, 0, asked)
		s, ok := c.council(r, trans, asked).without(id)
		switch {
		case ok && (waited || s.kind == stepNone || s.id == id):
			return s, nil
		case waited:
			return step{}, api.Unavailable.Errorf("too few voters answer for any change of them")
		}
		select {
		case <-answer:
		case <-late:
			waited = true
		case <-ctx.Done():
			return step{}, api.Unavailable.Errorf("waiting for the voters to answer: %w", ctx.Err())
		}
	}
}

// HandOver makes another peer lead, which gets a vote first where this one is the only
// voter. The error is Unavailable; then this peer may still lead.
func (c *Consensus) HandOver(ctx context.Context) error {
	c.voting.Lock()
	defer c.voting.Unlock()
	if err := c.makeHeir(ctx); err != nil {
		return api.Unavailable.Errorf("hand over leadership: %w", err)
	}
	r, trans, err := c.running()
	if err != nil {
		return err
	}
	for {
		err := c.handOver(ctx, r, trans)
		if err == nil || r.State() != raft.Leader {
			return nil
		}
		select {
		case <-time.After(c.o.CommitTimeout):
		case <-ctx.Done():
			return api.Unavailable.Errorf("hand over leadership: %w", err)
		}
	}
}

// removable tells whether the cluster can do without p.
func (c *Consensus) removable(p api.PeerID) error {
	servers := c.Servers()
	for _, s := range servers {
		if s.ID != p {
			continue
		}
		if len(servers) == 1 {
			return api.Conflict.Errorf("%s is the only peer of the cluster", p)
		}
		return nil
	}
	members, err := c.st.Members()
	if err != nil {
		return err
	}
	for _, m := range members {
		if m.ID == p {
			return nil
		}
	}
	return api.NotFound.Errorf("%s is not a member", p)
}

// drop takes p out of raft's configuration, if it is there.
func (c *Consensus) drop(ctx context.Context, p api.PeerID) error {
	return c.reconfigure(ctx, func(r *raft.Raft, now raft.Configuration, index uint64) raft.Future {
		for _, s := range now.Servers {
			if s.ID == raft.ServerID(p.String()) {
				return r.RemoveServer(s.ID, index, c.o.NetworkTimeout)
			}
		}
		return nil
	})
}

// RenewKey commits the cluster's next key. The log is sent to who is in raft's
// configuration, so the error is Unavailable while a removed peer is. It works on the
// leader, where nobody is admitted meanwhile. The error is Conflict where the key is not
// the next, or none is owed.
func (c *Consensus) RenewKey(ctx context.Context, k api.ClusterKey) error {
	for _, s := range c.Servers() {
		if c.st.Removed(s.ID) {
			if s.ID == c.self {
				return api.Unavailable.Errorf("this peer was removed itself: another has to lead")
			}
			if err := c.drop(ctx, s.ID); err != nil {
				return err
			}
		}
	}
	out, err := c.Commit(ctx, []api.Op{{Type: api.OpRenewKey, Key: &k}})
	if err == nil && out[0].Status != api.OpApplied {
		err = api.Conflict.Errorf("key %d of the cluster is not the next, or none is owed", k.Number)
	}
	return err
}

// makeHeir gives a vote to another peer where this one is the only voter.
func (c *Consensus) makeHeir(ctx context.Context) error {
	r, trans, err := c.running()
	if err != nil {
		return err
	}
	if others, _ := voters(r, c.self); len(others) > 0 {
		return nil
	}
	council := c.council(r, trans, c.lately())
	for _, s := range council.servers {
		if s.ready {
			return c.reconfigure(ctx, func(r *raft.Raft, _ raft.Configuration, index uint64) raft.Future {
				return r.AddVoter(s.id, raft.ServerAddress(s.id), index, c.o.NetworkTimeout)
			})
		}
	}
	return api.Unavailable.Errorf("no other peer has caught up to take over from %s", c.self)
}
