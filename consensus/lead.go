package consensus

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/pinfold-cluster/pinfold/api"
)

// Leader tells who leads, as far as this peer knows.
func (c *Consensus) Leader() (api.PeerID, bool) {
	r, _, err := c.running()
	if err != nil {
		return "", false
	}
	_, id := r.LeaderWithID()
	p, err := api.ParsePeerID(string(id))
	return p, err == nil
}

// WaitLeader waits until a leader is known. The error is Unavailable.
func (c *Consensus) WaitLeader(ctx context.Context) (api.PeerID, error) {
	for {
		c.mu.Lock()
		heard := c.heard
		c.mu.Unlock()
		if p, ok := c.Leader(); ok {
			return p, nil
		}
		select {
		case <-heard:
		case <-c.ended:
			return "", api.Unavailable.Errorf("this peer's consensus has stopped")
		case <-ctx.Done():
			return "", api.Unavailable.Errorf("timed out waiting for leader: %w", ctx.Err())
		}
	}
}

// watchLeader wakes those who wait for a leader, and notes since when this peer leads.
func (c *Consensus) watchLeader(ctx context.Context, r *raft.Raft) error {
	seen := make(chan raft.Observation, 8)
	o := raft.NewObserver(seen, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.LeaderObservation, raft.RaftState:
			return true
		}
		return false
	})
	r.RegisterObserver(o)
	defer r.DeregisterObserver(o)
	for {
		term := r.CurrentTerm()
		c.mu.Lock()
		switch {
		case r.State() != raft.Leader:
			c.since = time.Time{}
		case c.since.IsZero() || c.sinceTerm != term:
			c.since, c.sinceTerm = time.Now(), term
		}
		close(c.heard)
		c.heard = make(chan struct{})
		c.mu.Unlock()
		select {
		case <-seen:
		case <-ctx.Done():
			return nil
		}
	}
}

// Ready returns the term in which this peer leads, once its state has all that was
// committed before it. The wait is once a term. The error is Unavailable.
func (c *Consensus) Ready(ctx context.Context) (term uint64, err error) {
	r, _, err := c.running()
	if err != nil {
		return 0, err
	}
	select {
	case <-c.ready:
		defer func() { c.ready <- struct{}{} }()
	case <-ctx.Done():
		return 0, api.Unavailable.Errorf("waiting for the leader's barrier: %w", ctx.Err())
	}
	term = r.CurrentTerm()
	if r.State() != raft.Leader {
		return 0, errNotLeader()
	}
	if c.term == term {
		return term, nil
	}
	// The barrier is an entry without changes, and not raft's own kind: the state then
	// reaches every index that this term commits from here on.
	err = c.await(ctx, func() raft.Future { return r.Apply(joinOps(nil), c.o.NetworkTimeout) })
	if err != nil {
		return 0, api.Unavailable.Errorf("pass the leader's barrier: %w", err)
	}
	if r.CurrentTerm() != term || r.State() != raft.Leader {
		return 0, errNotLeader()
	}
	c.term = term
	return term, nil
}

// ReadIndex gives an index such that a state which has it shows every change that was
// acknowledged before the call. It works on the leader; the error is Unavailable.
func (c *Consensus) ReadIndex(ctx context.Context) (uint64, error) {
	term, err := c.Ready(ctx)
	if err != nil {
		return 0, err
	}
	r, trans, err := c.running()
	if err != nil {
		return 0, err
	}
	index, began := r.CommitIndex(), time.Now()
	if err := c.verify(ctx, r, trans, term, began); err != nil {
		return 0, err
	}
	return index, nil
}

// verify returns once a quorum has accepted something from this leader that was sent
// after began. Raft's own verification also counts answers that were under way: after a
// pause of the process they may be older than another leader.
func (c *Consensus) verify(ctx context.Context, r *raft.Raft, trans *transport, term uint64, began time.Time) error {
	for {
		if err := c.await(ctx, r.VerifyLeader); err != nil {
			return api.Unavailable.Errorf("verify leadership: %w", err)
		}
		if r.State() != raft.Leader || r.CurrentTerm() != term {
			return errNotLeader()
		}
		others, quorum := voters(r, c.self)
		n, _ := trans.progress.confirmations(others, term, began)
		if n+1 >= quorum {
			return nil
		}
	}
}

// voters gives the other voters, and how many voters are a quorum.
func voters(r *raft.Raft, self api.PeerID) (others []raft.ServerID, quorum int) {
	n := 0
	for _, s := range r.GetConfiguration().Configuration().Servers {
		if s.Suffrage != raft.Voter {
			continue
		}
		n++
		if s.ID != raft.ServerID(self.String()) {
			others = append(others, s.ID)
		}
	}
	return others, n/2 + 1
}

// WaitApplied waits until this peer's state has the entry at index, which Commit or
// ReadIndex told somewhere. The error is Unavailable.
func (c *Consensus) WaitApplied(ctx context.Context, index uint64) error {
	if c.st.Applied() >= index {
		return nil
	}
	for {
		moved := c.moved.next()
		at := c.st.Applied()
		if at >= index {
			return nil
		}
		select {
		case <-moved:
		case <-c.ended:
			return api.Unavailable.Errorf("this peer's consensus has stopped at index %d, before %d", at, index)
		case <-ctx.Done():
			return api.Unavailable.Errorf("this peer is at index %d, not yet at %d: %w", at, index, ctx.Err())
		}
	}
}

// handOver makes another voter lead: the one whose log reaches furthest of those that
// have answered lately.
func (c *Consensus) handOver(ctx context.Context, r *raft.Raft, trans *transport) error {
	const lately = 3 // heartbeat timeouts
	term := r.CurrentTerm()
	others, _ := voters(r, c.self)
	var to raft.ServerID
	var best uint64
	for _, id := range others {
		match, contact := trans.progress.view(id, term)
		if time.Since(contact) <= lately*c.o.HeartbeatTimeout && (to == "" || match > best) {
			to, best = id, match
		}
	}
	if to == "" {
		return api.Unavailable.Errorf("no other voter answers")
	}
	err := c.await(ctx, func() raft.Future { return r.LeadershipTransferToServer(to, raft.ServerAddress(to)) })
	if err != nil {
		return fmt.Errorf("hand leadership to %s: %w", to, err)
	}
	return nil
}
