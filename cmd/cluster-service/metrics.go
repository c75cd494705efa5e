package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/gateway"
	"github.com/pinfold-cluster/pinfold/api/web"
	"github.com/pinfold-cluster/pinfold/config"
	"github.com/pinfold-cluster/pinfold/p2p"
)

// scrapesAtOnce bounds the requests for metrics that are answered at the same time.
const scrapesAtOnce = 4

// openMetrics opens the door for Prometheus alone, where there is to be one. Where
// another peer of this machine has the default address, this one does without: the REST
// API has the same figures.
func (p *Daemon) openMetrics() (err error) {
	address := p.c.Metrics.ListenMultiaddress
	if address == gateway.Off {
		return nil
	}
	log := p.component("metrics")
	p.figures, err = web.New(web.Options{HTTPListenMultiaddress: []string{address}}, metricsDoor(p.metrics(), log), log)
	if address == config.DefaultMetricsAddress && errors.Is(err, syscall.EADDRINUSE) {
		p.figures = nil
		log.Warn("another process has the default port for metrics: this peer serves them at its REST API alone; "+
			"set metrics.listen_multiaddress to another address, or to off", "address", address)
		return nil
	}
	if err != nil {
		return err
	}
	p.closes(p.figures.Close)
	return nil
}

// metricsDoor answers GET /metrics, and all else with an error as the other doors do.
func metricsDoor(metrics http.Handler, log *slog.Logger) http.Handler {
	return web.Handle(log, func(w http.ResponseWriter, r *http.Request) error {
		if r.URL.Path != "/metrics" {
			return api.NotFound.Errorf("not found: this door has /metrics alone")
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			return &api.Error{Code: http.StatusMethodNotAllowed, Message: "the method is not allowed here; these are: GET, HEAD"}
		}
		metrics.ServeHTTP(w, r)
		return nil
	})
}

// serveMetrics answers Prometheus until ctx ends.
func (p *Daemon) serveMetrics(ctx context.Context) error {
	if p.figures == nil {
		<-ctx.Done()
		return nil
	}
	return p.figures.Run(ctx)
}

