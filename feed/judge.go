package feed

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/p2p"
)

const (
	// staleAfter is how long ago a message must have been overtaken to count as old. It
	// is less than for how long gossip knows a message again, so that nobody can send it
	// round another time.
	staleAfter = time.Minute
	// timely is how near to the own clock a beacon's time is that counts in whatever order
	// it comes: a clock that was fast once has signed what is later than all that is true.
	// Gossip knows a message for more than twice as long, so that none goes round again.
	timely = 30 * time.Second
	// signersKnown bounds whose clocks are remembered.
	signersKnown = 256
	// openedKept messages that were let through wait to be taken, opened.
	openedKept = 128
)

// A message is a statement of a member, opened and read.
type message struct {
	raw    []byte
	kind   string
	signer api.PeerID

	batches []batch // of kindBatches
	beacon  beacon  // of kindBeacon
	root    Root    // of kindRoot
	body    []byte
	key     uint64 // how often the verifier's key had been renewed before it was opened
}

// last is the highest index that m speaks of.
func (m message) last() uint64 {
	switch m.kind {
	case kindBatches:
		return m.batches[len(m.batches)-1].index
	case kindBeacon:
		return m.beacon.index
	case kindRoot:
		return m.root.Index
	}
	return 0
}

// open reads a statement that a member signed. The error wraps p2p.ErrDenied or is
// Invalid.
func open(v *p2p.Verifier, raw []byte) (m message, err error) {
	if len(raw) > maxStatement {
		return m, api.Invalid.Errorf("a statement of %d bytes", len(raw))
	}
	s, err := v.Open(raw)
	if err != nil {
		return m, err
	}
	m = message{raw: raw, kind: s.Kind, signer: s.Signer, body: s.Body}
	switch s.Kind {
	case kindBatches:
		m.batches, err = decodeBatches(s.Body)
	case kindBeacon:
		m.beacon, err = decodeBeacon(s.Body)
	case kindRoot:
		m.root, err = decodeRoot(s.Body)
	case kindCoverage:
	default:
		err = api.Invalid.Errorf("a statement of an unknown kind")
	}
	return m, err
}

// A judge decides which messages of gossip go on.
type judge struct {
	verifier *p2p.Verifier

	mu      sync.Mutex
	marked  uint64 // where the own state stood at since,
	floor   uint64 // and at least staleAfter before that: what others say proves nothing
	since   time.Time
	clocks  map[api.PeerID]time.Time // of the latest beacon, by signer
	foreign time.Time                // when something of another incarnation came
	open    map[*byte]message        // by where their bytes are

	key     atomic.Uint64 // how often the verifier's key was renewed
	strange chan struct{} // holds one item when something under an unknown key of the cluster came
}

func newJudge(v *p2p.Verifier) *judge {
	return &judge{verifier: v, clocks: map[api.PeerID]time.Time{}, open: map[*byte]message{}, strange: make(chan struct{}, 1)}
}

// look judges a message of gossip for a peer whose state is at index own.
func (j *judge) look(data []byte, own uint64) (message, p2p.Verdict) {
	m, err := j.read(data)
	switch {
	case errors.Is(err, p2p.ErrKey):
		return m, p2p.Ignore
	case errors.Is(err, p2p.ErrIncarnation):
		j.mu.Lock()
		defer j.mu.Unlock()
		j.foreign = time.Now()
		return m, p2p.Ignore
	}
	if err != nil || m.kind != kindBatches && m.kind != kindBeacon {
		return m, p2p.Reject
	}
	if j.old(m, own, time.Now()) {
		return m, p2p.Ignore
	}
	return m, p2p.Forward
}

// old tells whether m is of no use to anybody: it was overtaken long ago.
func (j *judge) old(m message, own uint64, now time.Time) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if now.Sub(j.since) >= staleAfter {
		j.floor, j.marked, j.since = j.marked, own, now
	}
	if index := m.last(); index < j.floor && index <= own {
		return true
	}
	if m.kind != kindBeacon {
		return false
	}
	if !m.beacon.time.After(j.clocks[m.signer]) {
		return !m.beacon.isTimely(now)
	}
	if len(j.clocks) >= signersKnown {
		clear(j.clocks)
	}
	j.clocks[m.signer] = m.beacon.time
	return false
}

// isTimely tells whether b was signed just now, as far as two clocks tell.
func (b beacon) isTimely(now time.Time) bool { return now.Sub(b.time).Abs() < timely }

// foreignAt tells when something of another incarnation was heard last.
func (j *judge) foreignAt() time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.foreign
}

// keep has m ready for opened: to open a message is what costs.
func (j *judge) keep(m message) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.open) >= openedKept {
		clear(j.open)
	}
	j.open[&m.raw[0]] = m
}

// opened opens the message, or takes what keep kept of the same bytes.
func (j *judge) opened(raw []byte) (message, error) {
	if len(raw) == 0 {
		return message{}, api.Invalid.Errorf("an empty message")
	}
	j.mu.Lock()
	m, ok := j.open[&raw[0]]
	delete(j.open, &raw[0])
	j.mu.Unlock()
	if ok {
		return m, nil
	}
	return j.read(raw)
}
