package feed

import (
	"context"
	"log/slog"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/p2p"
	"github.com/pinfold-cluster/pinfold/state"
)

const (
	gatherTime = 50 * time.Millisecond // for which a batch waits for more
	lookEvery  = time.Second           // whether this peer leads
	gossipCopy = 8                     // times that a message of gossip goes out, about
	settleTime = time.Second           // for which a change may be on its way to the ring
	settleStep = 20 * time.Millisecond

	// For how long after the last follower has gone this peer passes on what is for them,
	// and keeps as many batches as with one.
	relayFor = time.Minute
	keepFor  = time.Hour
)

// PublisherOptions tune a Publisher. The zero value of a field means its default.
type PublisherOptions struct {
	Name, Version string                // of this peer
	Data          func() peer.AddrInfo  // its data host; nil: none
	Leads         func() bool           // whether it leads: only then it publishes; nil: never
	InTouch       func() bool           // whether it has heard lately of who leads: only then it says where the log ends; nil: always
	Removed       func(api.PeerID) bool // whether a member was removed: it is not passed on; nil: nobody was
	Met           func(Peer)            // is told of every follower that says hello; nil: nobody is
	Coverage      func() ([]byte, bool) // the body of the table of coverage, if there is one; nil: none

	RingBytes     int           // of batches kept while there are followers; 64 MiB
	IdleRingBytes int           // and while there are none; 1 MiB
	Bandwidth     uint64        // bytes a second that followers are given, in gossip and in answers each; 0 is no limit
	Beacon        time.Duration // between beacons while nothing happens; 5s
}

func (o PublisherOptions) withDefaults() PublisherOptions {
	if o.RingBytes == 0 {
		o.RingBytes = 64 << 20
	}
	if o.IdleRingBytes == 0 {
		o.IdleRingBytes = min(1<<20, o.RingBytes)
	}
	if o.Beacon == 0 {
		o.Beacon = 5 * time.Second
	}
	if o.Leads == nil {
		o.Leads = func() bool { return false }
	}
	if o.InTouch == nil {
		o.InTouch = func() bool { return true }
	}
	if o.Removed == nil {
		o.Removed = func(api.PeerID) bool { return false }
	}
	if o.Met == nil {
		o.Met = func(Peer) {}
	}
	if o.Coverage == nil {
		o.Coverage = func() ([]byte, bool) { return nil, false }
	}
	return o
}

// Sign makes a statement of this member: see p2p.SignStatement.
type Sign func(kind string, body []byte) ([]byte, error)

// A Publisher is a full peer's part in the feed.
type Publisher struct {
	net    Network
	st     *state.State
	sign   Sign
	o      PublisherOptions
	log    *slog.Logger
	judge  *judge
	ring   ring
	trees  *trees
	met    *acquaintances
	server *streams
	gossip *rate.Limiter // nil: no limit
	wake   chan struct{}
}

// NewPublisher returns a Publisher of the changes of st. It does nothing until Run.
func NewPublisher(n Network, v *p2p.Verifier, sign Sign, st *state.State, o PublisherOptions, log *slog.Logger) *Publisher {
	o = o.withDefaults()
	p := &Publisher{net: n, st: st, sign: sign, o: o, log: log, judge: newJudge(v), met: newAcquaintances(),
		ring: ring{max: o.IdleRingBytes}, wake: make(chan struct{}, 1)}
	p.trees = newTrees(st, sign, p.leadsOn)
	p.server = newStreams(n, p, o.Bandwidth, log)
	if o.Bandwidth > 0 {
		p.gossip = rate.NewLimiter(rate.Limit(o.Bandwidth), 2*gossipCopy*maxStatement)
	}
	return p
}

// Changed takes what an entry did to the pinset. It does not block.
func (p *Publisher) Changed(c state.Changes) {
	enc, err := encodeBatch(c)
	if err != nil {
		p.log.Error("a change cannot be told to followers", "index", c.Index, "err", err)
		return // the next does not follow on: the ring starts anew
	}
	p.ring.add(entry{index: c.Index, before: c.Before, after: c.After, enc: enc})
	p.nudge()
}

