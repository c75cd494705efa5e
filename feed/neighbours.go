package feed

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/sec"
	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	neighbourTick = time.Second
	callsAtOnce   = 4                // but see callsAlone
	callTime      = 15 * time.Second // to connect and to say hello
	saveEvery     = 30 * time.Second
	// greetEvery is how often a neighbour is asked whom else it knows, and told anew who
	// this is; greetSoon when it is asked first while there are too few.
	greetEvery = 8 * time.Minute
	greetSoon  = 30 * time.Second
	// lingerTime is how long a visit lasts, for questions back: others wait to be let in.
	lingerTime = 3 * time.Second
	// toldLate is how old what neighbours bring of members may be, by the members' clocks.
	toldLate = 10 * time.Minute
	// lieTime is for how long one that lied is not called again: it may be the only one.
	lieTime = 2 * time.Minute
)

// A call is how an introduction went.
type call struct {
	id       api.PeerID
	member   bool
	shown    bool // that it is a member
	answered bool
	busy     bool            // it has no time for hellos now
	at       []api.Multiaddr // where it was called,
	there    bool            // and somebody of the cluster was there
	again    time.Duration   // after which hello is said again at the soonest
	hello
}

// keepNeighbours keeps connected with a few others, one of them a member where one has
// room, until ctx ends.
func (f *Follower) keepNeighbours(ctx context.Context) error {
	k := newKeeper(f, time.Now())
	tick := time.NewTicker(neighbourTick)
	defer tick.Stop()
	defer f.book.save()
	saved := time.Now()
	for {
		k.look(ctx, time.Now())
		select {
		case <-ctx.Done():
			return k.calls.Wait() // they end with ctx, and done has room for them
		case c := <-k.done:
			k.ended(c)
		case <-tick.C:
		}
		if time.Since(saved) > saveEvery {
			f.book.save()
			saved = time.Now()
		}
	}
}

// A keeper makes the calls. Its fields belong to one goroutine.
type keeper struct {
	*Follower
	calls    errgroup.Group
	done     chan call
	busy     map[api.PeerID]bool     // called, and not done
	greet    map[api.PeerID]*backoff // when each neighbour is to hear hello again
	visits   visits
	visiting map[api.PeerID]time.Time // when to part from members that have no place
	company  time.Time                // when there was a neighbour last
	replace  backoff                  // of neighbours, while they keep back what members say
}

func newKeeper(f *Follower, now time.Time) *keeper {
	most := f.callsAlone() + 1 // of them one to a member
	k := &keeper{Follower: f, done: make(chan call, most), busy: map[api.PeerID]bool{}, greet: map[api.PeerID]*backoff{}, visiting: map[api.PeerID]time.Time{},
		visits: newVisits(now, f.book.refused, f.o.Patience), company: now}
	k.calls.SetLimit(most)
	return k
}

// callsAlone is how many are called at once by a follower without any neighbour: of those
// that it knew when it was here last many may be away, and members are not to be called
// for that.
func (f *Follower) callsAlone() int { return max(callsAtOnce, f.o.Neighbours) }

// look calls whom there are too few of. Members have few places for many: they are
// called where nobody else helps, one at a time, and on visits.
func (k *keeper) look(ctx context.Context, now time.Time) {
	n, members := k.dropGone(now)
	toMembers, toOthers := k.book.due(now, n == 0)
	toMembers, toOthers = slices.DeleteFunc(toMembers, k.known), slices.DeleteFunc(toOthers, k.known)
	if n > 0 {
		k.company = now
	}
	k.visits.look(now, k.getsOn(now, members), k.o.Lacks())
	lonely := n == 0 && now.Sub(k.company) > aloneFor
	few := len(toOthers) == 0 && n+len(k.busy) < max(1, k.o.Neighbours/2)
	visit := (!members || k.isAstray(now)) && k.visits.due(now)
	if len(toMembers) > 0 && !k.callingMember() && (lonely || few || visit) {
		k.call(ctx, toMembers[0], n)
	}
	if k.visits.stuck(now) {
		k.replaceOne(now)
	} else {
		k.replace = backoff{}
	}
	atOnce := callsAtOnce
	if n == 0 {
		atOnce = k.callsAlone()
	}
	for _, p := range toOthers {
		if n+len(k.busy) >= k.o.Neighbours || len(k.busy) >= atOnce {
			break
		}
		k.call(ctx, p, n)
	}
	k.greetDue(ctx, now, n)
	k.endVisits(now)
}

