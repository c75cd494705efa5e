package consensus

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/pinfold-cluster/pinfold/api"
)

// Server is a peer in raft's configuration.
type Server struct {
	ID    api.PeerID
	Voter bool
	// LastContact is when it last answered this peer, known on the leader only.
	LastContact time.Time
}

// Servers lists the peers that take part, as this peer knows them.
func (c *Consensus) Servers() []Server {
	r, trans, err := c.running()
	if err != nil {
		return nil
	}
	term, leads := r.CurrentTerm(), r.State() == raft.Leader
	var out []Server
	for _, s := range r.GetConfiguration().Configuration().Servers {
		p, err := api.ParsePeerID(string(s.ID))
		if err != nil {
			continue // never written by us
		}
		server := Server{ID: p, Voter: s.Suffrage == raft.Voter}
		switch {
		case leads && p == c.self:
			server.LastContact = time.Now()
		case leads:
			_, server.LastContact = trans.progress.view(s.ID, term)
		}
		out = append(out, server)
	}
	return out
}

// Role tells what p is: "leader", "voter", "non-voter", or "" for a stranger.
func (c *Consensus) Role(p api.PeerID) string {
	for _, s := range c.Servers() {
		if s.ID != p {
			continue
		}
		switch leader, ok := c.Leader(); {
		case ok && leader == p:
			return "leader"
		case s.Voter:
			return "voter"
		default:
			return "non-voter"
		}
	}
	return ""
}

// AddMember lets m take part, without a vote; one that already does stays as it is. The
// caller has committed its OpJoin. It works on the leader. The error is Unavailable
// where nothing happened, else Unknown.
func (c *Consensus) AddMember(ctx context.Context, m api.Member) error {
	return c.reconfigure(ctx, func(r *raft.Raft, now raft.Configuration, index uint64) raft.Future {
		id := raft.ServerID(m.ID.String())
		for _, s := range now.Servers {
			if s.ID == id {
				return nil
			}
		}
		return r.AddNonvoter(id, raft.ServerAddress(id), index, c.o.NetworkTimeout)
	})
}

// RemoveMember commits that p is removed, with revoke also that the cluster's key is to be
// renewed, and takes it out of raft's configuration. A
// leader that removes itself makes another voter first where it is the only one, and
// hands over, at once or as soon as it can; the next leader takes it out. It works on the leader. The error is
// Conflict where p is the only peer, NotFound where it is none; else as AddMember's.
func (c *Consensus) RemoveMember(ctx context.Context, p api.PeerID, revoke bool) error {
	if err := c.removable(p); err != nil {
		return err
	}
	if p == c.self {
		if err := c.makeHeir(ctx); err != nil {
			return err
		}
	}
	ops := []api.Op{{Type: api.OpRemove, Peer: p}}
	if revoke {
		ops = append(ops, api.Op{Type: api.OpOweKey})
	}
	if _, err := c.Commit(ctx, ops); err != nil {
		return err
	}
	if p != c.self {
		return c.drop(ctx, p)
	}
	r, trans, err := c.running()
	if err != nil {
		return err
	}
	if err := c.handOver(ctx, r, trans); err != nil {
		c.log.Info("leadership was not handed over yet", "err", err) // keepVoters goes on trying
	}
	return nil
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
	council := c.council(r, trans)
	for _, s := range council.servers {
		if s.ready {
			return c.reconfigure(ctx, func(r *raft.Raft, _ raft.Configuration, index uint64) raft.Future {
				return r.AddVoter(s.id, raft.ServerAddress(s.id), index, c.o.NetworkTimeout)
			})
		}
	}
	return api.Unavailable.Errorf("no other peer has caught up to take over from %s", c.self)
}

// changeTries is how often a change is tried that raft refuses. It does while another
// one has not reached this peer's state yet.
const changeTries = 20

// reconfigure makes one change of raft's configuration: change begins it from the
// present one and its index, or returns nil where there is nothing to do.
func (c *Consensus) reconfigure(ctx context.Context, change func(r *raft.Raft, now raft.Configuration, index uint64) raft.Future) error {
	for try := 1; ; try++ {
		moved := c.moved.next()
		err := c.tryReconfigure(ctx, change)
		if api.KindOf(err) != api.Conflict {
			return err
		}
		if try == changeTries {
			return api.Unavailable.Errorf("change the voters: %w", err)
		}
		select {
		case <-moved:
		case <-time.After(c.o.CommitTimeout):
		case <-ctx.Done():
			return api.Unavailable.Errorf("change the voters: %w", err)
		}
	}
}

// tryReconfigure tries once. The error is Conflict where raft refuses the change, which
// then has not happened.
func (c *Consensus) tryReconfigure(ctx context.Context, change func(r *raft.Raft, now raft.Configuration, index uint64) raft.Future) error {
	r, _, err := c.running()
	if err != nil {
		return err
	}
	if r.State() != raft.Leader {
		return errNotLeader()
	}
	newest, err := c.snapshots.newest()
	if err != nil {
		return err
	}
	// Raft does not tell the index of its configuration, but refuses a change that names
	// an older one: so what was decided in another leadership changes nothing.
	index := max(c.machine.configured.Load(), newest.ConfigurationIndex)
	err = c.await(ctx, func() raft.Future {
		f := r.GetConfiguration()
		if change := change(r, f.Configuration(), index); change != nil {
			return change
		}
		return f
	})
	switch {
	case err == nil:
		return nil
	case isAny(err, raft.ErrLeadershipLost, raft.ErrRaftShutdown, context.Canceled, context.DeadlineExceeded):
		return api.Unknown.Errorf("change the voters: %w", err)
	case isAny(err, raft.ErrNotLeader, raft.ErrEnqueueTimeout, raft.ErrLeadershipTransferInProgress):
		return api.Unavailable.Errorf("change the voters: %w", err)
	default:
		return api.Conflict.Errorf("refused: %w", err)
	}
}

// isAny tells whether err is one of the others.
func isAny(err error, others ...error) bool {
	return slices.ContainsFunc(others, func(o error) bool { return errors.Is(err, o) })
}
