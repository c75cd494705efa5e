// Package monitor measures this peer, tells the others, and knows from what they
// tell who lives and how much room each has.
//
// Every full peer publishes all its metrics in one numbered message on a topic whose
// messages are signed; what a message says is about its signer. A metric lasts for
// two intervals after it arrived, by the clock of the peer that it reached: clocks
// that differ kill nobody. A peer is dead once neither a ping nor Raft has been heard
// of it for that long. Whatever fails is logged and tried again; a Monitor only ends
// with its context.
package monitor

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
)

// Topic carries messages between the full peers. Each is known to be of its sender.
type Topic interface {
	Publish(ctx context.Context, data []byte) error
	Next(ctx context.Context) (from api.PeerID, data []byte, err error)
	// Arrived waits until another peer has come, which earlier messages may not have reached.
	Arrived(ctx context.Context) error
}

// Cluster is what a Monitor asks of this peer's state.
type Cluster interface {
	Members() ([]api.Member, error)
	Applied() uint64
}

// Contact tells when Raft last heard of a peer; the zero time where it cannot tell.
type Contact func(api.PeerID) time.Time

// Options tune a Monitor; the zero value of a field means its default.
type Options struct {
	// Interval is between two messages of a peer; half of what a metric lasts; 15s.
	Interval time.Duration `json:"monitor_ping_interval"`
	// Check is between looks at what has expired; a quarter of Interval, 1s at most. In a
	// file it is check_interval in the section monitor.pubsubmon.
	Check time.Duration `json:"-"`
}

// WithDefaults returns o with its defaults filled in.
func (o Options) WithDefaults() Options {
	if o.Interval <= 0 {
		o.Interval = 15 * time.Second
	}
	if o.Check <= 0 {
		o.Check = min(o.Interval/4, time.Second)
	}
	return o
}

func (o Options) ttl() time.Duration { return 2 * o.Interval }

// A Monitor knows how the full peers are.
type Monitor struct {
	self     api.PeerID
	topic    Topic
	cluster  Cluster
	contact  Contact
	samplers []Sampler
	o        Options
	log      *slog.Logger

	poke   chan struct{} // publish soon
	health atomic.Pointer[[]api.PeerHealth]

	mu       sync.Mutex
	number   uint64 // of the last message published
	peers    map[api.PeerID]*peer
	alerts   []api.Alert // the oldest first
	watchers map[int]func(p api.PeerID, alive bool)
	watched  int
}

// New returns the Monitor of peer self, which samplers measure. contact may be nil.
// It does nothing until Run.
func New(self api.PeerID, topic Topic, cluster Cluster, samplers []Sampler, contact Contact, o Options, log *slog.Logger) *Monitor {
	if contact == nil {
		contact = func(api.PeerID) time.Time { return time.Time{} }
	}
	m := &Monitor{self: self, topic: topic, cluster: cluster, contact: contact, samplers: samplers, o: o.WithDefaults(), log: log,
		poke: make(chan struct{}, 1), peers: map[api.PeerID]*peer{}, watchers: map[int]func(api.PeerID, bool){}}
	m.health.Store(&[]api.PeerHealth{})
	return m
}

// Run measures, publishes and listens until ctx ends. Nothing else ends it.
func (m *Monitor) Run(ctx context.Context) error {
	m.check()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { m.publish(ctx); return nil })
	g.Go(func() error { m.listen(ctx); return nil })
	g.Go(func() error { m.greet(ctx); return nil })
	g.Go(func() error {
		for sleep(ctx, m.o.Check) {
			m.check()
		}
		return nil
	})
	return g.Wait()
}

// Publish makes the Monitor measure and publish soon, as when much has changed.
func (m *Monitor) Publish() {
	select {
	case m.poke <- struct{}{}:
	default:
	}
}

// publish sends a message every interval, at first more often: the first ones may
// find nobody on the topic yet.
func (m *Monitor) publish(ctx context.Context) {
	shortest := max(m.o.Interval/64, 50*time.Millisecond)
	for pause := shortest; ctx.Err() == nil; pause = min(2*pause, m.o.Interval) {
		last := time.Now()
		m.publishOnce(ctx)
		// A tenth of difference keeps many peers from speaking all at once.
		t := time.NewTimer(pause - time.Duration(rand.Int64N(int64(pause)/10+1)))
		select {
		case <-ctx.Done():
		case <-t.C:
		case <-m.poke:
			sleep(ctx, time.Until(last.Add(shortest))) // one answer to many pokes
		}
		t.Stop()
	}
}

// greet publishes at once for each peer that comes to the topic: until it has heard of
// this one it gives it no pins.
func (m *Monitor) greet(ctx context.Context) {
	for ctx.Err() == nil {
		if err := m.topic.Arrived(ctx); err != nil {
			if ctx.Err() == nil {
				m.log.Warn("arrivals of peers cannot be seen", "err", err)
				sleep(ctx, time.Second)
			}
			continue
		}
		m.Publish()
	}
}

func (m *Monitor) publishOnce(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, m.o.Interval)
	defer cancel()
	msg := message{Index: m.cluster.Applied()} // before measuring: what comes later is not in it
	msg.Metrics = m.sample(ctx)
	now := time.Now()
	m.mu.Lock()
	m.number = max(m.number+1, uint64(now.UnixNano()))
	msg.Number, msg.Wall = m.number, now.UnixNano()
	m.mu.Unlock()
	data, err := encode(msg)
	if err == nil {
		m.heard(m.self, msg)
		err = m.topic.Publish(ctx, data)
	}
	if err != nil && ctx.Err() == nil {
		m.log.Warn("metrics cannot be published", "err", err)
	}
}

// sample measures. A slow sampler holds up nothing for long: a ping must go out.
func (m *Monitor) sample(ctx context.Context) []measurement {
	ctx, cancel := context.WithTimeout(ctx, m.o.Interval/4)
	defer cancel()
	results := make([][]api.Metric, len(m.samplers))
	var wg sync.WaitGroup
	for i, s := range m.samplers {
		wg.Go(func() { results[i] = s(ctx) })
	}
	wg.Wait()
	var list []measurement
	for _, x := range slices.Concat(results...) {
		list = append(list, measurement{Name: x.Name, Value: x.Value, Weight: x.Weight, Partitionable: x.Partitionable, Valid: x.Valid, TTL: m.o.ttl()})
	}
	return list
}

// listen takes in what others publish.
func (m *Monitor) listen(ctx context.Context) {
	for ctx.Err() == nil {
		from, data, err := m.topic.Next(ctx)
		if err != nil {
			if ctx.Err() == nil {
				m.log.Warn("metrics cannot be received", "err", err)
				sleep(ctx, time.Second)
			}
			continue
		}
		if from == m.self {
			continue
		}
		msg, err := decode(data)
		if err != nil {
			m.log.Debug("unreadable metrics", "peer", from, "err", err)
			continue
		}
		m.heard(from, msg)
	}
}

// sleep waits for d. It returns false where ctx ended before.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
