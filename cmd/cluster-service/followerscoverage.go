package main

import (
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/feed"
)

// claimsKept is how long what a follower claims counts after it last said so.
const claimsKept = 24 * time.Hour

// count keeps what a follower claims for the table of coverage, unless it is not to be
// trusted.
func (a *audience) count(id api.PeerID, now time.Time) {
	n, ok := a.book.get(id)
	if !ok || !n.report.Settled || n.report.Claim == nil || !n.results.trusted() {
		a.claims.Forget(id)
		return
	}
	a.claims.Set(feed.Claimed{Peer: id, Claim: feed.Claim(n.report.Claim), At: now})
}

// coverage is the body of the table of coverage; there is none while nobody claims
// anything.
func (a *audience) coverage(now time.Time) ([]byte, bool) {
	a.claims.Prune(now.Add(-claimsKept))
	t := a.claims.Coverage(now)
	if t.Followers == 0 {
		return nil, false
	}
	b, err := api.Encode(t)
	if err != nil {
		a.log.Error("the table of coverage cannot be written", "err", err)
	}
	return b, err == nil
}
