package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/gateway"
	"github.com/pinfold-cluster/pinfold/api/web"
	"github.com/pinfold-cluster/pinfold/config"
	"github.com/pinfold-cluster/pinfold/events"
	"github.com/pinfold-cluster/pinfold/feed"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded"
	"github.com/pinfold-cluster/pinfold/p2p"
	"github.com/pinfold-cluster/pinfold/pintracker"
	"github.com/pinfold-cluster/pinfold/state"
	"github.com/pinfold-cluster/pinfold/transfer"
)

// runFollower runs the follower of d until ctx ends or a part of it fails.
func runFollower(ctx context.Context, g *globals, d followed, out io.Writer) error {
	there, err := d.initialised()
	if err != nil {
		return fmt.Errorf("looking at the directory: %w", err)
	}
	if !there {
		return d.errUnknown()
	}
	if g.loglevel == "" { // what is worth telling a volunteer, out tells
		g.loglevel = "warn"
	}
	log, err := g.logger()
	if err != nil {
		return err
	}
	libraryLogs(log)
	c, warnings, err := config.LoadFollower(string(d.directory), os.Environ())
	for _, w := range warnings {
		log.Warn(w)
	}
	if err != nil {
		return fmt.Errorf("reading the settings: %w", err)
	}
	f, err := openFollower(ctx, d, c, log)
	if err != nil {
		return fmt.Errorf("starting the follower: %w", err)
	}
	err = f.Run(ctx, out)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("running the follower: %w", err)
	}
	return nil
}

// Follower is a running follower: its parts, in the order in which they are opened.
type Follower struct {
	log  *slog.Logger
	c    config.Follower
	d    followed
	ids  identities
	link p2p.Link
	keyed
	hold string // all, allocated or share

	state    *state.State
	host     *p2p.Host
	data     *p2p.DataHost
	reach    *reach
	admitted *admissions
	node     *embedded.Node
	gateway  *gateway.Gateway // nil: none
	share    *feed.Share      // nil: it holds no share
	chosen   atomic.Bool      // what the share has was chosen in this run
	pins     holding
	tracker  *pintracker.Tracker
	global   *pintracker.Global
	news     *pintracker.Feed
	events   *events.Hub
	feed     *feed.Follower
	blocks   *transfer.Server
	rest     *web.Server
	census   census

	opened
}

// openFollower opens the follower of d. Nothing runs before Run. What fails closes what
// was opened. ctx bounds getting the newest link.
func openFollower(ctx context.Context, d followed, c config.Follower, log *slog.Logger) (_ *Follower, err error) {
	f := &Follower{log: log, c: c, d: d}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	release, err := d.lockSoon(ctx)
	if err != nil {
		return nil, err
	}
	f.closes(func() error { release(); return nil })
	if f.ids, err = d.loadIdentities(); err != nil {
		return nil, err
	}
	if f.link, err = d.renewLink(ctx, c.Follow.Source, func(err error) {
		log.Warn("the link cannot be read anew; the follower goes on with the one it has", "source", c.Follow.Source, "err", err)
	}); err != nil {
		return nil, err
	}
	if f.keyed.cluster, err = d.believed(f.link); err != nil {
		return nil, err
	}
	if f.hold, err = toHold(c.Follow, f.link.Hold); err != nil {
		return nil, err
	}
	if f.state, err = state.Open(d.state(), c.State, f.component("state")); err != nil {
		return nil, err
	}
	f.closes(f.state.Close)
	if err := f.openHosts(); err != nil {
		return nil, err
	}
	if err := f.openNode(); err != nil {
		return nil, err
	}
	if err := f.openTracker(); err != nil {
		return nil, err
	}
	if err := f.openFeed(); err != nil {
		return nil, err
	}
	if err := f.openDoor(); err != nil {
		return nil, err
	}
	if err := f.data.Listen(); err != nil { // not before the node is open, which sets its handlers
		return nil, err
	}
	return f, nil
}

func (f *Follower) component(name string) *slog.Logger { return f.log.With("component", name) }

// toHold says what a follower holds: what its owner chose, else what the link asks for.
func toHold(o config.Follow, asked string) (string, error) {
	switch {
	case o.Hold != "":
		return o.Hold, nil
	case o.Capacity > 0:
		return config.HoldShare, nil
	}
	switch asked {
	case "":
		return config.HoldAll, nil
	case config.HoldAll, config.HoldAllocated:
		return asked, nil
	case config.HoldShare:
		return "", errors.New("the cluster asks its followers for a share each: say with follow.capacity how many bytes yours may take, or choose another follow.hold")
	}
	return "", fmt.Errorf("the link asks to hold %q, which this program does not know: choose all, allocated or share as follow.hold", asked)
}

