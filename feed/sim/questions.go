package sim

import (
	"context"
	"time"

	"golang.org/x/time/rate"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/feed"
)

// What voters ask their followers, as cmd/cluster-service does with the defaults of the
// settings.
const (
	askEvery       = 2 * time.Minute
	challengeEvery = 10 * time.Minute
	challengeAsked = 16 // pins, which of them a follower has,
	challengeParts = 8  // and blocks of one of those
	visitorsEvery  = time.Second
	askTick        = time.Second
)

// An asker asks a voter's followers, and those that come by, how far they are and what
// they have.
type asker struct {
	v          *Voter
	cids       []api.Cid
	visitors   chan feed.Peer
	visits     *rate.Limiter
	asked      map[api.PeerID]time.Time
	challenged map[api.PeerID]time.Time
}

func newAsker() *asker {
	a := &asker{visitors: make(chan feed.Peer, 16), visits: rate.NewLimiter(rate.Every(visitorsEvery), 1),
		asked: map[api.PeerID]time.Time{}, challenged: map[api.PeerID]time.Time{}}
	for i := range challengeAsked {
		a.cids = append(a.cids, somePin(i).Cid)
	}
	return a
}

// met is told of every follower that says hello.
func (a *asker) met(p feed.Peer) {
	select {
	case a.visitors <- p:
	default:
	}
}

// run asks until ctx ends.
func (a *asker) run(ctx context.Context) error {
	tick := time.NewTicker(askTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case p := <-a.visitors:
			if a.visits.Allow() {
				a.turn(ctx, p.ID)
			}
		case <-tick.C:
			for _, p := range a.v.Publisher.Followers() {
				a.turn(ctx, p.ID)
			}
		}
	}
}

// turn asks a follower what it is time to ask. One that has gone does not answer.
func (a *asker) turn(ctx context.Context, id api.PeerID) {
	if now := time.Now(); now.Sub(a.asked[id]) >= askEvery {
		a.asked[id] = now
		if r, err := a.v.Publisher.Report(ctx, id); err != nil || !r.Settled {
			return
		}
	}
	if now := time.Now(); now.Sub(a.challenged[id]) >= challengeEvery {
		a.challenged[id] = now
		if _, err := a.v.Publisher.PinStatuses(ctx, id, a.cids); err != nil {
			return
		}
		_, _ = a.v.Publisher.Challenge(ctx, id, feed.Challenge{Nonce: make([]byte, 32), Cids: a.cids[:challengeParts]})
	}
}

// answers are a follower's, as long as real ones.
type answers struct{ f *Follower }

// Report implements feed.Answers, as do the next.
func (a answers) Report(context.Context) (feed.Report, error) {
	s, all := a.f.Feed.Status(), feed.ClaimAll()
	return feed.Report{Index: s.Index, Digest: s.Digest[:], Settled: s.Settled, Hold: "all", Pins: 1 << 20, Bytes: 1 << 40, Claim: all[:],
		Wanted: 1 << 20, Latest: s.Latest, Free: 1 << 40}, nil
}

func (a answers) PinStatuses(_ context.Context, cids []api.Cid) (out []api.PinInfo, err error) {
	for _, c := range cids {
		out = append(out, api.PinInfo{Cid: c, PinInfoShort: api.PinInfoShort{Status: api.StatusPinned, Timestamp: time.Now()}})
	}
	return out, nil
}

func (a answers) Challenge(_ context.Context, c feed.Challenge) (out feed.Answer, err error) {
	for range c.Cids {
		out.Hashes = append(out.Hashes, make([]byte, 32))
	}
	return out, nil
}

// coverage is the body of a table, as long as real ones.
func coverage() ([]byte, bool) {
	b, err := api.Encode(feed.Coverage{Time: time.Now().Unix(), Followers: 1, Counts: make([]byte, 16*len(feed.Claim{}))})
	return b, err == nil
}

// What the data host of a follower with a place costs those of the voters, with all of
// which it keeps connected: at both ends yamux looks in dataAliveEvery whether the other is
// there, and in learnEvery it asks one where the others are. Content is not counted.
const (
	dataAliveEvery = 2 * time.Minute
	learnEvery     = 5 * time.Minute
	learnBytes     = 1000 // both ways
)

// dataBytes is that in a second, for so many followers with a place.
func dataBytes(places int) float64 {
	kept := 2 * keepAliveWrites * frame * (1/dataAliveEvery.Seconds() + 1/distanceEvery.Seconds())
	return float64(places) * (voters*kept + learnBytes/learnEvery.Seconds())
}
