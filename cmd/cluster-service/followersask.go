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
	// visitorsEvery is how often a follower without a place here is asked at most: there may
	// be any number of them.
	visitorsEvery = time.Second
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
	visitors *lobby // met lately
	visited  *lobby // visitors that answered, to be challenged before they go
	wake     chan struct{}
	claims   feed.Claims   // of all that any full peer knows
	least    feed.Standing // of claims that count
	life     uint64        // another number after each start
}

func newAudience(f askable, admitted func(api.PeerID) bool, every time.Duration, log *slog.Logger) *audience {
	return &audience{feed: f, admitted: admitted, every: every, log: log, book: newBook(maxKnown), visitors: newLobby(rate.Every(visitorsEvery)), visited: newLobby(rate.Inf),
		wake: make(chan struct{}, 1), least: feed.Proven, life: rand.Uint64()}
}

// met is told of every follower that says hello. It does not block.
func (a *audience) met(p feed.Peer) {
	a.book.met(p)
	if !a.connected()[p.ID] {
		a.visitors.enter(p, time.Now())
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
		if who, done, ok := a.next(time.Now()); ok {
			if a.ask(ctx, who.ID) && !who.at.IsZero() {
				a.visited.enter(who.Peer, who.at)
			}
			done()
			continue
		}
		select {
		case <-ctx.Done():
		case <-a.wake:
		case <-tick.C:
		}
	}
}

// next takes whom to ask, until done is called: one that is connected, or else a visitor,
// which came at a time.
func (a *audience) next(now time.Time) (who visitor, done func(), ok bool) {
	if id, ok := a.book.due(a.feed.Followers(), a.every, now); ok {
		return visitor{Peer: feed.Peer{ID: id}}, func() {}, true
	}
	if who, done, ok = a.visitors.take(now); !ok {
		return visitor{}, nil, false
	}
	if _, ok = a.book.due([]feed.Peer{who.Peer}, a.every, now); !ok {
		done()
	}
	return who, done, ok
}

// ask tells whether the follower answers.
func (a *audience) ask(ctx context.Context, id api.PeerID) bool {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	r, err := a.feed.Report(ctx, id)
	if err != nil {
		a.book.missed(id, err)
		a.log.Debug("a follower does not answer", "peer", id, "err", err)
		return false
	}
	now := time.Now()
	a.book.answered(id, r, a.agrees(r), now)
	a.count(id, now)
	return true
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
