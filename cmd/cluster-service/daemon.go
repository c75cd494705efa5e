package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/spf13/cobra"
	"golang.org/x/time/rate"

	"github.com/pinfold-cluster/pinfold/adder"
	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/gateway"
	"github.com/pinfold-cluster/pinfold/api/proxy"
	"github.com/pinfold-cluster/pinfold/api/rest"
	"github.com/pinfold-cluster/pinfold/api/rpc"
	"github.com/pinfold-cluster/pinfold/api/web"
	"github.com/pinfold-cluster/pinfold/config"
	"github.com/pinfold-cluster/pinfold/consensus"
	"github.com/pinfold-cluster/pinfold/events"
	"github.com/pinfold-cluster/pinfold/feed"
	"github.com/pinfold-cluster/pinfold/ipfsconn"
	"github.com/pinfold-cluster/pinfold/ipfsconn/kubo"
	"github.com/pinfold-cluster/pinfold/monitor"
	"github.com/pinfold-cluster/pinfold/p2p"
	"github.com/pinfold-cluster/pinfold/pinner"
	"github.com/pinfold-cluster/pinfold/pintracker"
	"github.com/pinfold-cluster/pinfold/state"
	"github.com/pinfold-cluster/pinfold/transfer"
)

func newDaemon(g *globals) *cobra.Command {
	var bootstrap []string
	cmd := &cobra.Command{
		Use:   "daemon",
		Short: "Run the peer",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			noteIdle(cmd)
			return runDaemon(cmd.Context(), g, bootstrap)
		},
	}
	idleFlags(cmd)
	cmd.Flags().StringSliceVarP(&bootstrap, "bootstrap", "j", nil, "join the cluster of the peer at `ADDRESS` first, with the swarm secret alone, where its join_policy allows that; ignored once joined")
	return cmd
}

// runDaemon runs the peer of the directory until ctx ends or a part of it fails.
func runDaemon(ctx context.Context, g *globals, bootstrap []string) error {
	log, err := g.logger()
	if err != nil {
		return err
	}
	libraryLogs(log)
	d := directory(g.dir)
	there, err := d.initialised()
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	if !there && len(bootstrap) > 0 {
		if err := joinBySecret(ctx, d, bootstrap[0], os.Environ(), os.Stdout, log); err != nil {
			return fmt.Errorf("joining: %w", err)
		}
	}
	c, err := g.loadConfig()
	if err != nil {
		return err
	}
	if err := d.adoptIdentity(os.Environ()); err != nil {
		return err
	}
	daemon, err := openDaemon(d, c, log)
	if err != nil {
		return fmt.Errorf("starting the peer: %w", err)
	}
	err = daemon.Run(ctx)
	if closeErr := daemon.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("running the peer: %w", err)
	}
	return nil
}

// Daemon is a running peer: its parts, in the order in which they are opened.
type Daemon struct {
	log *slog.Logger
	c   config.Config
	ids identities

	cluster  *place
	verifier *p2p.Verifier // of what members say on the feed
	state    *state.State
	host     *p2p.Host
	data     *p2p.DataHost
	links    *links
	node     ipfsconn.Connector
	traded   traded           // with the node
	gateway  *gateway.Gateway // nil: none
	calls    *rpc.Client
	cons     *consensus.Consensus

	publisher  *feed.Publisher // for followers; nil: it serves none
	audience   *audience       // what is known of them; nil likewise
	challenger *challenger     // of them; nil likewise
	admitting  *admitting      // their data hosts; nil likewise

	monitor *monitor.Monitor
	tracker *pintracker.Tracker
	global  *pintracker.Global
	feed    *pintracker.Feed
	events  *events.Hub
	pinner  *pinner.Pinner
	blocks  *transfer.Server
	adder   *adder.Adder
	members *membership
	removed *rate.Limiter // of removed peers that ask whether they are
	peers   *peers
	tokens  tokens
	rpc     *rpc.Server
	rest    *web.Server
	pinsvc  *web.Server
	figures *web.Server   // for Prometheus alone; nil: none
	proxy   *web.Server   // nil: none
	keeper  *proxy.Keeper // of the files; nil without a proxy
	files   *kubo.Files   // nil with the embedded node, or without a proxy

	opened
}

