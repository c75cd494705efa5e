package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/config"
	"github.com/pinfold-cluster/pinfold/feed"
)

const (
	// copiesAtOnce followers are asked for copies at a time, and copiesAsked for one
	// request at most.
	copiesAtOnce = 8
	copiesAsked  = 64
)

// Copies asks followers that are connected with any peer, or with local with this one,
// which of the CIDs they hold. One that a pin names is told of in any case.
func (f followers) Copies(ctx context.Context, cids []api.Cid, local bool) ([]api.PinInfo, error) {
	named, err := f.named(ctx, cids)
	if err != nil {
		return nil, err
	}
	type key struct {
		cid  api.Cid
		peer api.PeerID
	}
	told := map[key]bool{}
	var out []api.PinInfo
	for _, answer := range askPeers(ctx, f.p, local, func(ctx context.Context, to api.PeerID) ([]api.PinInfo, error) {
		return f.p.calls.Copies(ctx, to, cids)
	}, func(ctx context.Context) ([]api.PinInfo, error) { return f.copies(ctx, f.p.ids.cluster.ID, cids) }) {
		for _, info := range answer {
			if k := (key{info.Cid, info.Peer}); !told[k] {
				told[k] = true
				out = append(out, info)
			}
		}
	}
	for c, ids := range named {
		for _, id := range ids {
			if !told[key{c, id}] {
				out = append(out, api.PinInfo{Cid: c, Peer: id, PinInfoShort: api.PinInfoShort{Status: api.StatusClusterError,
					Timestamp: time.Now(), Error: "the follower does not answer: it may be connected with no peer"}})
			}
		}
	}
	return out, nil
}

// named are the followers that pins of these CIDs name.
func (f followers) named(ctx context.Context, cids []api.Cid) (map[api.Cid][]api.PeerID, error) {
	out := map[api.Cid][]api.PeerID{}
	for _, c := range cids {
		p, err := f.p.state.Get(ctx, c)
		if errors.Is(err, api.NotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if len(p.Followers) > 0 {
			out[c] = p.Followers
		}
	}
	return out, nil
}

// copies asks the followers that are connected with this peer.
func (f followers) copies(ctx context.Context, _ api.PeerID, cids []api.Cid) ([]api.PinInfo, error) {
	if f.p.audience == nil {
		return nil, nil
	}
	named, err := f.named(ctx, cids[:min(len(cids), feed.MaxAsked)])
	if err != nil {
		return nil, err
	}
	return f.p.audience.copies(ctx, cids[:min(len(cids), feed.MaxAsked)], named), nil
}

// copies asks those followers about the CIDs that claim one, or are named for it.
func (a *audience) copies(ctx context.Context, cids []api.Cid, named map[api.Cid][]api.PeerID) []api.PinInfo {
	var ask []followerNote
	for _, p := range a.feed.Followers() {
		n, ok := a.book.get(p.ID)
		if !ok || n.misses > 0 || len(ask) == copiesAsked {
			continue
		}
		if slices.ContainsFunc(cids, func(c api.Cid) bool { return n.claims(c) || slices.Contains(named[c], p.ID) }) {
			ask = append(ask, n)
		}
	}
	answers := make([][]api.PinInfo, len(ask))
	var g errgroup.Group
	g.SetLimit(copiesAtOnce)
	for i, n := range ask {
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, askTimeout)
			defer cancel()
			infos, err := a.feed.PinStatuses(ctx, n.peer.ID, cids)
			if err != nil {
				a.log.Debug("a follower does not tell of its copies", "peer", n.peer.ID, "err", err)
			}
			answers[i] = n.told(infos, cids, named)
			return nil
		})
	}
	g.Wait() // its functions return no errors
	return slices.Concat(answers...)
}

// claims tells whether the follower says that it holds a pin of c.
func (n followerNote) claims(c api.Cid) bool {
	return n.report.Hold == config.HoldAll || n.report.Claim != nil && feed.Claim(n.report.Claim).Has(c)
}

// told keeps of a follower's answer what was asked for: an item for each CID that it holds,
// or was named for, in words of bounded length.
func (n followerNote) told(infos []api.PinInfo, cids []api.Cid, named map[api.Cid][]api.PeerID) []api.PinInfo {
	var out []api.PinInfo
	for _, c := range cids {
		i := slices.IndexFunc(infos, func(info api.PinInfo) bool { return info.Cid == c })
		if i < 0 {
			continue
		}
		said := infos[i].PinInfoShort
		switch said.Status {
		case api.StatusPinned, api.StatusPinning, api.StatusPinQueued, api.StatusPinError, api.StatusUnpinError, api.StatusUnpinning,
			api.StatusUnpinQueued, api.StatusUnexpectedlyUnpinned:
		default:
			if !slices.Contains(named[c], n.peer.ID) {
				continue
			}
			said.Status = api.StatusRemote
		}
		kept := api.PinInfoShort{PeerName: n.peer.Name, Status: said.Status, Timestamp: plausible(said.Timestamp), Error: short(said.Error, maxFollowerReason),
			AttemptCount: said.AttemptCount, Cause: api.Cause(short(string(said.Cause), maxFollowerText)), NextTry: plausible(said.NextTry),
			Bytes: said.Bytes, Rate: said.Rate}
		if n.results.lied > 0 {
			kept.Error = "not to be believed: this follower has failed challenges"
		}
		out = append(out, api.PinInfo{Cid: c, Peer: n.peer.ID, PinInfoShort: kept})
	}
	return out
}

// plausible is t, or no time where clients could not read it.
func plausible(t time.Time) time.Time {
	if y := t.UTC().Year(); y < 1970 || y > 9000 {
		return time.Time{}
	}
	return t.UTC()
}