// nudge lets publish look.
func (p *Publisher) nudge() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Run takes part in the feed until ctx ends.
func (p *Publisher) Run(ctx context.Context) error {
	if err := p.net.Join(p.valid); err != nil {
		return err
	}
	defer p.net.Leave()
	defer p.trees.close()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.server.run(ctx) })
	g.Go(func() error { return p.publish(ctx) })
	return g.Wait()
}

// valid lets other members' messages through.
func (p *Publisher) valid(from api.PeerID, data []byte) p2p.Verdict {
	if from == p.net.ID() {
		return p2p.Forward
	}
	m, v := p.judge.look(data, p.st.Applied())
	if v == p2p.Forward && p.o.Removed(m.signer) {
		return p2p.Ignore
	}
	return v
}

// publish tells the batches while this peer leads, and beacons. Where there is no follower
// in the cluster, it tells nothing.
func (p *Publisher) publish(ctx context.Context) error {
	tick := time.NewTicker(min(lookEvery, p.o.Beacon))
	defer tick.Stop()
	relay := relay{Publisher: p}
	defer relay.end()
	var led bool
	var told uint64 // index of the last batch told
	var last time.Time
	for {
		if err := relay.look(time.Now()); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-p.wake:
		case <-tick.C:
		}
		if !p.o.Leads() || p.net.Readers() == 0 {
			led, told = false, p.ring.last()
			continue
		}
		news := p.ring.after(told, messageBytes)
		if led && len(news) == 0 && time.Since(last) < p.o.Beacon {
			continue
		}
		var err error
		if len(news) > 0 {
			told, err = p.tell(ctx, told)
		} else {
			err = p.tellBeacon(ctx)
		}
		if err != nil && ctx.Err() == nil {
			p.log.Warn("followers are not told", "err", err)
		}
		led, last = true, time.Now()
	}
}

// A relay passes on what others publish, and keeps much for those that ask, for as long as
// there are followers here.
type relay struct {
	*Publisher
	guests time.Time // when there was one last
	stop   func()    // nil: it passes nothing on
}

func (r *relay) look(now time.Time) (err error) {
	if len(r.net.Guests()) > 0 {
		r.guests = now
	}
	absent := now.Sub(r.guests)
	switch {
	case absent < relayFor && r.stop == nil:
		r.stop, err = r.net.Relay()
	case absent >= relayFor:
		r.end()
	}
	if absent < keepFor {
		r.ring.limit(r.o.RingBytes)
	} else {
		r.ring.limit(r.o.IdleRingBytes)
	}
	return err
}

func (r *relay) end() {
	if r.stop != nil {
		r.stop()
		r.stop = nil
	}
}

// tell publishes the batches past index told, and returns the index of the last.
func (p *Publisher) tell(ctx context.Context, told uint64) (uint64, error) {
	for {
		news := p.ring.after(told, messageBytes)
		if len(news) == 0 {
			return told, nil
		}
		if size(news) < messageBytes/2 {
			if err := sleep(ctx, gatherTime); err != nil {
				return told, err
			}
			news = p.ring.after(told, messageBytes)
		}
		if len(news) == 0 { // the state was replaced
			return told, nil
		}
		told = news[len(news)-1].index // whatever comes of it: followers ask for what they miss
		if err := p.send(ctx, kindBatches, batchesBody(encodings(news))); err != nil {
			return told, err
		}
	}
}

func (p *Publisher) tellBeacon(ctx context.Context) error {
	body, err := p.beacon()
	if err != nil {
		return err
	}
	return p.send(ctx, kindBeacon, body)
}

func (p *Publisher) beacon() ([]byte, error) {
	d := p.st.Digest()
	return beacon{index: d.Index, digest: d.Pins, time: time.Now()}.encode()
}

func (p *Publisher) send(ctx context.Context, kind string, body []byte) error {
	m, err := p.sign(kind, body)
	if err != nil {
		return err
	}
	if p.gossip != nil {
		if err := p.gossip.WaitN(ctx, gossipCopy*len(m)); err != nil {
			return err
		}
	}
	return p.net.Publish(ctx, m)
}

func size(entries []entry) (n int) {
	for _, e := range entries {
		n += len(e.enc)
	}
	return n
}

// sleep returns an error once ctx has ended.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
