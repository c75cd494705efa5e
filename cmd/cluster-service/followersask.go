package main

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/feed"
)

const (
	askersAtOnce = 4
	// askTimeout bounds a question to a follower. One that does not answer keeps an asker
	// from the others for so long.
	askTimeout = 5 * time.Second
	// askSoon is between questions at most to one that is copying the pinset.
	askSoon = 30 * time.Second
	// askTick is between looks at whom to ask.
	askTick = time.Second
	// visitorsWaiting bounds the followers without a place here that wait to be asked, and
	// visitorsEvery how often one of them is: they are there for seconds, and there may be
	// any number of them.
	visitorsWaiting = 16
	visitorsEvery   = time.Second
)

// askable is what an audience asks of a feed.Publisher.
type askable interface {
	Followers() []feed.Peer
	Report(ctx context.Context, id api.PeerID) (feed.Report, error)
	PinStatuses(ctx context.Context, id api.PeerID, cids []api.Cid) ([]api.PinInfo, error)
	Challenge(ctx context.Context, id api.PeerID, c feed.Challenge) (feed.Answer, error)
	Agrees(index uint64, digest []byte) (agrees, known bool)
}

// An audience is what a full peer knows of the followers that are connected with it, or
// were. It asks a few at a time, so that they make the same work however many there are.
type audience struct {
	feed     askable
	admitted func(data api.PeerID) bool // whether a data host may fetch from this peer's
	every    time.Duration              // between questions to a follower
	log      *slog.Logger
	book     *book
	visitors chan feed.Peer // met lately
	visits   *rate.Limiter
	visited  chan feed.Peer // visitors that answered, to be challenged before they go
	wake     chan struct{}
	claims   feed.Claims   // of all that any full peer knows
	least    feed.Standing // of claims that count
	life     uint64        // another number after each start
}

func newAudience(f askable, admitted func(api.PeerID) bool, every time.Duration, log *slog.Logger) *audience {
	return &audience{feed: f, admitted: admitted, every: every, log: log, book: newBook(maxKnown), visitors: make(chan feed.Peer, visitorsWaiting), visited: make(chan feed.Peer, visitorsWaiting),
		visits: rate.NewLimiter(rate.Every(visitorsEvery), 1), wake: make(chan struct{}, 1), least: feed.Proven, life: rand.Uint64()}
}

// met is told of every follower that says hello. It does not block.
func (a *audience) met(p feed.Peer) {
	a.book.met(p)
	if !a.connected()[p.ID] {
		select {
		case a.visitors <- p:
		default: // it is asked another time
		}
	}
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// run asks followers until ctx ends.
func (a *audience) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for range askersAtOnce {
		g.Go(func() error { a.work(ctx); return nil })
	}
	return g.Wait()
}

func (a *audience) work(ctx context.Context) {
	tick := time.NewTicker(min(askTick, a.every))
	defer tick.Stop()
	for ctx.Err() == nil {
		if id, ok := a.next(time.Now()); ok {
			a.ask(ctx, id)
			continue
		}
		select {
		case <-ctx.Done():
		case <-a.wake:
		case <-tick.C:
		}
	}
}

// next takes whom to ask: one that is connected, or else a visitor.
func (a *audience) next(now time.Time) (api.PeerID, bool) {
	if id, ok := a.book.due(a.feed.Followers(), a.every, now); ok {
		return id, true
	}
	select {
	case p := <-a.visitors:
		if a.visits.Allow() {
			return a.book.due([]feed.Peer{p}, a.every, now)
		}
	default:
	}
	return "", false
}

func (a *audience) ask(ctx context.Context, id api.PeerID) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	r, err := a.feed.Report(ctx, id)
	if err != nil {
		a.book.missed(id, err)
		a.log.Debug("a follower does not answer", "peer", id, "err", err)
		return
	}
	now := time.Now()
	a.book.answered(id, r, a.agrees(r), now)
	a.count(id, now)
	if !a.connected()[id] {
		select {
		case a.visited <- feed.Peer{ID: id}:
		default: // nobody challenges here, or too many came
		}
	}
}

// agrees tells whether a follower has the cluster's pinset, nil where that is not known.
func (a *audience) agrees(r feed.Report) *bool {
	if agrees, known := a.feed.Agrees(r.Index, r.Digest); known {
		return &agrees
	}
	return nil
}

// page gives up to most followers past after, by the bytes of their IDs.
func (a *audience) page(after api.PeerID, most int) []api.Follower {
	connected := a.connected()
	notes := a.book.page(after, most)
	out := make([]api.Follower, len(notes))
	for i, n := range notes {
		out[i] = a.show(n, connected)
	}
	return out
}

// get gives one follower, if it is known.
func (a *audience) get(id api.PeerID) (api.Follower, bool) {
	n, ok := a.book.get(id)
	return a.show(n, a.connected()), ok
}

func (a *audience) connected() map[api.PeerID]bool {
	out := map[api.PeerID]bool{}
	for _, p := range a.feed.Followers() {
		out[p.ID] = true
	}
	return out
}

func (a *audience) show(n followerNote, connected map[api.PeerID]bool) api.Follower {
	f := n.follower()
	f.Connected, f.Admitted = connected[f.ID], a.admitted(n.peer.Data.ID)
	if f.Agrees == nil { // it may have been ahead of this peer
		f.Agrees = a.agrees(n.report)
	}
	return f
}
