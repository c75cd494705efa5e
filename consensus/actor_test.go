package consensus

import (
	"sync"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/pinfold-cluster/pinfold/api"
)

// An actor is a voter without a raft of its own: it grants every vote until it is loyal,
// accepts every entry, unless a test says otherwise, and sends what a test wants.
type actor struct {
	id    api.PeerID
	trans *raft.NetworkTransport

	mu sync.Mutex
	// loyal to the leader that there is, it grants no vote.
	loyal bool
	// hold, where set, is asked before an answer to AppendEntries goes out.
	hold func(req *raft.AppendEntriesRequest)
}

func newActor(t *testing.T, m *mesh) *actor {
	t.Helper()
	a := &actor{id: newPeerID(t)}
	layer, err := newStreamLayer(a.id, port{m, a.id})
	if err != nil {
		t.Fatal(err)
	}
	a.trans = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: layer, MaxPool: 3, Timeout: patience, Logger: newHclogger(testLog(t))})
	ended := make(chan struct{})
	t.Cleanup(func() {
		close(ended)
		a.trans.Close()
	})
	go func() {
		for {
			select {
			case rpc := <-a.trans.Consumer():
				go a.answer(rpc)
			case <-ended:
				return
			}
		}
	}()
	return a
}

func (a *actor) answer(rpc raft.RPC) {
	a.mu.Lock()
	hold, grants := a.hold, !a.loyal
	a.mu.Unlock()
	switch req := rpc.Command.(type) {
	case *raft.RequestPreVoteRequest:
		rpc.Respond(&raft.RequestPreVoteResponse{RPCHeader: a.header(), Term: req.Term, Granted: grants}, nil)
	case *raft.RequestVoteRequest:
		rpc.Respond(&raft.RequestVoteResponse{RPCHeader: a.header(), Term: req.Term, Granted: grants}, nil)
	case *raft.AppendEntriesRequest:
		if hold != nil {
			hold(req)
		}
		last, _ := lastEntry(req)
		rpc.Respond(&raft.AppendEntriesResponse{RPCHeader: a.header(), Term: req.Term, LastLog: last, Success: true}, nil)
	default:
		rpc.Respond(nil, raft.ErrNotLeader)
	}
}

func (a *actor) holding(f func(*raft.AppendEntriesRequest)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.hold = f
}

func (a *actor) stayLoyal() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.loyal = true
}

func (a *actor) header() raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: 3, ID: []byte(a.id.String()), Addr: []byte(a.id.String())}
}

// request is an empty message from a leader of term.
func (a *actor) request(term uint64) *raft.AppendEntriesRequest {
	return &raft.AppendEntriesRequest{RPCHeader: a.header(), Term: term, Leader: []byte(a.id.String())} //nolint:staticcheck // SA1019
}

func (a *actor) send(t *testing.T, to api.PeerID, req *raft.AppendEntriesRequest) *raft.AppendEntriesResponse {
	t.Helper()
	var resp raft.AppendEntriesResponse
	if err := a.trans.AppendEntries(serverID(to), raft.ServerAddress(serverID(to)), req, &resp); err != nil {
		t.Fatalf("append entries: %v", err)
	}
	return &resp
}

func serverID(p api.PeerID) raft.ServerID { return raft.ServerID(p.String()) }

// amongActors starts a node whose cluster is itself and two actors, and lets change
// see it before it runs.
func amongActors(t *testing.T, o Options, before func(n *node, conf raft.Configuration)) (*node, []*actor) {
	t.Helper()
	m := newMesh()
	n := newNode(t, m, o)
	actors := []*actor{newActor(t, m), newActor(t, m)}
	conf := raft.Configuration{}
	for _, p := range []api.PeerID{n.id, actors[0].id, actors[1].id} {
		conf.Servers = append(conf.Servers, raft.Server{Suffrage: raft.Voter, ID: serverID(p), Address: raft.ServerAddress(serverID(p))})
	}
	fill(t, n, func(s raft.StableStore, l raft.LogStore) {
		check(t, s.SetUint64([]byte(keyTerm), 1))
		check(t, l.StoreLog(&raft.Log{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(conf)}))
	})
	if before != nil {
		before(n, conf)
	}
	return n, actors
}

// fill writes to the log and votes of a node that does not run.
func fill(t *testing.T, n *node, f func(raft.StableStore, raft.LogStore)) {
	t.Helper()
	db, err := openBolt(n.raftDir())
	check(t, err)
	f(db, db)
	check(t, db.Close())
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