// getsOn tells whether a member is among the neighbours, or what members say comes from
// them: else they may keep it to themselves. One that has stopped nobody can help.
func (k *keeper) getsOn(now time.Time, members bool) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	told := k.words.beacon(now).beacon.time
	return members || k.evidence != nil || !k.behind() && now.Sub(k.heard) < k.o.Patience && now.Sub(told) < toldLate
}

// replaceOne leaves a neighbour, now and then, so that there is room for another.
func (k *keeper) replaceOne(now time.Time) {
	k.mu.Lock()
	var one api.PeerID
	for one = range k.neighbours { // any
		break
	}
	copying := k.copying
	k.mu.Unlock()
	if one == "" || copying || now.Before(k.replace.next) {
		return
	}
	k.replace.failed(stuckAfter*k.o.Patience, wantMin)
	if p := k.book.by[one]; p != nil {
		p.retry.failed(wantMin, tryMax)
	}
	k.log.Debug("no member has been heard for long: a neighbour is left for others", "peer", one)
	k.part(one, false)
}

// known tells whether p needs no call.
func (k *keeper) known(p *contact) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, is := k.neighbours[p.ID]
	return is || k.busy[p.ID] || p.ID == k.net.ID() || time.Now().Before(k.liars[p.ID])
}

func (k *keeper) callingMember() bool {
	for id := range k.busy {
		if p := k.book.by[id]; p != nil && p.member {
			return true
		}
	}
	return false
}

// dropGone forgets neighbours that are not connected any more, and counts the others.
func (k *keeper) dropGone(now time.Time) (n int, member bool) {
	connected := k.net.Connected()
	k.mu.Lock()
	defer k.mu.Unlock()
	lost := false
	for id, p := range k.neighbours {
		if !slices.Contains(connected, id) {
			delete(k.neighbours, id)
			delete(k.greet, id)
			lost = true
			if p.Member {
				k.visits.lost(now)
			}
			continue
		}
		n++
		member = member || p.Member
	}
	if !lost || n >= k.o.Neighbours {
		return n, member
	}
	for id, p := range k.neighbours { // perhaps they know others by now
		if b := k.greet[id]; b != nil && !p.Member {
			*b = backoff{}
			b.failed(greetSoon, greetEvery)
		}
	}
	return n, member
}

// greetDue says hello again to neighbours whose turn it is.
func (k *keeper) greetDue(ctx context.Context, now time.Time, n int) {
	for id, b := range k.greet {
		if p := k.book.by[id]; p != nil && now.After(b.next) && !k.busy[id] && len(k.busy) < callsAtOnce {
			k.call(ctx, p, n)
		}
	}
}

// call connects to p and says hello, where there are n neighbours.
func (k *keeper) call(ctx context.Context, p *contact, n int) {
	c := call{id: p.ID, member: p.member, again: greetSoon}
	if n >= k.o.Neighbours {
		c.again = greetEvery
	}
	info := peer.AddrInfo{ID: p.ID, Addrs: k.book.whereTo(p, time.Now())}
	c.at = info.Addrs
	if k.calls.TryGo(func() error {
		k.done <- k.introduce(ctx, info, c)
		return nil
	}) {
		k.busy[p.ID] = true
	}
}

