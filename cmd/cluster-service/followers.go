package main

import (
	"context"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	// followersPage is how many followers one peer tells another of at once.
	followersPage = 256
	// followersTimeout bounds asking another peer about followers.
	followersTimeout = 15 * time.Second
)

// followers knows the followers that this peer serves, and asks other full peers for
// those that they do.
type followers struct{ p *Daemon }

// List gives the followers past after, by the bytes of their IDs: those that any peer
// knows, or with local this one. A peer that does not answer is left out.
func (f followers) List(ctx context.Context, after api.PeerID, local bool) iter.Seq2[api.Follower, error] {
	return func(yield func(api.Follower, error) bool) {
		for {
			page := f.ask(ctx, api.FollowerQuery{After: after, Limit: followersPage}, local)
			for _, known := range page {
				if ctx.Err() != nil || !yield(known, nil) {
					return
				}
			}
			if len(page) < followersPage {
				return
			}
			after = page[len(page)-1].ID
		}
	}
}

// Get gives one follower. The error is NotFound where it is not known.
func (f followers) Get(ctx context.Context, id api.PeerID, local bool) (api.Follower, error) {
	page := f.ask(ctx, api.FollowerQuery{Only: id, Limit: 1}, local)
	if len(page) == 0 {
		return api.Follower{}, api.NotFound.Errorf("no follower %s is known", id)
	}
	return page[0], nil
}

// serve answers another peer's question, or this one's.
func (f followers) serve(_ context.Context, _ api.PeerID, q api.FollowerQuery) ([]api.Follower, error) {
	if f.p.audience == nil {
		return nil, nil
	}
	if q.Only == "" {
		return f.p.audience.page(q.After, min(max(q.Limit, 0), followersPage)), nil
	}
	if known, ok := f.p.audience.get(q.Only); ok {
		return []api.Follower{known}, nil
	}
	return nil, nil
}

// ask puts q to all peers, or with local to this one, and merges what they say: up to
// q.Limit followers.
func (f followers) ask(ctx context.Context, q api.FollowerQuery, local bool) []api.Follower {
	merged := map[api.PeerID]api.Follower{}
	for _, page := range askPeers(ctx, f.p, local, func(ctx context.Context, to api.PeerID) ([]api.Follower, error) {
		return f.p.calls.Followers(ctx, to, q)
	}, func(ctx context.Context) ([]api.Follower, error) { return f.serve(ctx, f.p.ids.cluster.ID, q) }) {
		for _, one := range page {
			if had, ok := merged[one.ID]; ok {
				one = mergeFollower(had, one)
			}
			merged[one.ID] = one
		}
	}
	out := make([]api.Follower, 0, len(merged))
	for _, one := range merged {
		out = append(out, one)
	}
	slices.SortFunc(out, func(a, b api.Follower) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return out[:min(len(out), q.Limit)]
}

// mergeFollower is what two peers know of one follower: the latest that it said, and all
// its challenges.
func mergeFollower(a, b api.Follower) api.Follower {
	if a.Asked.Before(b.Asked) {
		a, b = b, a
	}
	a.Connected, a.Admitted = a.Connected || b.Connected, a.Admitted || b.Admitted
	a.Proven, a.Lied, a.Unanswered = a.Proven+b.Proven, a.Lied+b.Lied, a.Unanswered+b.Unanswered
	if a.Found == nil {
		a.Found = b.Found
	}
	if a.Agrees == nil && a.Index == b.Index && a.Digest == b.Digest {
		a.Agrees = b.Agrees
	}
	return a
}

// askPeers asks this peer, and unless local all others at once. Those that are dead, or
// do not answer, have no part in the answers.
func askPeers[T any](ctx context.Context, p *Daemon, local bool, remote func(context.Context, api.PeerID) ([]T, error), own func(context.Context) ([]T, error)) [][]T {
	members := []api.Member{{ID: p.ids.cluster.ID}}
	if !local {
		for _, m := range p.listMembers() {
			if m.ID != p.ids.cluster.ID {
				members = append(members, m)
			}
		}
	}
	return parallel(members, func(m api.Member) []T {
		ctx, cancel := context.WithTimeout(ctx, followersTimeout)
		defer cancel()
		ask := func() ([]T, error) { return remote(ctx, m.ID) }
		if m.ID == p.ids.cluster.ID {
			ask = func() ([]T, error) { return own(ctx) }
		} else if p.monitor.Dead(m.ID) != nil {
			return nil
		}
		answer, err := ask()
		if err != nil {
			p.log.Debug("a peer does not tell of followers", "peer", m.ID, "err", err)
		}
		return answer
	})
}