// metrics answers Prometheus: this peer's figures, those of the gateway, of libp2p and
// of the process.
func (p *Daemon) metrics() http.Handler {
	own := prometheus.NewRegistry()
	own.MustRegister(figures{p}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	all := prometheus.Gatherers{own, p2p.Figures}
	if p.gateway != nil {
		all = append(all, p.gateway.Metrics())
	}
	return promhttp.HandlerFor(all, promhttp.HandlerOpts{MaxRequestsInFlight: scrapesAtOnce, DisableCompression: true})
}

func figure(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	statePins    = figure("cluster_state_pins", "Pins in the pinset.")
	stateBytes   = figure("cluster_state_bytes", "Bytes of the pins, as far as known.")
	stateIndex   = figure("cluster_state_applied_index", "Log index that this peer's pinset has reached.")
	leads        = figure("cluster_consensus_leader", "1 where this peer leads.")
	leaderKnown  = figure("cluster_consensus_leader_known", "1 where this peer knows a leader.")
	belowMinimum = figure("cluster_pinner_below_minimum_pins", "Pins with fewer living holders than their minimum, on the leader, without those covered.")
	coveredPins  = figure("cluster_pinner_covered_pins", "Pins that would be below their minimum but that followers proved copies, on the leader, with followers.count_copies.")
	movingPins   = figure("cluster_pinner_moving_pins", "Pins of which a holder leaves, on the leader.")
	trackerPins  = figure("cluster_pintracker_pins", "Pins that this peer holds or is to, by status.", "status")
	peersAlive   = figure("cluster_monitor_peers", "Full peers, by whether they are heard.", "alive")

	followersKnown = figure("cluster_followers", "Followers that this peer knows: connected with it, known in all, and known to have lied.", "state")
	challenges     = figure("cluster_followers_challenges_total", "Challenges of followers to prove a copy, by what became of them.", "result")

	// The names of IPFS Cluster.
	oldPins      = figure("ipfscluster_pins", "Pins in the pinset.")
	oldQueued    = figure("ipfscluster_pins_pin_queued", "Pins of this peer that wait.")
	oldPinning   = figure("ipfscluster_pins_pinning", "Pins of this peer that are being fetched.")
	oldPinError  = figure("ipfscluster_pins_pin_error", "Pins of this peer that failed.")
	oldIPFSPins  = figure("ipfscluster_pins_ipfs_pins", "Pins on this peer's node.")
	oldFreeSpace = figure("ipfscluster_informer_disk", "Bytes free on this peer's node.")
	oldPinAdds   = figure("ipfscluster_pins_pin_add", "Pins that this peer has asked its node for.")
	oldPinFaults = figure("ipfscluster_pins_pin_add_errors", "Those of them that failed.")
	oldPuts      = figure("ipfscluster_blocks_put", "Requests to this peer's node to store an add's blocks.")
	oldPutFaults = figure("ipfscluster_blocks_put_error", "Those of them that failed.")
	oldBlocks    = figure("ipfscluster_blocks_added", "Blocks of adds that this peer's node has stored.")
	oldBytes     = figure("ipfscluster_blocks_added_size", "Bytes of these blocks.")
)

// figures are gauges and counters, read as they are asked for. All of them are kept, none
// computed.
type figures struct{ p *Daemon }

// Describe implements prometheus.Collector: what Collect gives is known when it does.
func (figures) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (f figures) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	p, self := f.p, f.p.ids.cluster.ID
	all := p.state.Stats()
	gauge(statePins, float64(all.Pins))
	gauge(oldPins, float64(all.Pins))
	gauge(stateBytes, float64(all.Bytes))
	gauge(stateIndex, float64(p.state.Applied()))
	leader, known := p.cons.Leader()
	gauge(leaderKnown, oneIf(known))
	gauge(leads, oneIf(known && leader == self))
	if r := p.pinner.Repair(); r.Running { // other peers do not know
		gauge(belowMinimum, float64(r.Below))
		gauge(coveredPins, float64(r.Covered))
		gauge(movingPins, float64(r.Moving))
	}
	counts := p.tracker.Counts()
	for s, n := range counts {
		gauge(trackerPins, float64(n), s.String())
	}
	pending, _ := p.tracker.Pending()
	held := p.state.HeldStats(self).Pins + p.state.HeldStats("").Pins
	pinned := float64(held - min(held, uint64(pending)))
	gauge(trackerPins, pinned, api.StatusPinned.String())
	gauge(oldIPFSPins, pinned)
	gauge(oldQueued, float64(counts[api.StatusPinQueued]))
	gauge(oldPinning, float64(counts[api.StatusPinning]))
	gauge(oldPinError, float64(counts[api.StatusPinError]))
	for d, v := range map[*prometheus.Desc]*atomic.Uint64{oldPinAdds: &p.traded.pins, oldPinFaults: &p.traded.pinErrors, oldPuts: &p.traded.puts,
		oldPutFaults: &p.traded.putErrors, oldBlocks: &p.traded.blocksAdded, oldBytes: &p.traded.bytesOfAdds} {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v.Load()))
	}
	if p.audience != nil {
		known, liars := p.audience.book.count()
		gauge(followersKnown, float64(len(p.audience.connected())), "connected")
		gauge(followersKnown, float64(known), "known")
		gauge(followersKnown, float64(liars), "lied")
	}
	if p.challenger != nil {
		for result, n := range map[string]*atomic.Uint64{"proven": &p.challenger.proven, "failed": &p.challenger.failed, "unanswered": &p.challenger.unanswered} {
			out <- prometheus.MustNewConstMetric(challenges, prometheus.CounterValue, float64(n.Load()), result)
		}
	}
	alive, dead := 0, 0
	for _, h := range p.monitor.Health() {
		if h.Alive {
			alive++
		} else {
			dead++
		}
	}
	gauge(peersAlive, float64(alive), "true")
	gauge(peersAlive, float64(dead), "false")
	for _, m := range p.monitor.Latest("freespace") {
		if m.Peer == self {
			gauge(oldFreeSpace, float64(m.Weight))
		}
	}
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
