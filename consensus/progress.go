package consensus

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// progress is what a leader's transport has seen of each follower in its term.
type progress struct {
	mu      sync.Mutex
	peers   map[raft.ServerID]*follower
	changed chan struct{} // closed and made anew at each answer
	applied uint64        // index that the state of this peer has
	due     chan struct{} // holds one item when a nudge may be due
}

type follower struct {
	term      uint64 // of the leader that this is about
	match     uint64 // highest entry known to be in its log, as in the leader's
	matchTerm uint64 // term of that entry
	told      uint64 // commit index sent to it, as far as its log was known to reach
	confirmed time.Time
	contact   time.Time
	nudging   bool
	header    raft.RPCHeader
	leader    []byte
}

func newProgress() *progress {
	return &progress{peers: make(map[raft.ServerID]*follower), changed: make(chan struct{}), due: make(chan struct{}, 1)}
}

// of gives the follower's record for the term, nil for one that is over. The caller
// holds mu.
func (p *progress) of(id raft.ServerID, term uint64) *follower {
	f := p.peers[id]
	switch {
	case f == nil || f.term < term:
		f = &follower{term: term}
		p.peers[id] = f
	case f.term > term:
		return nil
	}
	return f
}

// sent notes a request on its way.
func (p *progress) sent(id raft.ServerID, req *raft.AppendEntriesRequest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f := p.of(id, req.Term); f != nil {
		last, _ := lastEntry(req)
		f.told = max(f.told, min(req.LeaderCommitIndex, last))
		f.header, f.leader = req.RPCHeader, req.Leader //nolint:staticcheck // SA1019: raft still sends it
	}
}

// answered notes the answer to a request that was sent at the given time.
func (p *progress) answered(id raft.ServerID, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse, at time.Time) {
	last, term := lastEntry(req)
	p.note(id, req.Term, resp.Success && resp.Term <= req.Term, last, term, at)
}

// installed notes the answer to a snapshot.
func (p *progress) installed(id raft.ServerID, req *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, at time.Time) {
	p.note(id, req.Term, resp.Success && resp.Term <= req.Term, req.LastLogIndex, req.LastLogTerm, at)
}

func (p *progress) note(id raft.ServerID, term uint64, accepted bool, last, lastTerm uint64, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.of(id, term)
	if f == nil {
		return
	}
	f.contact = time.Now()
	if accepted {
		if at.After(f.confirmed) {
			f.confirmed = at
		}
		if last > f.match {
			f.match, f.matchTerm = last, lastTerm
			p.wake()
		}
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

// has notes that this peer's state has the entry at index.
func (p *progress) has(index uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if index > p.applied {
		p.applied = index
		p.wake()
	}
}

// wake lets the nudger look. The caller holds mu.
func (p *progress) wake() {
	select {
	case p.due <- struct{}{}:
	default:
	}
}

// confirmations tells how many of the peers have accepted something from the leader of
// term that was sent at t or later, and a channel that is closed at the next answer.
func (p *progress) confirmations(peers []raft.ServerID, term uint64, t time.Time) (n int, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range peers {
		if f := p.peers[id]; f != nil && f.term == term && !f.confirmed.Before(t) {
			n++
		}
	}
	return n, p.changed
}

// view tells how far a follower has come in term and when it last answered; zeros where
// it has not been heard of.
func (p *progress) view(id raft.ServerID, term uint64) (match uint64, contact time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f := p.peers[id]; f != nil && f.term == term {
		return f.match, f.contact
	}
	return 0, time.Time{}
}

// lastEntry tells up to where a log that accepts req agrees with the leader's.
func lastEntry(req *raft.AppendEntriesRequest) (index, term uint64) {
	if n := len(req.Entries); n > 0 {
		return req.Entries[n-1].Index, req.Entries[n-1].Term
	}
	return req.PrevLogEntry, req.PrevLogTerm
}