// openHosts opens the cluster host and the data host.
func (f *Follower) openHosts() (err error) {
	o := p2p.Options{Secret: f.link.Secret, Listen: f.c.Cluster.Listen, Announce: f.c.Cluster.Announce,
		DialPeerTimeout: f.c.Cluster.DialPeerTimeout, Guests: 2 * f.c.Follow.Neighbours, Learn: f.learn}
	if f.host, err = p2p.NewFollowerHost(f.ids.cluster, f.keyed.cluster, o, f.component("p2p")); err != nil {
		return err
	}
	f.closes(f.host.Close)
	if f.data, err = p2p.NewDataHost(f.ids.data, f.keyed.cluster, p2p.Roster{}, f.c.Embedded.Data, f.component("data")); err != nil {
		return err
	}
	f.closes(f.data.Close)
	f.reach = newReach(f.data, f.component("data"))
	f.admitted = newAdmissions(f.data, 4*reachable, f.component("data"))
	return nil
}

func (f *Follower) openNode() (err error) {
	node := nodeOptions(f.c.Embedded, f.c.PinTracker)
	if node.StorageMax == f.c.Follow.Capacity {
		node.StorageBy = "follow.capacity"
	}
	if f.node, err = embedded.New(f.data, f.d.ipfs(), node, f.reach, f.component("ipfs")); err != nil {
		return err
	}
	f.closes(f.node.Close)
	o := f.c.Embedded.Gateway
	if o.ListenMultiaddress == gateway.Off {
		return nil
	}
	if f.gateway, err = gateway.New(o, f.c.Embedded.Node.RetrievalTimeout, f.node, f.component("gateway")); err != nil {
		return err
	}
	f.closes(f.gateway.Close)
	return nil
}

// openTracker opens what makes the node hold what it is to.
func (f *Follower) openTracker() (err error) {
	self := f.ids.cluster.ID
	inShare := func(api.Pin) bool { return false }
	if f.hold == config.HoldShare {
		if f.share, err = feed.OpenShare(f.d.share(), self); err != nil {
			return err
		}
		inShare = f.share.Holds
	}
	f.pins = holding{self: self, pins: f.state, holds: choice(f.hold, self, inShare)}
	o := f.c.PinTracker.Stateless
	o.Exclusive, o.Rate, o.CameIn = true, f.c.Embedded.Data.MaxBandwidth, f.data.CameIn
	id := pintracker.Self{ID: self, Name: f.c.Cluster.PeerName, IPFS: f.ipfsID}
	if f.tracker, err = pintracker.New(id, f.node, f.pins, f.current, f.d.tracker(), o, f.component("tracker")); err != nil {
		return err
	}
	f.closes(f.tracker.Close)
	f.global = pintracker.NewGlobal(func() []api.Member { return nil }, func(api.PeerID) error { return nil }, f.tracker, alone{})
	f.news = pintracker.NewFeed(f.global, alone{})
	f.events = events.New(f.state.Applied(), f.news)
	return nil
}

func (f *Follower) ipfsID() api.IPFSID {
	id, err := f.node.ID(context.Background())
	if err != nil {
		id.Error = err.Error()
	}
	return id
}

// openFeed opens what keeps the state as the members have it.
func (f *Follower) openFeed() (err error) {
	if err := os.MkdirAll(f.d.feed(), 0o700); err != nil {
		return err
	}
	members, err := f.link.Peers()
	if err != nil {
		return err
	}
	tell := telling{f.pins, f.tracker, f.isPinned, &f.census.news}
	f.keyed.mu.Lock()
	defer f.keyed.mu.Unlock()
	verifier := p2p.NewVerifier(f.keyed.cluster.Key, f.link.Incarnation)
	f.feed, err = feed.NewFollower(feed.Over(f.host), verifier, f.state, f.d.feed(),
		listeners{tell, f.events}, feed.FollowerOptions{Name: f.c.Cluster.PeerName, Version: version, Data: dataHost(f.data), Members: members,
			Answers: answers{f}, Met: f.meet, Lacks: f.lacks, SureKey: f.keyed.cluster.Sure, Neighbours: f.c.Follow.Neighbours,
			Bandwidth: f.c.Embedded.Data.MaxBandwidth}, f.component("feed"))
	f.keyed.running = err == nil
	return err
}