// openDaemon opens the peer of d. Nothing runs before Run. What fails closes what was
// opened.
func openDaemon(d directory, c config.Config, log *slog.Logger) (_ *Daemon, err error) {
	p := &Daemon{log: log, c: c}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	release, err := d.lock()
	if err != nil {
		return nil, err
	}
	p.closes(func() error { release(); return nil })
	if err := p.openIdentity(d); err != nil {
		return nil, err
	}
	if err := p.openState(d); err != nil {
		return nil, err
	}
	if err := p.openHosts(d); err != nil {
		return nil, err
	}
	if err := p.openNode(d); err != nil {
		return nil, err
	}
	if err := p.openConsensus(d); err != nil {
		return nil, err
	}
	if err := p.openDoors(d); err != nil {
		return nil, err
	}
	if err := p.data.Listen(); err != nil { // not before the node is open, which sets its handlers
		return nil, err
	}
	return p, nil
}

// component gives the logger of a part that does not name itself in it.
func (p *Daemon) component(name string) *slog.Logger { return p.log.With("component", name) }

func (p *Daemon) openIdentity(d directory) (err error) {
	if p.ids, err = d.loadIdentities(); err != nil {
		return err
	}
	cluster, err := p2p.LoadCluster(d.cluster())
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is missing: the peer has no place in a cluster; remove %s and join anew", d.cluster(), d)
	}
	p.cluster = &place{}
	p.cluster.now.Store(cluster)
	return err
}

func (p *Daemon) openState(d directory) (err error) {
	if p.state, err = state.Open(d.state(), p.c.State, p.component("state")); err != nil {
		return err
	}
	p.closes(p.state.Close)
	cluster, err := underKey(d.cluster(), p.cluster.get(), p.state.Key(), p.ids)
	if err != nil {
		return err
	}
	p.cluster.now.Store(cluster)
	return nil
}

// openHosts opens the cluster host and the data host.
func (p *Daemon) openHosts(d directory) (err error) {
	who := roster(p.state, p.log)
	o := p.c.Cluster.Host
	o.PeerstoreFile, o.Guests = d.path("peerstore"), p.guests()
	if p.host, err = p2p.NewHost(p.ids.cluster, p.cluster.get(), who, o, p.component("p2p")); err != nil {
		return err
	}
	p.closes(p.host.Close)
	if p.data, err = p2p.NewDataHost(p.ids.data, p.cluster.get(), who, p.c.Embedded.Data, p.component("data")); err != nil {
		return err
	}
	p.closes(p.data.Close)
	p.links = &links{self: p.ids.cluster.ID, data: p.data, pins: p.state, log: p.component("data")}
	p.verifier = p2p.NewVerifier(p.cluster.get().Key, p.cluster.get().Incarnation)
	p.calls = rpc.NewClient(p.host)
	p.closes(func() error { p.calls.Close(); return nil })
	return p.openAdmitting()
}

// openConsensus opens the log and the parts that decide by it and follow it.
func (p *Daemon) openConsensus(d directory) (err error) {
	self := p.ids.cluster.ID
	told := &changes{}
	if p.cons, err = consensus.New(self, d.raft(), p.state, p.host, told, p.c.Consensus.Raft, p.log); err != nil {
		return err
	}
	p.closes(p.cons.Close)
	o := p.c.PinTracker.Stateless
	if o.Exclusive = !p.external(); o.Exclusive {
		o.Rate, o.CameIn = p.c.Embedded.Data.MaxBandwidth, p.data.CameIn
	}
	id := pintracker.Self{ID: self, Name: p.c.Cluster.PeerName, IPFS: p.ipfsID}
	if p.tracker, err = pintracker.New(id, p.counted(), pinset{p.state}, p.current, d.tracker(), o, p.component("tracker")); err != nil {
		return err
	}
	p.closes(p.tracker.Close)
	if p.monitor, err = p.openMonitor(); err != nil {
		return err
	}
	p.global = pintracker.NewGlobal(p.listMembers, p.monitor.Dead, p.tracker, p.calls)
	p.feed = pintracker.NewFeed(p.global, p.calls)
	p.events = events.New(p.state.Applied(), p.feed)
	p.monitor.Watch(p.events.Peer)
	p.pinner, err = pinner.New(self, p.cons, pinset{p.state}, p.monitor, forwarder{p}, p.c.Cluster.Pinner, p.component("pinner"))
	if err != nil {
		return err
	}
	told.parts = append(told.parts, p.tracker, p.pinner, p.events)
	if p.openPublisher(); p.publisher != nil {
		told.changed = p.publisher.Changed
	}
	return nil
}

