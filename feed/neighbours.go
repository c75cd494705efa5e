package feed

import (
	"context"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	neighbourTick = time.Second
	callsAtOnce   = 4
	callTime      = 15 * time.Second // to connect and to say hello
	saveEvery     = 30 * time.Second
	// greetEvery is how often a neighbour is asked whom else it knows, and told anew who
	// this is: sooner while there are too few.
	greetEvery = 4 * time.Minute
	greetSoon  = 30 * time.Second
	// stuckAfter is how many times its patience a follower goes on with neighbours from
	// which it does not learn what members say, and toldLate how old that may be, by the
	// members' clocks.
	stuckAfter = 4
	toldLate   = 10 * time.Minute
)

// A call is how an introduction went.
type call struct {
	id       api.PeerID
	member   bool
	answered bool
	hello
}

// keepNeighbours keeps connected with a few others, one of them a member where one has
// room, until ctx ends.
func (f *Follower) keepNeighbours(ctx context.Context) error {
	k := &keeper{Follower: f, done: make(chan call, callsAtOnce), busy: map[api.PeerID]bool{}, greeted: map[api.PeerID]time.Time{}, well: time.Now()}
	k.calls.SetLimit(callsAtOnce)
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
	calls   errgroup.Group
	done    chan call
	busy    map[api.PeerID]bool // called, and not done
	greeted map[api.PeerID]time.Time
	visit   backoff // to members, while there are enough others

	well    time.Time // when last all was there that members said
	replace backoff   // of neighbours, while it is not
}

// look calls whom there are too few of.
func (k *keeper) look(ctx context.Context, now time.Time) {
	n, members := k.dropGone()
	members = members || k.callingMember()
	toMembers, toOthers := k.book.due(now, n == 0)
	toMembers, toOthers = slices.DeleteFunc(toMembers, k.known), slices.DeleteFunc(toOthers, k.known)
	// Members have few places for many: while there are others to try, few are enough.
	short := n+len(k.busy) < k.o.Neighbours && (len(toOthers) == 0 || n+len(k.busy) < k.o.Neighbours/2)
	stuck := k.isStuck(now, members) && n > 0
	if stuck {
		k.replaceOne(now)
	}
	if !members && len(toMembers) > 0 && (short || stuck || k.visits(n, now)) {
		k.call(ctx, toMembers[0])
		toMembers = toMembers[1:]
	}
	if short {
		toOthers = append(toOthers, toMembers...)
	}
	for _, p := range toOthers {
		if n+len(k.busy) >= k.o.Neighbours || len(k.busy) >= callsAtOnce {
			break
		}
		k.call(ctx, p)
	}
	k.greet(ctx, now, n)
}

// visits tells whether it is time to ask a member for a place though there are enough
// neighbours, none of them a member.
func (k *keeper) visits(n int, now time.Time) bool {
	if n == 0 || now.Before(k.visit.next) {
		return false
	}
	first := k.visit.wait == 0
	k.visit.failed(visitMin, visitMax)
	return !first
}

// isStuck tells whether there is no member among the neighbours, and what members say has
// not come from them for long: perhaps they keep it to themselves.
func (k *keeper) isStuck(now time.Time, members bool) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	told := k.words.beacon(now).beacon.time
	if members || !k.behind() && now.Sub(k.heard) < k.o.Patience && now.Sub(told) < toldLate {
		k.well, k.replace = now, backoff{}
	}
	return now.Sub(k.well) > stuckAfter*k.o.Patience
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
	k.replace.failed(stuckAfter*k.o.Patience, visitMin)
	if p := k.book.by[one]; p != nil {
		p.retry.failed(visitMin, tryMax)
	}
	k.log.Debug("no member has been heard for long: a neighbour is left for others", "peer", one)
	k.part(one, false)
}

// known tells whether p needs no call.
func (k *keeper) known(p *contact) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, is := k.neighbours[p.ID]
	return is || k.busy[p.ID] || p.ID == k.net.ID()
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
func (k *keeper) dropGone() (n int, member bool) {
	connected := k.net.Connected()
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, p := range k.neighbours {
		if !slices.Contains(connected, id) {
			delete(k.neighbours, id)
			delete(k.greeted, id)
			continue
		}
		n++
		member = member || p.Member
	}
	return n, member
}

// greet says hello again to a neighbour whose turn it is.
func (k *keeper) greet(ctx context.Context, now time.Time, n int) {
	every := greetEvery
	if n < k.o.Neighbours {
		every = greetSoon
	}
	for id, at := range k.greeted {
		if p := k.book.by[id]; p != nil && now.Sub(at) > every && !k.busy[id] && len(k.busy) < callsAtOnce {
			k.call(ctx, p)
		}
	}
}

// call connects to p and says hello.
func (k *keeper) call(ctx context.Context, p *contact) {
	info := p.AddrInfo
	info.Addrs = slices.Clone(info.Addrs)
	if k.calls.TryGo(func() error {
		c := k.introduce(ctx, info)
		k.done <- c
		return nil
	}) {
		k.busy[p.ID] = true
	}
}

func (k *keeper) introduce(ctx context.Context, info peer.AddrInfo) call {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	c := call{id: info.ID}
	if err := k.net.Connect(ctx, info); err != nil {
		k.log.Debug("peer cannot be reached", "peer", info.ID, "err", err)
		return c
	}
	h, err := k.client.hello(ctx, info.ID, introduction(k.net, k.o.Name, k.o.Version, k.o.Data))
	if err != nil {
		k.log.Debug("peer does not say hello", "peer", info.ID, "err", err)
		return c
	}
	c.hello, c.answered = h, true
	c.member = k.net.Check(ctx, info.ID) == nil
	return c
}

// ended takes what became of a call.
func (k *keeper) ended(c call) {
	delete(k.busy, c.id)
	delete(k.greeted, c.id)
	p := k.book.by[c.id]
	if p == nil { // forgotten meanwhile
		k.part(c.id, false)
		return
	}
	for _, n := range c.Neighbours {
		if id, err := peer.IDFromBytes(n.ID); err == nil && id != k.net.ID() {
			k.book.learn(peer.AddrInfo{ID: id, Addrs: n.Addrs})
		}
	}
	p.met = p.met || c.answered
	p.member = p.member && !c.answered || c.member
	if !c.answered || !c.Admitted || !c.member && !k.net.Welcome(c.id) {
		p.retry.failed(tryMin, tryMax)
		k.part(c.id, false)
		return
	}
	p.retry = backoff{}
	if c.member {
		k.visit = backoff{}
	}
	k.greeted[c.id] = time.Now()
	who := c.hello.peer(c.id, c.member)
	k.mu.Lock()
	k.neighbours[c.id] = who
	k.mu.Unlock()
	k.met.add(who)
	k.o.Met(who)
	k.nudge()
}

// part ends the connection with a peer.
func (f *Follower) part(id api.PeerID, lied bool) {
	f.mu.Lock()
	_, was := f.neighbours[id]
	delete(f.neighbours, id)
	f.mu.Unlock()
	if lied {
		f.log.Info("a neighbour is left: it lies", "peer", id)
	}
	if was || !slices.Contains(f.net.Guests(), id) { // who called here stays
		f.net.Dismiss(id)
	}
}
