package main

import (
	"context"
	"encoding/hex"
	"iter"
	"net/http"
	"path"
	"slices"
	"time"

	"github.com/ipfs/boxo/files"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/rest"
	"github.com/pinfold-cluster/pinfold/api/web"
	"github.com/pinfold-cluster/pinfold/transfer"
)

// openDoor opens what others reach the follower by: the REST API on a socket, and where
// its owner wants it elsewhere too, which changes nothing; and streams of blocks, which
// members alone may open.
func (f *Follower) openDoor() (err error) {
	f.blocks = transfer.NewServer(f.data, f.node, f.data.Check, transfer.Options{}, f.log)
	door := followerDoor{f}
	h := rest.New(rest.Parts{Version: version, Pins: door, Pinset: pinset{f.state}, Tracker: f.global, Local: local{f.tracker}, Adder: door,
		Peers: door, Monitor: door, Resolver: f.node, GC: door, Repairs: door, Tokens: door, Network: door, Followers: door, Guarded: true,
		Feed: f.news, Log: door, Events: door.listen, Metrics: door.metrics()}, f.component("rest"))
	o := f.c.API.REST
	o.HTTPListenMultiaddress = append([]string{"/unix" + mustAbs(f.d.socket())}, o.HTTPListenMultiaddress...)
	if f.rest, err = web.New(o, readOnly(h), f.component("rest")); err != nil {
		return err
	}
	f.closes(f.rest.Close)
	return nil
}

// errFollower is the answer to all that would change the cluster.
var errFollower = api.Denied.Errorf("this is a follower: it can be read and changes nothing; ask a peer of the cluster")

// isOwnWork tells whether a POST to a path does something on the follower alone.
func isOwnWork(to string) bool {
	switch to {
	case "/pins/recover", "/ipfs/gc":
		return true
	case "/pins/ipfs/recover", "/pins/ipns/recover", "/pins/ipld/recover": // they pin what a path leads to
		return false
	}
	match, err := path.Match("/pins/*/recover", to)
	return err == nil && match
}

