package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/pinfold-cluster/pinfold/feed"
)

// catchUpTime is how long a follower may take to have what the voters have.
const catchUpTime = 5 * time.Minute

// A Load is what is measured.
type Load struct {
	Followers int
	Places    int           // for followers, of each voter
	Ramp      time.Duration // over which the followers enter
	Settle    time.Duration // after that, and after each of what follows
	Idle      time.Duration // with nothing to say
	Pins      int           // committed after that,
	Every     time.Duration // one in this time
	Busy      int           // and after those, ten a second
	Churn     int           // followers that then leave for as long as Settle, while pins go on
	Late      int           // followers that enter after that, while no place is free
}

// Figures are what a Load cost the voters, all three together, in and out, and how
// fast followers were told.
type Figures struct {
	Followers  int
	EnterBytes float64       // for a follower to enter
	IdleBytes  float64       // a second while idle: gossip, connections and AskBytes
	AskBytes   float64       // a second of hellos, and of what voters ask followers
	PinBytes   float64       // a pin, one in Load.Every: with what is idle
	BusyBytes  float64       // a pin of Load.Busy, as PinBytes
	LateBytes  float64       // for a follower to enter that is late: where there is no place, a visit
	Near, Far  Returns       // of followers with a place, and without
	Half, Most time.Duration // until 50 and 99 % of the followers have a pin; means
	Last       time.Duration // until the last of all pins is everywhere
	Guests     int           // followers with a place at a voter
}

// Measure runs the load on a cluster with states in dir. It fails where followers do
// not get to the voters' pinset.
func Measure(dir string, l Load) (out Figures, err error) {
	out.Followers = l.Followers
	c, err := NewCluster(New(), dir, l.Places)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	var all []*Follower
	defer func() {
		for _, f := range all {
			err = errors.Join(err, f.Leave())
		}
	}()
	enter := func() error {
		f, err := c.Follower()
		if err != nil {
			return err
		}
		if err := f.Enter(); err != nil {
			return err
		}
		all = append(all, f)
		return nil
	}
	if err := c.Pin(100); err != nil {
		return out, err
	}
	before := c.bytes()
	for range l.Followers {
		if err := enter(); err != nil {
			return out, err
		}
		time.Sleep(l.Ramp / time.Duration(l.Followers))
	}
	time.Sleep(l.Settle)
	if err := same(all); err != nil {
		return out, err
	}
	out.EnterBytes = float64(c.bytes().sum(visits)-before.sum(visits)) / float64(l.Followers)

	before = c.bytes()
	time.Sleep(l.Idle)
	after := c.bytes()
	for _, v := range c.Voters {
		out.Guests += len(v.Guests())
	}
	out.AskBytes = (after.sum(visits) - before.sum(visits)) / l.Idle.Seconds()
	beside := out.AskBytes + dataBytes(out.Guests)
	out.IdleBytes = (after.sum(gossip)-before.sum(gossip))/l.Idle.Seconds() + beside

	before, first := c.bytes(), c.pinned
	if err := c.pinSome(l.Pins, l.Every); err != nil {
		return out, err
	}
	after = c.bytes()
	out.PinBytes = (after.sum(gossip)-before.sum(gossip))/float64(l.Pins) + beside*l.Every.Seconds()
	time.Sleep(l.Settle)
	if err := same(all); err != nil {
		return out, err
	}
	if err := c.delaysOf(first, &out); err != nil {
		return out, err
	}
	if l.Busy > 0 {
		before = c.bytes()
		const every = time.Second / 10
		if err := c.pinSome(l.Busy, every); err != nil {
			return out, err
		}
		out.BusyBytes = (c.bytes().sum(gossip)-before.sum(gossip))/float64(l.Busy) + beside*every.Seconds()
		time.Sleep(l.Settle)
	}
	if l.Churn > 0 {
		if out.Near, out.Far, err = c.churn(all, l); err != nil {
			return out, err
		}
	}
	if l.Late > 0 {
		before = c.bytes()
		for range l.Late {
			if err := enter(); err != nil {
				return out, err
			}
		}
		time.Sleep(l.Settle)
		out.LateBytes = (c.bytes().sum(visits) - before.sum(visits)) / float64(l.Late)
	}
	return out, same(all)
}

// Visit measures what one visit of a follower costs the voters, where there is no place:
// with what they ask it meanwhile. Of one that lacks content their certificate would come
// to that, some 1,400 bytes.
func Visit(dir string) (bytes float64, err error) {
	const followers, places = 6, 1
	c, err := NewCluster(New(), dir, places)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := c.Pin(100); err != nil {
		return 0, err
	}
	var all []*Follower
	defer func() {
		for _, f := range all {
			err = errors.Join(err, f.Leave())
		}
	}()
	for range followers {
		f, err := c.Follower()
		if err == nil {
			err = f.Enter()
		}
		if err != nil {
			return 0, err
		}
		all = append(all, f)
		time.Sleep(time.Second)
	}
	time.Sleep(time.Minute)
	out := slices.DeleteFunc(slices.Clone(all), c.hasPlace)
	time.Sleep(challengeEvery) // since they came by first: they are asked all again
	before := c.dealings(out)
	for _, f := range out {
		if err := errors.Join(f.Leave(), f.refusedAt(time.Now().Add(-2*feed.VisitEvery)), f.Enter()); err != nil {
			return 0, err
		}
		time.Sleep(2 * visitorsEvery)
	}
	time.Sleep(time.Minute)
	after := c.dealings(out)
	if after.Calls == before.Calls {
		return 0, errors.New("nobody visited a voter")
	}
	return float64(after.Bytes-before.Bytes) / float64(after.Calls-before.Calls), same(all)
}