// openDoors opens what others reach the peer by: streams of blocks, calls, HTTP.
func (p *Daemon) openDoors(d directory) (err error) {
	p.blocks = transfer.NewServer(p.data, p.counted(), p.data.Check, transfer.Options{}, p.log)
	p.adder = adder.New(p.ids.cluster.ID, p.pinner, sender{p, transfer.NewClient(p.data)}, adder.Options{}, p.log)
	p.members = &membership{ids: p.ids, keyring: newKeyring(p.cluster, d.cluster(), p.verifier), c: p.c, host: p.host, data: p.data, cons: p.cons, pins: p.state,
		calls: p.calls, log: p.component("members")}
	p.removed = rate.NewLimiter(standingRate, standingBurst)
	p.peers = &peers{membership: p.members, ipfs: p.node.ID, gateway: p.gatewayURL()}
	p.openTokens()
	if p.rpc, err = p.openCalls(); err != nil {
		return err
	}
	h := rest.New(rest.Parts{Version: version, Pins: p.pinner, Pinset: pinset{p.state}, Tracker: p.global, Local: local{p.tracker},
		Adder: p.adder, Peers: p.peers, Monitor: p.monitor, Resolver: p.node, GC: collector{p}, Repairs: repairs{p},
		Tokens: p.tokens, Followers: followers{p}, Network: traffic{p}, Guarded: p.c.API.REST.BasicAuthCredentials != nil, Feed: p.feed, Log: reads{p}, Events: p.listen, Metrics: p.metrics()}, p.component("rest"))
	if p.rest, err = web.New(p.c.API.REST, p.readOnlyForStrangers(p.boundStrangers(h)), p.component("rest")); err != nil {
		return err
	}
	p.closes(p.rest.Close)
	if err := p.listenLibp2p(p.rest, p.c.API.REST, true); err != nil {
		return err
	}
	if err := p.openMetrics(); err != nil {
		return err
	}
	if err := p.openPinSvc(); err != nil {
		return err
	}
	return p.openProxy()
}

// Run works until ctx ends or a part fails. The doors close first and the log last: a
// request that was let in can end.
func (p *Daemon) Run(ctx context.Context) error {
	p.log.Info("peer starts", "peer", p.ids.cluster.ID, "name", p.c.Cluster.PeerName, "cluster", p.cluster.get().Name, "api", p.rest.Addrs()[0], "gateway", p.gatewayURL())
	floors := [][]func(context.Context) error{
		{p.host.Run, p.data.Run, p.links.run, p.state.Run, p.runNode, p.cons.Run},
		{p.monitor.Run, p.tracker.Run, p.pinner.Run, p.members.keepRecord, p.heedRemoval, p.publish, p.admit, p.attend, p.challenge, p.tellClaims},
		{p.rpc.Run, p.blocks.Run, p.feed.Run},
		{p.serveREST, p.runGateway, p.servePinSvc, p.serveProxy, p.serveMetrics},
	}
	err := runFloors(ctx, floors)
	p.log.Info("peer has stopped", "err", err)
	return err
}

// serveREST answers the REST API.
func (p *Daemon) serveREST(ctx context.Context) error {
	p.awaitCurrent(ctx)
	return p.rest.Run(ctx)
}

// listen opens a stream of events.
func (p *Daemon) listen(after uint64, resume bool) (rest.EventStream, error) {
	s, err := p.events.Open(after, resume)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (p *Daemon) listMembers() []api.Member {
	members, err := p.state.Members()
	if err != nil {
		p.log.Error("members cannot be read", "err", err)
	}
	return members
}

// sender opens destinations of adds: this peer's own node, or another's.
type sender struct {
	p      *Daemon
	remote *transfer.Client
}

func (s sender) Send(ctx context.Context, id api.PeerID, size uint64) (adder.Destination, error) {
	if id == s.p.ids.cluster.ID {
		return s.p.counted().OpenAdd(ctx, size)
	}
	members, err := s.p.state.Members()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(members, func(m api.Member) bool { return m.ID == id })
	if i < 0 {
		return nil, api.Unavailable.Errorf("%s is not a peer of this cluster", id)
	}
	s.p.links.connect(ctx, peer.AddrInfo{ID: members[i].DataID, Addrs: members[i].DataAddresses})
	return s.remote.Send(ctx, members[i].DataID, size)
}