// readOnly refuses what would change the cluster.
func readOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet, http.MethodHead, http.MethodOptions:
		default:
			if r.Method != http.MethodPost || !isOwnWork(r.URL.Path) {
				web.WriteError(w, errFollower)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// followerDoor is what the REST API asks of a follower.
type followerDoor struct{ f *Follower }

// Self tells who the follower is.
func (d followerDoor) Self(ctx context.Context) (api.Peer, error) {
	f := d.f
	self := api.Peer{ID: f.ids.cluster.ID, Addresses: f.host.Addrs(), Version: version, PeerName: f.c.Cluster.PeerName,
		Gateway: f.gatewayURL(), Role: "follower", ClusterPeers: []api.PeerID{}, ClusterPeersAddresses: []api.Multiaddr{}}
	if s := f.feed.Status(); s.Settled {
		self.Index, self.Digest = s.Index, hex.EncodeToString(s.Digest[:])
	}
	self.IPFS = f.ipfsID()
	return self, nil
}

// Peers gives the follower alone: it knows of others no more than what it needs.
func (d followerDoor) Peers(ctx context.Context) iter.Seq2[api.Peer, error] {
	return func(yield func(api.Peer, error) bool) { yield(d.Self(ctx)) }
}

// Peer tells who the follower is.
func (d followerDoor) Peer(ctx context.Context, id api.PeerID) (api.Peer, error) {
	if id != d.f.ids.cluster.ID {
		return api.Peer{}, api.NotFound.Errorf("a follower knows no peers but itself")
	}
	return d.Self(ctx)
}

func (followerDoor) Remove(context.Context, api.PeerID, bool) (uint64, error) { return 0, errFollower }

func (followerDoor) Invite(context.Context, time.Duration) (string, error) { return "", errFollower }

func (followerDoor) Pin(context.Context, api.Pin) (api.Pin, uint64, error) {
	return api.Pin{}, 0, errFollower
}

func (followerDoor) Unpin(context.Context, api.Cid) (api.Pin, uint64, error) {
	return api.Pin{}, 0, errFollower
}

func (followerDoor) PinMany(_ context.Context, reqs []api.Request) []api.Result {
	out := make([]api.Result, len(reqs))
	for i := range out {
		out[i].Fault = api.FaultOf(errFollower)
	}
	return out
}

func (followerDoor) Add(context.Context, files.Directory, api.AddParams, func(api.AddedOutput) error) (api.Pin, error) {
	return api.Pin{}, errFollower
}

func (followerDoor) New(string, string, api.Scope, time.Duration) (api.Token, error) {
	return api.Token{}, errFollower
}

func (followerDoor) Revoke(context.Context, string) (uint64, error) { return 0, errFollower }

func (followerDoor) Link(context.Context) (api.FollowLink, error) {
	return api.FollowLink{}, errFollower
}

// List gives the follower itself.
func (d followerDoor) List(ctx context.Context, after api.PeerID, _ bool) iter.Seq2[api.Follower, error] {
	return func(yield func(api.Follower, error) bool) {
		if d.f.ids.cluster.ID > after {
			yield(d.self(ctx), nil)
		}
	}
}

// Get gives the follower itself.
func (d followerDoor) Get(ctx context.Context, id api.PeerID, _ bool) (api.Follower, error) {
	if id != d.f.ids.cluster.ID {
		return api.Follower{}, api.NotFound.Errorf("a follower knows itself alone")
	}
	return d.self(ctx), nil
}

// self is the follower's own status.
func (d followerDoor) self(ctx context.Context) api.Follower {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	return api.Follower{FollowerStatus: d.f.status(ctx), Addresses: d.f.host.Addrs(), Asked: time.Now()}
}

// Copies is nothing: peer_map has the follower's own.
func (followerDoor) Copies(context.Context, []api.Cid, bool) ([]api.PinInfo, error) { return nil, nil }

// statusTimeout bounds looking at the follower's own state.
const statusTimeout = 10 * time.Second

func (followerDoor) Names() []string            { return nil }
func (followerDoor) Latest(string) []api.Metric { return nil }
func (followerDoor) Alerts() []api.Alert        { return nil }

func (followerDoor) Repair(context.Context) (api.RepairStatus, error) {
	return api.RepairStatus{}, api.Unsupported.Errorf("a follower does not know how repair is going; ask a peer of the cluster")
}

// GC collects on the follower.
func (d followerDoor) GC(ctx context.Context, _ bool) (api.GlobalRepoGC, error) {
	f := d.f
	out := api.RepoGC{Peer: f.ids.cluster.ID, PeerName: f.c.Cluster.PeerName, Keys: []api.RepoGCKey{}}
	if err := f.current(ctx); err != nil {
		out.Error = "not collecting from an old view of the pinset: " + err.Error()
	} else {
		for key, err := range f.node.GC(ctx) {
			if err != nil {
				out.Error = err.Error()
				break
			}
			out.Keys = append(out.Keys, key)
		}
	}
	return api.GlobalRepoGC{PeerMap: map[string]api.RepoGC{out.Peer.String(): out}}, nil
}

// Graph tells whom the follower is connected with.
func (d followerDoor) Graph(ctx context.Context) (api.ConnectGraph, error) {
	f, self := d.f, d.f.ids.cluster.ID
	swarm, err := f.node.Swarm(ctx)
	if err != nil {
		return api.ConnectGraph{}, err
	}
	g := api.ConnectGraph{ClusterID: self, IDToPeerName: map[string]string{self.String(): f.c.Cluster.PeerName},
		IPFSLinks:    map[string][]api.PeerID{f.ids.data.ID.String(): swarm[:min(len(swarm), maxSwarm)]},
		ClusterLinks: map[string][]api.PeerID{self.String(): {}}, ClusterTrustLinks: map[string]bool{},
		ClusterToIPFS: map[string]api.PeerID{self.String(): f.ids.data.ID}}
	for _, n := range f.feed.Status().Neighbours {
		g.ClusterLinks[self.String()] = append(g.ClusterLinks[self.String()], n.ID)
		g.ClusterTrustLinks[n.ID.String()] = n.Member
		g.IDToPeerName[n.ID.String()] = n.Name
	}
	slices.Sort(g.ClusterLinks[self.String()])
	return g, nil
}

func (d followerDoor) Bandwidth() map[string]api.Bandwidth {
	return bandwidth(d.f.host.Traffic, d.f.data.Traffic)
}

// Current fails unless the follower is where the members are, as far as it can know.
func (d followerDoor) Current(ctx context.Context) error { return d.f.current(ctx) }

// followTick is between looks at whether the state has come to an index.
const followTick = 50 * time.Millisecond

// WaitApplied returns once the follower's state has come to a log index.
func (d followerDoor) WaitApplied(ctx context.Context, index uint64) error {
	for d.f.feed.Status().Index < index {
		select {
		case <-ctx.Done():
			return api.Unavailable.Errorf("this follower has not come to index %d: %w", index, ctx.Err())
		case <-time.After(followTick):
		}
	}
	return nil
}

func (d followerDoor) listen(after uint64, resume bool) (rest.EventStream, error) {
	s, err := d.f.events.Open(after, resume)
	if err != nil {
		return nil, err
	}
	return s, nil
}

var (
	followerIndex      = figure("cluster_follower_applied_index", "Log index that the follower's pinset stands at; 0 while it is fetched.")
	followerLatest     = figure("cluster_follower_latest_index", "Highest log index that a member has told.")
	followerStopped    = figure("cluster_follower_stopped", "1 where the follower goes no further until its owner says so.")
	followerNeighbours = figure("cluster_follower_neighbours", "Others of the cluster that the follower is connected with.")
	followerWanted     = figure("cluster_follower_wanted_pins", "Pins that the follower is to hold.")
	followerPinned     = figure("cluster_follower_pinned_pins", "Pins of them that it has whole.")
	followerBytes      = figure("cluster_follower_node_bytes", "Bytes on the follower's node.")
)

// metrics answers Prometheus.
func (d followerDoor) metrics() http.Handler {
	own := prometheus.NewRegistry()
	own.MustRegister(d, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	all := prometheus.Gatherers{own}
	if d.f.gateway != nil {
		all = append(all, d.f.gateway.Metrics())
	}
	return promhttp.HandlerFor(all, promhttp.HandlerOpts{MaxRequestsInFlight: scrapesAtOnce, DisableCompression: true})
}

// Describe implements prometheus.Collector: what Collect gives is known when it does.
func (followerDoor) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (d followerDoor) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), statusTimeout)
	defer cancel()
	s := d.f.status(ctx)
	for desc, v := range map[*prometheus.Desc]float64{statePins: float64(s.Known), followerIndex: float64(s.Index), followerLatest: float64(s.Latest),
		followerStopped: oneIf(s.Stopped != ""), followerNeighbours: float64(s.Neighbours), followerWanted: float64(s.Wanted),
		followerPinned: float64(s.Pinned), followerBytes: float64(s.Bytes)} {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v)
	}
	for status, n := range d.f.tracker.Counts() {
		out <- prometheus.MustNewConstMetric(trackerPins, prometheus.GaugeValue, float64(n), status.String())
	}
}
