package consensus

import (
	"io"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	maxPool     = 3       // idle streams kept to a peer: heartbeats, entries, a nudge
	maxInFlight = 2       // calls on a pipeline
	appendBytes = 1 << 20 // bytes of entries in one call, past the first
)

// A transport is raft's own, over a Network. It differs in three ways: heartbeats take
// the same way as all else; calls are bounded by bytes; and it notes what each follower
// has answered, which the nudges, the reads and the choice of voters need.
type transport struct {
	*raft.NetworkTransport // the concrete type: an interface would hide pre-vote
	fastHeartbeats         bool
	progress               *progress
}

// Raft asks for these and makes do without where they are missing.
var (
	_ raft.WithPreVote       = (*transport)(nil)
	_ raft.WithClose         = (*transport)(nil)
	_ raft.MonotonicLogStore = (*logStore)(nil)
)

func newTransport(layer *streamLayer, o Options, log *hclogger) *transport {
	return &transport{
		NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream: layer, MaxPool: maxPool, MaxRPCsInFlight: maxInFlight, Timeout: o.NetworkTimeout, Logger: log,
		}),
		fastHeartbeats: o.fastHeartbeats,
		progress:       newProgress(),
	}
}

// SetHeartbeatHandler does nothing, so that heartbeats go through raft's main loop.
// Beside it, one of a new term changes the term under a leader that is just about to
// write an entry: see DESIGN.md, trap 1.
func (t *transport) SetHeartbeatHandler(h func(raft.RPC)) {
	if t.fastHeartbeats {
		t.NetworkTransport.SetHeartbeatHandler(h)
	}
}

// AppendEntries implements raft.Transport.
func (t *transport) AppendEntries(id raft.ServerID, target raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	trim(req)
	sent := time.Now()
	t.progress.sent(id, req)
	err := t.NetworkTransport.AppendEntries(id, target, req, resp)
	if err == nil {
		t.progress.answered(id, req, resp, sent)
	}
	return err
}

// InstallSnapshot implements raft.Transport.
func (t *transport) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, req *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	sent := time.Now()
	err := t.NetworkTransport.InstallSnapshot(id, target, req, resp, data)
	if err == nil {
		t.progress.installed(id, req, resp, sent)
	}
	return err
}

// AppendEntriesPipeline implements raft.Transport.
func (t *transport) AppendEntriesPipeline(id raft.ServerID, target raft.ServerAddress) (raft.AppendPipeline, error) {
	inner, err := t.NetworkTransport.AppendEntriesPipeline(id, target)
	if err != nil {
		return nil, err
	}
	p := &pipeline{AppendPipeline: inner, id: id, progress: t.progress,
		out: make(chan raft.AppendFuture), stop: make(chan struct{})}
	p.running.Go(p.forward)
	return p, nil
}

// A pipeline notes the answers on their way to raft.
type pipeline struct {
	raft.AppendPipeline
	id       raft.ServerID
	progress *progress

	out     chan raft.AppendFuture
	stop    chan struct{}
	closing sync.Once
	running sync.WaitGroup
}

func (p *pipeline) AppendEntries(req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	trim(req)
	p.progress.sent(p.id, req)
	return p.AppendPipeline.AppendEntries(req, resp)
}

func (p *pipeline) Consumer() <-chan raft.AppendFuture { return p.out }

func (p *pipeline) Close() error {
	p.closing.Do(func() { close(p.stop) })
	err := p.AppendPipeline.Close()
	p.running.Wait()
	return err
}

func (p *pipeline) forward() {
	for {
		select {
		case f := <-p.AppendPipeline.Consumer():
			if f.Error() == nil {
				p.progress.answered(p.id, f.Request(), f.Response(), f.Start())
			}
			select {
			case p.out <- f:
			case <-p.stop:
				return
			}
		case <-p.stop:
			return
		}
	}
}

// trim leaves only as many entries in req as go over a slow line in time. Raft reads
// from req what it has sent, and sends the others next.
func trim(req *raft.AppendEntriesRequest) {
	var size int64
	for i, l := range req.Entries {
		if size += entrySize(l); size > appendBytes && i > 0 {
			req.Entries = req.Entries[:i]
			return
		}
	}
}