// introduce makes the call c. One that is known for a member, and has no place, is not
// asked to show it again.
func (k *keeper) introduce(ctx context.Context, info peer.AddrInfo, c call) call {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	if err := k.net.Connect(ctx, info); err != nil {
		k.log.Debug("peer cannot be reached", "peer", info.ID, "err", err)
		c.there = errors.As(err, new(sec.ErrPeerIDMismatch))
		return c
	}
	c.there = true
	own := introduction(k.net, k.o.Name, k.o.Version, k.o.Data)
	own.Enough = c.again == greetEvery
	h, err := k.client.hello(ctx, info.ID, own)
	if err != nil {
		k.log.Debug("peer does not say hello", "peer", info.ID, "err", err)
		c.busy = errors.Is(err, errBusy)
		return c
	}
	c.hello, c.answered = h, true
	if h.Admitted || !c.member || k.o.Lacks() {
		c.member = k.net.Check(ctx, info.ID) == nil
		c.shown = c.member
	}
	return c
}

// ended takes what became of a call.
func (k *keeper) ended(c call) {
	delete(k.busy, c.id)
	p := k.book.by[c.id]
	if p == nil { // forgotten meanwhile
		delete(k.greet, c.id)
		k.part(c.id, false)
		return
	}
	if !p.met && !p.member {
		k.book.misses.add(c.at, c.there, time.Now())
	}
	if again := k.greet[c.id]; c.busy && again != nil { // a neighbour stays one
		again.failed(c.again, greetEvery)
		return
	}
	for _, n := range c.Neighbours {
		if id, err := peer.IDFromBytes(n.ID); err == nil && id != k.net.ID() {
			k.book.learn(peer.AddrInfo{ID: id, Addrs: n.Addrs})
		}
	}
	k.hear(c.Beacon)
	p.met = p.met || c.answered
	p.member = c.member
	if c.answered && c.member {
		k.visits.made(time.Now(), c.Admitted)
		k.book.refused = k.visits.refused
		if !c.Admitted && c.shown && k.o.Lacks() { // it lets whom it met fetch, place or not
			k.o.Met(c.hello.peer(k.net, c.id, true))
		}
	}
	if !c.answered || !c.Admitted || !c.member && !k.net.Welcome(c.id) {
		delete(k.greet, c.id)
		p.retry.failed(tryMin, tryMax)
		if c.answered && c.member {
			k.linger(c.id, time.Now())
		} else {
			k.part(c.id, false)
		}
		return
	}
	p.retry = backoff{}
	b := k.greet[c.id]
	if b == nil {
		b = &backoff{}
		k.greet[c.id] = b
	}
	b.failed(c.again, greetEvery)
	who := c.hello.peer(k.net, c.id, c.member)
	k.mu.Lock()
	k.neighbours[c.id] = who
	k.mu.Unlock()
	k.met.add(who)
	k.o.Met(who)
	k.nudge()
}

// hear takes what a member that has no place says of where the log ends, if it does.
func (f *Follower) hear(beacon []byte) {
	if len(beacon) == 0 {
		return
	}
	m, err := f.judge.read(beacon)
	if err != nil || m.kind != kindBeacon {
		f.log.Debug("a peer without a place says nothing of the log", "err", err)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.evidence == nil && m.key == f.judge.key.Load() {
		f.note(m)
		f.nudge()
	}
}

// linger ends a visit to a member without a place somewhat later: it may have questions.
func (k *keeper) linger(id api.PeerID, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.neighbours, id)
	k.visiting[id] = now.Add(lingerTime)
}

// endVisits ends those that have lasted long enough.
func (k *keeper) endVisits(now time.Time) {
	for id, end := range k.visiting {
		if now.Before(end) || k.busy[id] {
			continue
		}
		delete(k.visiting, id)
		k.mu.Lock()
		_, is := k.neighbours[id]
		k.mu.Unlock()
		if !is {
			k.part(id, false)
		}
	}
}

// part ends the connection with a peer, and for a while does not call one that lied.
func (f *Follower) part(id api.PeerID, lied bool) {
	f.mu.Lock()
	_, was := f.neighbours[id]
	delete(f.neighbours, id)
	f.mu.Unlock()
	if lied {
		f.mu.Lock()
		if len(f.liars) >= maxBook {
			clear(f.liars)
		}
		f.liars[id] = time.Now().Add(lieTime)
		f.mu.Unlock()
		f.log.Info("a neighbour is left: it lies", "peer", id)
	}
	if was || !slices.Contains(f.net.Guests(), id) { // who called here stays
		f.net.Dismiss(id)
	}
}
