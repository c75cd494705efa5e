package main

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/rpc"
	"github.com/pinfold-cluster/pinfold/monitor"
)

// openCalls makes the server of what other peers call here.
func (p *Daemon) openCalls() (*rpc.Server, error) {
	return rpc.NewServer(p.host, rpc.Handlers{
		Identify: func(ctx context.Context, _ api.PeerID) (api.Peer, error) { return p.peers.Self(ctx) },
		Join:     p.members.join,
		Standing: p.standing,
		RemovePeer: func(ctx context.Context, _, removed api.PeerID) (uint64, error) {
			return p.members.removeFor(ctx, removed, false)
		},
		RevokePeer: func(ctx context.Context, _, removed api.PeerID) (uint64, error) {
			return p.members.removeFor(ctx, removed, true)
		},
		Revoke:    func(ctx context.Context, _ api.PeerID, id string) (uint64, error) { return p.tokens.Revoke(ctx, id) },
		RepoGC:    func(ctx context.Context, _ api.PeerID) (api.RepoGC, error) { return p.collect(ctx), nil },
		Links:     func(ctx context.Context, _ api.PeerID) (api.PeerLinks, error) { return p.peerLinks(ctx), nil },
		RepoStat:  func(ctx context.Context, _ api.PeerID) (api.RepoStat, error) { return p.node.RepoStat(ctx) },
		Commit:    p.pinner.Serve,
		ReadIndex: func(ctx context.Context, _ api.PeerID) (uint64, error) { return p.cons.ReadIndex(ctx) },
		Status: func(ctx context.Context, _ api.PeerID, c api.Cid) (api.PinInfo, error) {
			return p.tracker.Status(ctx, c), nil
		},
		Statuses: func(ctx context.Context, _ api.PeerID, q api.StatusQuery) (api.StatusPage, error) {
			return p.tracker.StatusPage(ctx, q)
		},
		Recover: func(ctx context.Context, _ api.PeerID, c api.Cid) (api.PinInfo, error) {
			return p.tracker.Recover(ctx, c)
		},
		RecoverAll: func(ctx context.Context, _ api.PeerID, q api.StatusQuery) (api.StatusPage, error) {
			return p.tracker.RecoverAll(ctx, q)
		},
		News: func(ctx context.Context, _ api.PeerID, q api.NewsQuery) (api.NewsPage, error) {
			return p.tracker.News(ctx, q)
		},
		Repair:    func(_ context.Context, _ api.PeerID) (api.RepairStatus, error) { return p.pinner.Repair(), nil },
		Holds:     func(ctx context.Context, _ api.PeerID, cids []api.Cid) ([]bool, error) { return p.holds(ctx, cids) },
		Followers: followers{p}.serve,
		Copies:    followers{p}.copies,
		Proven:    followers{p}.prove,
		Questions: followers{p}.makeQuestions,
		Claims:    followers{p}.hearClaims,
	}, p.component("rpc"))
}

// repairs asks the leader how repair is going.
type repairs struct{ p *Daemon }

func (r repairs) Repair(ctx context.Context) (api.RepairStatus, error) {
	leader, err := r.p.cons.WaitLeader(ctx)
	if err != nil {
		return api.RepairStatus{}, err
	}
	if leader == r.p.ids.cluster.ID {
		return r.p.pinner.Repair(), nil
	}
	return r.p.calls.Repair(ctx, leader)
}

// holds tells which of the DAGs are whole on this peer's node.
func (p *Daemon) holds(ctx context.Context, cids []api.Cid) ([]bool, error) {
	out := make([]bool, len(cids))
	for i, c := range cids {
		_, pinned, err := p.node.PinStatus(ctx, c)
		if err != nil {
			return nil, err
		}
		out[i] = pinned
	}
	return out, nil
}

// forwarder calls the pinners and nodes of other peers; a question to this peer is
// answered here.
type forwarder struct{ p *Daemon }

func (f forwarder) Commit(ctx context.Context, to api.PeerID, b api.Batch) (api.Committed, error) {
	return f.p.calls.Commit(ctx, to, b)
}

func (f forwarder) Holds(ctx context.Context, to api.PeerID, cids []api.Cid) ([]bool, error) {
	if to == f.p.ids.cluster.ID {
		return f.p.holds(ctx, cids)
	}
	return f.p.calls.Holds(ctx, to, cids)
}

// Copies implements pinner.Forwarder.
func (f forwarder) Copies(ctx context.Context, wanted []api.CopyQuery) []int {
	if !f.p.c.Followers.CountCopies {
		return nil
	}
	return followers{f.p}.proven(ctx, wanted)
}

// gcBatch is how many removed blocks of this peer are told at once.
const gcBatch = 256

