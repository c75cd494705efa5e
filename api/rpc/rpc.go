// Package rpc is how peers call each other: the table of calls, the server that
// answers them and the client that makes them.
//
// A call is HTTP/1.1 by connect-go, its messages CBOR, over a libp2p stream of its own
// that is kept for later calls. Server and client take the types of a call from its
// constant, so they cannot disagree. Nobody calls itself: inside one process the
// functions that answer are called directly.
package rpc

import (
	"context"

	"github.com/pinfold-cluster/pinfold/api"
)

// proc is a call that peers answer: its path, and the types that cross the wire.
// Fields of these are added, never given another meaning.
type proc[Req, Res any] string

const (
	identify   proc[struct{}, api.Peer]              = "/peer/identify"
	join       proc[api.JoinRequest, api.JoinAnswer] = "/peer/join"
	standing   proc[struct{}, api.Standing]          = "/peer/standing"
	removePeer proc[api.PeerID, index]               = "/peer/remove"
	revokePeer proc[api.PeerID, index]               = "/peer/remove-revoke"
	revoke     proc[tokenID, index]                  = "/peer/revoke"
	repoGC     proc[struct{}, api.RepoGC]            = "/peer/gc"
	links      proc[struct{}, api.PeerLinks]         = "/peer/links"
	repoStat   proc[struct{}, api.RepoStat]          = "/node/stat"
	commit     proc[api.Batch, api.Committed]        = "/pinner/commit"
	readIndex  proc[struct{}, index]                 = "/consensus/index"
	status     proc[api.Cid, api.PinInfo]            = "/tracker/status"
	statuses   proc[api.StatusQuery, api.StatusPage] = "/tracker/statuses"
	recoverPin proc[api.Cid, api.PinInfo]            = "/tracker/recover"
	recoverAll proc[api.StatusQuery, api.StatusPage] = "/tracker/recover-all"
	news       proc[api.NewsQuery, api.NewsPage]     = "/tracker/news"
	repair     proc[struct{}, api.RepairStatus]      = "/pinner/repair"
	holds      proc[[]api.Cid, []bool]               = "/node/holds"

	followers proc[api.FollowerQuery, []api.Follower] = "/followers/list"
	copies    proc[[]api.Cid, []api.PinInfo]          = "/followers/copies"
	proven    proc[[]api.CopyQuery, [][]api.PeerID]   = "/followers/proven"
	questions proc[[]api.Cid, []api.Question]         = "/node/questions"
	claims    proc[api.ClaimNews, api.ClaimsHeard]    = "/followers/claims"
)

// index carries a log index.
type index struct {
	Index uint64 `cbor:"1,keyasint"`
}

// tokenID carries the ID of a token.
type tokenID struct {
	ID string `cbor:"1,keyasint"`
}

// rule says who may make a call.
type rule uint8

const (
	open   rule = iota + 1 // whoever knows the cluster's secret
	member                 // certified members that have not been removed
)

// Limits on messages, in bytes.
const (
	maxMessage = 8 << 20
	// maxOpenRequest bounds what strangers send.
	maxOpenRequest = 64 << 10
	// maxGCAnswer bounds the one long answer: what a collection removed.
	maxGCAnswer = 128 << 20
)

