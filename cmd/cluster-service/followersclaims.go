package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/feed"
)

const (
	// claimsTold is how many claims one call tells of at most: 600 KB.
	claimsTold = 1024
	// claimsEvery is between looks at what there is to tell. After claimsQuiet of them
	// without news there is a call all the same: a peer that was restarted answers so.
	claimsEvery = 10 * time.Second
	claimsQuiet = 6
	// claimsTimeout bounds a call.
	claimsTimeout = 10 * time.Second
)

// A herald tells the other full peers what this one heard followers claim: each the
// changes since it was told last. Where this peer heard nothing, it calls nobody.
type herald struct {
	claims *feed.Claims
	others func() []api.PeerID // full peers that live, without this one
	tell   func(ctx context.Context, to api.PeerID, news api.ClaimNews) (api.ClaimsHeard, error)
	every  time.Duration
	log    *slog.Logger
}

// told is how far a peer was told, in which of its lives, and when.
type told struct {
	life, rev uint64
	at        time.Time
}

// run tells until ctx ends.
func (h *herald) run(ctx context.Context) error {
	all := map[api.PeerID]told{}
	tick := time.NewTicker(h.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		others := h.others()
		now := parallel(others, func(id api.PeerID) told { return h.tellOne(ctx, id, all[id]) })
		clear(all) // of those that are gone
		for i, id := range others {
			all[id] = now[i]
		}
	}
}

// tellOne tells a peer what is new since had, and gives how far it was told then.
func (h *herald) tellOne(ctx context.Context, id api.PeerID, had told) told {
	ctx, cancel := context.WithTimeout(ctx, claimsTimeout)
	defer cancel()
	for {
		list, upTo := h.claims.Since(had.rev, claimsTold)
		if upTo == 0 || len(list) == 0 && time.Since(had.at) < claimsQuiet*h.every {
			return had
		}
		answer, err := h.tell(ctx, id, claimNews(list))
		if err != nil {
			h.log.Debug("a peer was not told what followers claim", "peer", id, "err", err)
			return had
		}
		if had.rev > 0 && answer.Life != had.life {
			had = told{} // it has forgotten what it was told: all of it again
			continue
		}
		had = told{answer.Life, upTo, time.Now()}
	}
}

func claimNews(list []feed.Claimed) (news api.ClaimNews) {
	for _, c := range list {
		news.Claims = append(news.Claims, api.FollowerClaim{Peer: c.Peer, Claim: c.Claim[:], At: c.At, Standing: int8(c.Standing), Held: c.Held, Looked: c.Looked})
	}
	return news
}

// hear keeps what another peer knows of what followers claim. Its clock may be fast. The
// error is Invalid or TooLarge, and nothing is kept.
func (a *audience) hear(news api.ClaimNews, now time.Time) error {
	if len(news.Claims) > claimsTold {
		return api.TooLarge.Errorf("%d claims of followers: at most %d at once", len(news.Claims), claimsTold)
	}
	list := make([]feed.Claimed, len(news.Claims))
	for i, c := range news.Claims {
		s := feed.Standing(c.Standing)
		if c.Peer == "" || len(c.Claim) != len(feed.Claim{}) || s < feed.Lied || s > feed.Proven || c.Held > 100 {
			return api.Invalid.Errorf("claim %d of %d is none: peer %q, %d bytes, standing %d, %d %% held", i, len(news.Claims), c.Peer, len(c.Claim), c.Standing, c.Held)
		}
		list[i] = feed.Claimed{Peer: c.Peer, Claim: feed.Claim(c.Claim), At: soonest(c.At, now), Standing: s, Held: c.Held, Looked: soonest(c.Looked, now)}
	}
	for _, c := range list {
		a.claims.Set(c)
	}
	return nil
}

// soonest is t, or now where that comes first.
func soonest(t, now time.Time) time.Time {
	if t.After(now) {
		return now
	}
	return t
}

// hearClaims answers another peer that tells what followers claim.
func (f followers) hearClaims(_ context.Context, _ api.PeerID, news api.ClaimNews) (api.ClaimsHeard, error) {
	if f.p.audience == nil {
		return api.ClaimsHeard{}, nil
	}
	return api.ClaimsHeard{Life: f.p.audience.life}, f.p.audience.hear(news, time.Now())
}

// livingOthers are the full peers that live, without this one.
func (p *Daemon) livingOthers() (ids []api.PeerID) {
	for _, m := range p.listMembers() {
		if m.ID != p.ids.cluster.ID && p.monitor.Dead(m.ID) == nil {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

// tellClaims tells other full peers what followers claim, where they are served, until ctx
// ends.
func (p *Daemon) tellClaims(ctx context.Context) error {
	if p.audience == nil {
		<-ctx.Done()
		return nil
	}
	h := &herald{&p.audience.claims, p.livingOthers, p.calls.Claims, min(claimsEvery, p.c.Followers.AskInterval), p.component("followers")}
	return h.run(ctx)
}