// collectEach runs a collection on this peer's node, and tells of what it removes in
// batches, and at the end what went wrong. It stops where tell fails.
func (p *Daemon) collectEach(ctx context.Context, tell func(api.RepoGC) error) error {
	out := api.RepoGC{Peer: p.ids.cluster.ID, PeerName: p.c.Cluster.PeerName, Keys: []api.RepoGCKey{}}
	if err := p.current(ctx); err != nil {
		out.Error = "not collecting from an old view of the pinset: " + err.Error()
		return tell(out)
	}
	for key, err := range p.node.GC(ctx) {
		if err != nil {
			out.Error = err.Error()
			break
		}
		if out.Keys = append(out.Keys, key); len(out.Keys) < gcBatch {
			continue
		}
		if err := tell(out); err != nil {
			return err
		}
		out.Keys = []api.RepoGCKey{}
	}
	return tell(out)
}

// collect is collectEach, told at once.
func (p *Daemon) collect(ctx context.Context) api.RepoGC {
	all := api.RepoGC{Keys: []api.RepoGCKey{}}
	_ = p.collectEach(ctx, func(r api.RepoGC) error { // which does not fail
		r.Keys = append(all.Keys, r.Keys...)
		all = r
		return nil
	})
	return all
}

// collector runs collections on this peer or on all.
type collector struct{ p *Daemon }

// GC collects on all peers at once; what fails on one is told in its place.
func (c collector) GC(ctx context.Context, local bool) (api.GlobalRepoGC, error) {
	out := api.GlobalRepoGC{PeerMap: map[string]api.RepoGC{}}
	if local {
		r := c.p.collect(ctx)
		out.PeerMap[r.Peer.String()] = r
		return out, nil
	}
	members, err := c.p.state.Members()
	if err != nil {
		return out, err
	}
	for _, r := range parallel(members, func(m api.Member) api.RepoGC {
		if m.ID == c.p.ids.cluster.ID {
			return c.p.collect(ctx)
		}
		r, err := c.p.calls.RepoGC(ctx, m.ID)
		if err != nil {
			return api.RepoGC{Peer: m.ID, PeerName: m.Name, Keys: []api.RepoGCKey{}, Error: err.Error()}
		}
		return r
	}) {
		out.PeerMap[r.Peer.String()] = r
	}
	return out, nil
}

// GCEach collects on all peers at once, and calls f, never twice at a time, with what is
// removed as it becomes known: on this peer while it goes on, on another once it has
// ended. It stops where f fails.
func (c collector) GCEach(ctx context.Context, f func(api.RepoGC) error) error {
	members, err := c.p.state.Members()
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	var mu sync.Mutex
	tell := func(r api.RepoGC) error {
		mu.Lock()
		defer mu.Unlock()
		if err := ctx.Err(); err != nil {
			return err
		}
		return f(r)
	}
	for _, m := range members {
		g.Go(func() error {
			if m.ID == c.p.ids.cluster.ID {
				return c.p.collectEach(ctx, tell)
			}
			r, err := c.p.calls.RepoGC(ctx, m.ID)
			if err != nil {
				r = api.RepoGC{Peer: m.ID, PeerName: m.Name, Error: err.Error()}
			}
			return tell(r)
		})
	}
	return g.Wait()
}

// parallel returns f of each item, all done at once.
func parallel[T, R any](items []T, f func(T) R) []R {
	out := make([]R, len(items))
	var all sync.WaitGroup
	for i, item := range items {
		all.Go(func() { out[i] = f(item) })
	}
	all.Wait()
	return out
}

// metricsTopic is where full peers publish their metrics.
const metricsTopic = "pinfold/metrics/1"

func (p *Daemon) openMonitor() (*monitor.Monitor, error) {
	topic, err := p.host.Topic(metricsTopic, monitor.Valid)
	if err != nil {
		return nil, err
	}
	p.closes(topic.Close)
	free := func(ctx context.Context) (uint64, error) {
		stat, err := p.node.RepoStat(ctx)
		if err != nil {
			return 0, err
		}
		_, promised := p.tracker.Pending()
		return stat.Free - min(stat.Free, promised), nil
	}
	samplers := []monitor.Sampler{
		monitor.Ping(p.c.Cluster.PeerName, p.node.ID),
		monitor.FreeSpace(free),
		monitor.PinQueue(func() int { n, _ := p.tracker.Pending(); return n }),
		monitor.Tags(p.c.Informer.Tags.Tags),
	}
	m := monitor.New(p.ids.cluster.ID, topic, p.state, samplers, p.lastContact, p.c.Cluster.Monitor, p.component("monitor"))
	m.Watch(func(id api.PeerID, alive bool) {
		if alive {
			p.tracker.Heard(id)
		}
	})
	return m, nil
}

// lastContact tells when Raft last heard of a peer, zero where this peer cannot tell.
func (p *Daemon) lastContact(id api.PeerID) time.Time {
	for _, s := range p.cons.Servers() {
		if s.ID == id {
			return s.LastContact
		}
	}
	return time.Time{}
}
