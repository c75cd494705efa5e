package consensus

import (
	"context"

	"github.com/hashicorp/raft"
	"golang.org/x/sync/errgroup"
)

// nudge tells followers of a commit as soon as this peer's state has it, where raft
// has not: raft tells with its next message, on an idle cluster CommitTimeout later.
// leading tells whether this peer leads the term. It returns when ctx ends.
func (t *transport) nudge(ctx context.Context, leading func(term uint64) bool) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-t.progress.due:
			}
			for id, req := range t.progress.nudges(leading) {
				g.Go(func() error {
					t.send(id, req)
					return nil
				})
			}
		}
	})
	return g.Wait()
}

// send makes one call. What it did is seen by AppendEntries; a failure is left to raft,
// which tells the follower by itself.
func (t *transport) send(id raft.ServerID, req *raft.AppendEntriesRequest) {
	var resp raft.AppendEntriesResponse
	_ = t.AppendEntries(id, raft.ServerAddress(id), req, &resp)
	t.progress.nudged(id)
}

// nudges gives the messages to send: to each follower that has entries which are
// committed, has not been told, and has no nudge on its way. A message is what raft
// would send if it had nothing to append: it names an entry known to be in the
// follower's log, and no commit index past it, as what comes after that entry there may
// not be the leader's.
func (p *progress) nudges(leading func(term uint64) bool) map[raft.ServerID]*raft.AppendEntriesRequest {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make(map[raft.ServerID]*raft.AppendEntriesRequest)
	for id, f := range p.peers {
		commit := min(p.applied, f.match)
		if f.nudging || commit <= f.told || f.header.ID == nil || !leading(f.term) {
			continue
		}
		f.nudging = true
		out[id] = &raft.AppendEntriesRequest{RPCHeader: f.header, Leader: f.leader, //nolint:staticcheck // SA1019: raft still sends it
			Term: f.term, PrevLogEntry: f.match, PrevLogTerm: f.matchTerm, LeaderCommitIndex: commit}
	}
	return out
}

// nudged ends a nudge; what was committed meanwhile may be due.
func (p *progress) nudged(id raft.ServerID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f := p.peers[id]; f != nil {
		f.nudging = false
	}
	p.wake()
}
