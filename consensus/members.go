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
