package main

import (
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/feed"
)

// claimsKept is how long what a follower claims, or that it lied, counts after it last said
// so or was last found out.
const claimsKept = feed.VisitEvery * 6 / 5

// count keeps what a follower claims for the table of coverage, and how far it is to be
// believed.
func (a *audience) count(id api.PeerID, now time.Time) {
	n, ok := a.book.get(id)
	if !ok {
		return
	}
	c := feed.Claimed{Peer: id, At: now, Standing: n.standing(), Held: n.results.weight(), Looked: n.results.looked}
	if c.Standing >= feed.Said {
		c.Claim = feed.Claim(n.report.Claim)
	}
	a.claims.Note(c)
}

// standing is how far the follower is to be believed.
func (n followerNote) standing() feed.Standing {
	switch r := n.results; {
	case r.lied > 0:
		return feed.Lied
	case !n.report.Settled || n.report.Claim == nil || r.silent >= unansweredTrust:
		return feed.Withdrawn
	case r.proven > 0:
		return feed.Proven
	}
	return feed.Said
}

// coverage is the body of the table of coverage; there is none while nobody claims
// anything that counts.
func (a *audience) coverage(now time.Time) ([]byte, bool) {
	a.claims.Prune(now.Add(-claimsKept))
	t := a.claims.Coverage(now, a.least)
	if t.Followers == 0 {
		return nil, false
	}
	b, err := api.Encode(t)
	if err != nil {
		a.log.Error("the table of coverage cannot be written", "err", err)
	}
	return b, err == nil
}