func (c *Cluster) hasPlace(f *Follower) bool {
	return slices.ContainsFunc(c.Voters[:], func(v *Voter) bool { return slices.Contains(v.Guests(), f.id.ID) })
}

// dealings are those of the voters with some followers.
func (c *Cluster) dealings(with []*Follower) (sum Dealings) {
	for _, v := range c.Voters {
		for _, f := range with {
			sum = sum.plus(c.Net.Dealings(v.ID(), f.id.ID))
		}
	}
	return sum
}

// same returns once all followers have the voters' pinset; an error after a while.
func same(all []*Follower) error {
	late := time.Now().Add(catchUpTime)
	for _, f := range all {
		err := f.Is()
		for ; err != nil && time.Now().Before(late); err = f.Is() {
			time.Sleep(time.Second)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// pinSome commits pins, one in each step.
func (c *Cluster) pinSome(n int, every time.Duration) error {
	for range n {
		if err := c.Pin(1); err != nil {
			return err
		}
		time.Sleep(every)
	}
	return nil
}

// Returns are those of followers that left and came back.
type Returns struct {
	Bytes int64 // that the voters exchanged with them, without gossip
	Count int
}

// each is what one cost; 0 where there was none.
func (r Returns) each() float64 { return float64(r.Bytes) / float64(max(1, r.Count)) }

func (r Returns) plus(s Returns) Returns { return Returns{r.Bytes + s.Bytes, r.Count + s.Count} }

// churn has followers leave, one after the other, while pins go on, and come back. What
// the voters have to do meanwhile with others that have no place is far's, too.
func (c *Cluster) churn(all []*Follower, l Load) (near, far Returns, err error) {
	order := rand.Perm(len(all))
	var stay []*Follower
	for _, i := range order[l.Churn:] {
		if !c.hasPlace(all[i]) {
			stay = append(stay, all[i])
		}
	}
	before := c.dealings(stay)
	bytes, had := make([]int64, l.Churn), make([]bool, l.Churn)
	var g errgroup.Group
	for n, i := range order[:l.Churn] {
		if err := c.Pin(1); err != nil {
			return near, far, err
		}
		had[n] = c.hasPlace(all[i])
		g.Go(func() (err error) {
			bytes[n], err = c.comeBack(all[i], l.Settle)
			return err
		})
		time.Sleep(time.Second)
	}
	if err := g.Wait(); err != nil {
		return near, far, err
	}
	far.Bytes = c.dealings(stay).since(before)
	for n := range bytes {
		if had[n] {
			near = near.plus(Returns{bytes[n], 1})
		} else {
			far = far.plus(Returns{bytes[n], 1})
		}
	}
	return near, far, nil
}

// comeBack has a follower leave and, after a while, come back; it tells what the voters
// exchanged with it up to a while after that, without gossip.
func (c *Cluster) comeBack(f *Follower, while time.Duration) (bytes int64, err error) {
	of := []*Follower{f}
	before := c.dealings(of)
	if err := f.Leave(); err != nil {
		return 0, err
	}
	time.Sleep(while)
	if err := f.Enter(); err != nil {
		return 0, err
	}
	time.Sleep(while)
	return c.dealings(of).since(before), nil
}

// delaysOf sums up how long pins took, from the first on.
func (c *Cluster) delaysOf(first int, out *Figures) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var half, most time.Duration
	for i := first; i < c.pinned; i++ {
		d := c.delays[somePin(i).Cid]
		if len(d) != out.Followers {
			return fmt.Errorf("pin %d reached %d of %d followers", i, len(d), out.Followers)
		}
		slices.Sort(d)
		half += d[len(d)/2]
		most += d[(len(d)*99+99)/100-1]
		out.Last = max(out.Last, d[len(d)-1])
	}
	out.Half = half / time.Duration(c.pinned-first)
	out.Most = most / time.Duration(c.pinned-first)
	clear(c.delays)
	return nil
}

// tally is what the voters sent and received.
type tally map[protocol.ID]Traffic

func (c *Cluster) bytes() tally {
	t := tally{}
	for _, v := range c.Voters {
		for p, b := range c.Net.Traffic(v.ID()) {
			t[p] = Traffic{t[p].In + b.In, t[p].Out + b.Out}
		}
	}
	return t
}

// sum adds up the kinds that are chosen.
func (t tally) sum(chosen func(protocol.ID) bool) (n float64) {
	for p, b := range t {
		if chosen(p) {
			n += float64(b.In + b.Out)
		}
	}
	return n
}

// visits are what comes of followers that look for a place, or for what they miss.
func visits(p protocol.ID) bool { return !gossip(p) }

// gossip is what lasts: the feed's gossip and its connections.
func gossip(p protocol.ID) bool { return p == keepAlive || p == gossipProtocol }

const gossipProtocol protocol.ID = "/pinfold/feed/gossip/1"