// listeners are all told the same.
type listeners []feed.Listener

func (ls listeners) Track(p api.Pin) {
	for _, l := range ls {
		l.Track(p)
	}
}

func (ls listeners) Untrack(p api.Pin) {
	for _, l := range ls {
		l.Untrack(p)
	}
}

func (ls listeners) Reload() {
	for _, l := range ls {
		l.Reload()
	}
}

// meet is told of each neighbour, again and again. Followers let each other fetch.
func (f *Follower) meet(p feed.Peer) {
	f.reach.meet(p)
	if !p.Member {
		f.admitted.admit(admission{p.Data.ID, p.ID, p.From}, false)
	}
}

func (f *Follower) isPinned(c api.Cid) bool {
	_, pinned, err := f.node.PinStatus(context.Background(), c)
	return err == nil && pinned
}

// currentFor is how old the newest word of a member may be for the pinset to count as
// current. While nothing happens there is one every five seconds.
const currentFor = 30 * time.Second

const (
	// currentWait bounds the wait for a member's word: twice the time between beacons.
	currentWait = 10 * time.Second
	currentTick = 100 * time.Millisecond
)

// current fails unless the state is what the members have now, as far as a follower can
// know: nothing is unpinned or collected while it fails. It waits a little for the next
// word of a member.
func (f *Follower) current(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, currentWait)
	defer cancel()
	for {
		s := f.feed.Status()
		switch {
		case s.Stopped != "":
			return api.Unavailable.Errorf("this follower has stopped: %s", s.Stopped)
		case s.Current(time.Now(), currentFor):
			return nil
		}
		select {
		case <-ctx.Done():
			return api.Unavailable.Errorf("no member of the cluster has said lately that the pinset is as it is here")
		case <-time.After(currentTick):
		}
	}
}

// Run works until ctx ends or a part fails. What a volunteer wants to see goes to out.
func (f *Follower) Run(ctx context.Context, out io.Writer) error {
	f.log.Info("follower starts", "peer", f.ids.cluster.ID, "name", f.c.Cluster.PeerName, "cluster", f.link.Name, "gateway", f.gatewayURL())
	floors := [][]func(context.Context) error{
		{f.host.Run, f.data.Run, f.state.Run, f.node.Run},
		{f.feed.Run, f.reach.run, func(ctx context.Context) error { return f.admitted.run(ctx, nil) }},
		{f.keep, f.collect, f.count, f.blocks.Run},
		{f.rest.Run, f.runGateway, f.news.Run, func(ctx context.Context) error { return f.tell(ctx, out) }},
	}
	err := runFloors(ctx, floors)
	f.log.Info("follower has stopped", "err", err)
	return err
}

func (f *Follower) runGateway(ctx context.Context) error {
	if f.gateway == nil {
		<-ctx.Done()
		return nil
	}
	return f.gateway.Run(ctx)
}

func (f *Follower) gatewayURL() string {
	if f.gateway == nil {
		return ""
	}
	return f.gateway.URL()
}

// keep pins and unpins, from when the pinset is one that a member signed.
func (f *Follower) keep(ctx context.Context) error {
	if err := f.feed.Settled(ctx); err != nil {
		return nil // ctx has ended
	}
	// A first try of all that nobody could answer yet would put it behind all the rest.
	select {
	case <-ctx.Done():
		return nil
	case <-f.reach.came:
	case <-time.After(reachWait):
	}
	g, ctx := errgroup.WithContext(ctx)
	if f.share != nil {
		if err := f.chooseShare(ctx); err != nil {
			return err
		}
		g.Go(func() error { return f.keepShare(ctx) })
	}
	g.Go(func() error { return f.tracker.Run(ctx) })
	g.Go(func() error { return f.retry(ctx) })
	return g.Wait()
}

const (
	// reachWait bounds the wait for the first data host before content is looked for.
	reachWait = 15 * time.Second
	// retryEvery is the least between two new tries of all that failed.
	retryEvery = time.Minute
)

// retry tries again at once what nobody had, whenever somebody new is connected: though
// not for each of several that come together.
func (f *Follower) retry(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryEvery):
		}
		select {
		case <-ctx.Done():
			return nil
		case <-f.reach.came:
		}
		q := api.StatusQuery{Filter: api.StatusPinError, Brief: true}
		for {
			page, err := f.tracker.RecoverAll(ctx, q)
			if err != nil || !page.More { // an error is that of the tracker's next try, too
				break
			}
			q.After = page.Last
		}
	}
}
