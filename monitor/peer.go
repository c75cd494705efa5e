package monitor

import (
	"slices"
	"strings"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// The names of metrics that say something to this package.
const (
	ping      = "ping"
	freeSpace = "freespace"
	pinQueue  = "pinqueue"
	readOnly  = "readonly"
	tagPrefix = "tag:"
)

// closeClock is how near a message's clock must be to ours for its number to count
// though it fell: that of a peer whose clock was set back.
const closeClock = time.Minute

// maxAlerts are kept; beyond them the oldest go.
const maxAlerts = 1000

// A peer is what is known of one member.
type peer struct {
	number  uint64
	index   uint64
	skew    time.Duration
	metrics map[string]*metric
	heard   time.Time // the last message, zero where there was none

	alive bool
	since time.Time
	died  time.Time
}

type metric struct {
	api.Metric
	alerted bool
}

// heard takes in a message that from has signed.
func (m *Monitor) heard(from api.PeerID, msg message) {
	now := time.Now()
	m.mu.Lock()
	if m.peers[from] == nil { // one that has just joined, or no member any more
		m.mu.Unlock()
		m.check()
		m.mu.Lock()
	}
	p := m.peers[from]
	if p == nil {
		m.mu.Unlock()
		return
	}
	skew := time.Unix(0, msg.Wall).Sub(now)
	lapsed := now.Sub(p.heard) > m.o.ttl() && skew.Abs() < closeClock
	if msg.Number <= p.number && !lapsed {
		m.mu.Unlock()
		return
	}
	first := p.heard.IsZero()
	p.number, p.index, p.skew, p.heard = msg.Number, msg.Index, skew, now
	for _, x := range msg.Metrics {
		p.metrics[x.Name] = &metric{Metric: api.Metric{Name: x.Name, Peer: from, Value: x.Value, Valid: x.Valid, Weight: x.Weight,
			Partitionable: x.Partitionable, ReceivedAt: now.UnixNano(), Expire: now.Add(x.TTL).UnixNano()}}
	}
	for name, x := range p.metrics { // what it no longer measures
		if x.Expired(now) && x.alerted && !slices.ContainsFunc(msg.Metrics, func(y measurement) bool { return y.Name == name }) {
			delete(p.metrics, name)
		}
	}
	m.mu.Unlock()
	if first && from != m.self {
		m.Publish() // it knows nothing of us yet
	}
	m.check()
}

// check finds out who is a member, who has died or come back and what has expired.
func (m *Monitor) check() {
	now := time.Now()
	members, err := m.cluster.Members()
	if err != nil {
		m.log.Warn("members cannot be read", "err", err)
		return
	}
	m.mu.Lock()
	m.enrol(members, now)
	var turned []api.PeerID
	health := make([]api.PeerHealth, 0, len(m.peers))
	for id, p := range m.peers {
		if m.judge(id, p, now) {
			turned = append(turned, id)
		}
		m.alert(p, now)
		health = append(health, p.health(id, now))
	}
	m.alerts = m.alerts[max(len(m.alerts)-maxAlerts, 0):]
	slices.SortFunc(health, func(a, b api.PeerHealth) int { return strings.Compare(string(a.ID), string(b.ID)) })
	m.health.Store(&health)
	var tell []func()
	for _, id := range turned {
		alive := m.peers[id].alive
		for _, f := range m.watchers {
			tell = append(tell, func() { f(id, alive) })
		}
	}
	m.mu.Unlock()
	for _, f := range tell {
		f()
	}
}

// enrol keeps m.peers the members. A new one is given time to be heard.
func (m *Monitor) enrol(members []api.Member, now time.Time) {
	known := make(map[api.PeerID]bool, len(members))
	for _, x := range members {
		known[x.ID] = true
		if m.peers[x.ID] == nil {
			m.peers[x.ID] = &peer{metrics: map[string]*metric{}, alive: true, since: now}
			m.Publish() // what was heard of it before was dropped, and so may have been ours
		}
	}
	for id := range m.peers {
		if !known[id] {
			delete(m.peers, id)
			m.alerts = slices.DeleteFunc(m.alerts, func(a api.Alert) bool { return a.Peer == id })
		}
	}
}

// judge finds out whether p lives, and returns whether that has changed.
func (m *Monitor) judge(id api.PeerID, p *peer, now time.Time) bool {
	last := p.heard
	if last.IsZero() {
		last = p.since // unheard, it counts from when we knew of it
		if !p.alive {
			last = time.Time{}
		}
	}
	if c := m.contact(id); c.After(last) {
		last = c
	}
	alive := id == m.self || !last.IsZero() && now.Sub(last) <= m.o.ttl()
	if alive == p.alive {
		return false
	}
	p.alive = alive
	if alive {
		p.died, p.since = p.since, now
		m.log.Info("peer is back", "peer", id, "away", now.Sub(p.died).Round(time.Millisecond))
	} else {
		p.since = last
		m.log.Warn("peer is dead", "peer", id, "heard", last)
	}
	return true
}

// alert notes each metric of p that has expired, once.
func (m *Monitor) alert(p *peer, now time.Time) {
	for _, x := range p.metrics {
		if !x.alerted && x.Expired(now) {
			x.alerted = true
			m.alerts = append(m.alerts, api.Alert{Metric: x.Metric, TriggeredAt: now})
		}
	}
}

func (p *peer) health(id api.PeerID, now time.Time) api.PeerHealth {
	h := api.PeerHealth{ID: id, Alive: p.alive, Since: p.since, Index: p.index, Skew: p.skew}
	if p.alive {
		h.Died = p.died
	}
	for name, x := range p.metrics {
		if !x.Valid || x.Expired(now) {
			continue
		}
		switch tag, isTag := strings.CutPrefix(name, tagPrefix); {
		case name == freeSpace:
			h.Free, h.Measured = x.Weight, true
		case name == pinQueue:
			h.Pending = int(max(-x.Weight, 0))
		case name == readOnly:
			h.ReadOnly = x.Weight != 0
		case isTag:
			if h.Tags == nil {
				h.Tags = map[string]string{}
			}
			h.Tags[tag] = x.Value
		}
	}
	return h
}

// Health tells how every full peer is, in order of their IDs. It is a few checks old at
// most, costs nothing, and is not to be written to.
func (m *Monitor) Health() []api.PeerHealth { return *m.health.Load() }

// Alive returns the full peers that live, in order of their IDs.
func (m *Monitor) Alive() []api.PeerID {
	var ids []api.PeerID
	for _, h := range m.Health() {
		if h.Alive {
			ids = append(ids, h.ID)
		}
	}
	return ids
}

// Dead is nil for a peer that lives, or that is not known; else it says since when it
// is dead, with kind Unavailable.
func (m *Monitor) Dead(p api.PeerID) error {
	for _, h := range m.Health() {
		if h.ID == p && !h.Alive {
			return api.Unavailable.Errorf("peer %s is dead: unheard since %s", p, h.Since.UTC().Format(time.RFC3339))
		}
	}
	return nil
}

// Latest returns the metric of that name of every full peer, in order of their IDs,
// where it is valid and not expired.
func (m *Monitor) Latest(name string) []api.Metric {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	list := []api.Metric{}
	for _, p := range m.peers {
		if x := p.metrics[name]; x != nil && x.Valid && !x.Expired(now) {
			list = append(list, x.Metric)
		}
	}
	slices.SortFunc(list, func(a, b api.Metric) int { return strings.Compare(string(a.Peer), string(b.Peer)) })
	return list
}

// Names returns the names of all metrics known, sorted.
func (m *Monitor) Names() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	names := []string{}
	for _, p := range m.peers {
		for name := range p.metrics {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// Alerts returns the metrics of members that expired, the most recent first; a
// thousand at most.
func (m *Monitor) Alerts() []api.Alert {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := append([]api.Alert{}, m.alerts...)
	slices.Reverse(list)
	return list
}

// Watch calls f, which must not block, whenever a peer dies or comes back, until
// stop is called.
func (m *Monitor) Watch(f func(p api.PeerID, alive bool)) (stop func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watched++
	id := m.watched
	m.watchers[id] = f
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.watchers, id)
	}
}
