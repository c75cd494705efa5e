package main

import (
	"context"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
	"github.com/pinfold-cluster/pinfold/p2p"
)

// Who knows nothing but the swarm's secret, as every follower does, may read the REST API
// over libp2p where it asks for no credentials. A request of a hundred bytes may have all
// peers asked about all pins, so there are bounds on all of them together.
const (
	readsAtOnce = 4                // of all,
	readsEach   = 2                // and of one address
	readsRate   = 5                // requests a second, of one address
	readsBurst  = 50               // at once
	readsBytes  = 4 << 20          // a second, of all answers
	readsWait   = time.Second      // for a turn
	readTime    = time.Minute      // for an answer,
	readLong    = 10 * time.Second // after which it makes room for another

	readsPart      = 16 << 10 // bytes of an answer that are let through at a time
	readsAddresses = 1024     // remembered
)

// readers bounds what is answered to strangers.
type readers struct {
	bytes *rate.Limiter

	mu   sync.Mutex
	open map[*reading]bool
	by   map[string]*rate.Limiter // of requests, by address
}

// A reading is a request that is answered.
type reading struct {
	address string
	since   time.Time
	end     func()
}

func newReaders() *readers {
	return &readers{bytes: rate.NewLimiter(readsBytes, 2*readsPart), open: map[*reading]bool{}, by: map[string]*rate.Limiter{}}
}

// turn tells when it is that of a request from address, and whether it is answered then. Who
// is refused waits as long: it has only so many streams.
func (s *readers) turn(address string, now time.Time) (wait time.Duration, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.by[address]
	if r == nil {
		if len(s.by) >= readsAddresses {
			s.forget(now)
		}
		if len(s.by) >= readsAddresses {
			return readsWait, false
		}
		r = rate.NewLimiter(readsRate, readsBurst)
		s.by[address] = r
	}
	turn := r.ReserveN(now, 1)
	if wait = turn.DelayFrom(now); wait <= readsWait {
		return wait, true
	}
	turn.CancelAt(now)
	return readsWait, false
}

// enter takes a place for who had its turn, if there is one. Another may end for that.
func (s *readers) enter(r *reading) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	places := make([]p2p.Place[*reading], 0, len(s.open))
	for o := range s.open {
		places = append(places, p2p.Place[*reading]{Of: o, Address: o.address, Since: o.since})
	}
	lost, ok := p2p.MakesRoom(places, r.address, readsAtOnce, readsEach, r.since.Add(-readLong))
	if lost != nil {
		delete(s.open, lost)
		lost.end() // before it leaves: then its connection is the next request's
	}
	if ok {
		s.open[r] = true
	}
	return ok
}

func (s *readers) leave(r *reading) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, r)
}

// forget drops those that may ask as much as ever. The caller holds mu.
func (s *readers) forget(now time.Time) {
	for address, r := range s.by {
		if r.TokensAt(now) >= readsBurst {
			delete(s.by, address)
		}
	}
}

// bound has next answer who comes from address within the bounds.
func (s *readers) bound(address string, next http.Handler, w http.ResponseWriter, r *http.Request) {
	wait, ok := s.turn(address, time.Now())
	turn := time.NewTimer(wait)
	defer turn.Stop()
	select {
	case <-turn.C:
	case <-r.Context().Done():
	}
	ctx, cancel := context.WithTimeout(r.Context(), readTime)
	defer cancel()
	answer := http.NewResponseController(w)
	_ = answer.SetWriteDeadline(time.Now().Add(readTime)) // streams can
	one := &reading{address: address, since: time.Now(), end: func() {
		cancel()
		_ = answer.SetWriteDeadline(time.Now())
	}}
	if !ok || !s.enter(one) {
		w.Header().Set("Retry-After", "1")
		web.WriteError(w, &api.Error{Code: http.StatusTooManyRequests, Message: "those who know the swarm's secret alone ask too much: " +
			"ask again later, or set api.restapi.basic_auth_credentials and come with a password or token"})
		return
	}
	defer s.leave(one)
	next.ServeHTTP(&slowAnswer{w, ctx, s.bytes}, r.WithContext(ctx))
}

// slowAnswer is written no faster than its limit.
type slowAnswer struct {
	http.ResponseWriter
	ctx   context.Context // of the request
	bytes *rate.Limiter
}

// Write implements http.ResponseWriter.
func (a *slowAnswer) Write(b []byte) (n int, err error) {
	for len(b) > 0 && err == nil {
		part := b[:min(len(b), readsPart)]
		if err = a.bytes.WaitN(a.ctx, len(part)); err != nil {
			return n, err
		}
		var done int
		done, err = a.ResponseWriter.Write(part)
		n, b = n+done, b[len(part):]
	}
	return n, err
}

// Unwrap lets an http.ResponseController reach the connection.
func (a *slowAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// boundStrangers bounds what those are answered who come to the cluster host and show no
// credentials. Who does, or may change something all the same, sends as fast as the line.
func (p *Daemon) boundStrangers(next http.Handler) http.Handler {
	if len(p.c.API.REST.Libp2pListenMultiaddress) > 0 {
		return next
	}
	readers := newReaders()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, err := api.ParsePeerID(r.RemoteAddr)
		switch {
		case err != nil || p.host.CheckSpoken(r.Context(), from) == nil:
			next.ServeHTTP(w, r)
		case web.IdentityOf(r).User != "" || mayChange(r):
			p.host.Vouch(from)
			next.ServeHTTP(w, r)
		default:
			readers.bound(p.host.Address(from), next, w, r)
		}
	})
}

// mayChange tells whether r was let in to change something.
func mayChange(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return false
	}
	return web.IdentityOf(r).Scope > api.ScopeRead
}