// Handlers answer the calls; all must be set. From is the caller, as its connection
// proves. An error arrives at the caller with its kind and text; one without a kind is
// Internal, and one that tells only of a context's end is Unknown.
type Handlers struct {
	// Identify, Join and Standing answer strangers too.
	Identify func(ctx context.Context, from api.PeerID) (api.Peer, error)
	Join     func(ctx context.Context, from api.PeerID, req api.JoinRequest) (api.JoinAnswer, error)
	// Standing tells the caller whether it was removed.
	Standing func(ctx context.Context, from api.PeerID) (api.Standing, error)
	// RemovePeer, on the leader, removes a member and returns the log index of that.
	RemovePeer func(ctx context.Context, from, removed api.PeerID) (uint64, error)
	// RevokePeer is RemovePeer, and renews the cluster's key.
	RevokePeer func(ctx context.Context, from, removed api.PeerID) (uint64, error)
	// Revoke, on the leader, revokes the token with an ID and returns the log index of that.
	Revoke   func(ctx context.Context, from api.PeerID, id string) (uint64, error)
	RepoGC   func(ctx context.Context, from api.PeerID) (api.RepoGC, error)
	Links    func(ctx context.Context, from api.PeerID) (api.PeerLinks, error)
	RepoStat func(ctx context.Context, from api.PeerID) (api.RepoStat, error)
	// Commit, on the leader, decides on a batch of requests.
	Commit func(ctx context.Context, from api.PeerID, b api.Batch) (api.Committed, error)
	// ReadIndex, on the leader, returns the log index that a linearizable read waits for.
	ReadIndex  func(ctx context.Context, from api.PeerID) (uint64, error)
	Status     func(ctx context.Context, from api.PeerID, c api.Cid) (api.PinInfo, error)
	Statuses   func(ctx context.Context, from api.PeerID, q api.StatusQuery) (api.StatusPage, error)
	Recover    func(ctx context.Context, from api.PeerID, c api.Cid) (api.PinInfo, error)
	RecoverAll func(ctx context.Context, from api.PeerID, q api.StatusQuery) (api.StatusPage, error)
	// News waits some seconds for something to tell.
	News func(ctx context.Context, from api.PeerID, q api.NewsQuery) (api.NewsPage, error)
	// Repair, on the leader, tells how repair is going.
	Repair func(ctx context.Context, from api.PeerID) (api.RepairStatus, error)
	// Holds tells, in order, which of the DAGs are whole on the peer's node.
	Holds func(ctx context.Context, from api.PeerID, cids []api.Cid) ([]bool, error)
	// Followers lists those that the peer knows.
	Followers func(ctx context.Context, from api.PeerID, q api.FollowerQuery) ([]api.Follower, error)
	// Copies asks the followers connected with the peer what they hold of the CIDs.
	Copies func(ctx context.Context, from api.PeerID, cids []api.Cid) ([]api.PinInfo, error)
	// Proven has the followers connected with the peer prove copies, and tells in order who did.
	Proven func(ctx context.Context, from api.PeerID, wanted []api.CopyQuery) ([][]api.PeerID, error)
	// Questions makes, in order, one about each of the DAGs that is whole on the peer's node.
	Questions func(ctx context.Context, from api.PeerID, cids []api.Cid) ([]api.Question, error)
	// Claims hears what the caller knows of what followers claim.
	Claims func(ctx context.Context, from api.PeerID, news api.ClaimNews) (api.ClaimsHeard, error)
}

// calls is the table of calls: who may make each, and what answers it.
func (h Handlers) calls() []call {
	return []call{
		answer0(identify, open, h.Identify),
		answer(join, open, h.Join),
		answer0(standing, open, h.Standing),
		answer(removePeer, member, indexed(h.RemovePeer)),
		answer(revokePeer, member, indexed(h.RevokePeer)),
		answer(revoke, member, indexed(unwrapped(h.Revoke))),
		answer0(repoGC, member, h.RepoGC),
		answer0(links, member, h.Links),
		answer0(repoStat, member, h.RepoStat),
		answer(commit, member, h.Commit),
		answer(readIndex, member, indexed(noRequest(h.ReadIndex))),
		answer(status, member, h.Status),
		answer(statuses, member, h.Statuses),
		answer(recoverPin, member, h.Recover),
		answer(recoverAll, member, h.RecoverAll),
		answer(news, member, h.News),
		answer0(repair, member, h.Repair),
		answer(holds, member, h.Holds),
		answer(followers, member, h.Followers),
		answer(copies, member, h.Copies),
		answer(proven, member, h.Proven),
		answer(questions, member, h.Questions),
		answer(claims, member, h.Claims),
	}
}

// handler answers one call.
type handler[Req, Res any] func(ctx context.Context, from api.PeerID, req Req) (Res, error)

func answer0[Res any](p proc[struct{}, Res], r rule, f func(context.Context, api.PeerID) (Res, error)) call {
	return answer(p, r, noRequest(f))
}

// noRequest makes a handler of a function that needs no request.
func noRequest[Res any](f func(context.Context, api.PeerID) (Res, error)) handler[struct{}, Res] {
	if f == nil {
		return nil
	}
	return func(ctx context.Context, from api.PeerID, _ struct{}) (Res, error) { return f(ctx, from) }
}

// unwrapped hands f the ID of a token.
func unwrapped(f func(context.Context, api.PeerID, string) (uint64, error)) func(context.Context, api.PeerID, tokenID) (uint64, error) {
	if f == nil {
		return nil
	}
	return func(ctx context.Context, from api.PeerID, req tokenID) (uint64, error) { return f(ctx, from, req.ID) }
}

// indexed wraps the log index that f returns.
func indexed[Req any](f func(context.Context, api.PeerID, Req) (uint64, error)) handler[Req, index] {
	if f == nil {
		return nil
	}
	return func(ctx context.Context, from api.PeerID, req Req) (index, error) {
		i, err := f(ctx, from, req)
		return index{i}, err
	}
}
