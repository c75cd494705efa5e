// Package pinner decides what becomes of the pinset: what a pin or unpin that a
// user asks for comes to, who holds a pin, when it expires, and who takes over from
// a peer that is gone.
//
// Decisions are the leader's. On any other peer a Pinner forwards what it is asked
// to the leader's, many requests a call, and answers once this peer's own state has
// the change. Every request carries this peer's session and a number in it, so that
// one sent again after a lost answer is applied once.
//
// What is decided is an api.Op that computes nothing: package consensus puts it into
// the log. The allocation itself is package allocator's. See DESIGN.md.
package pinner

import (
	"context"
	"iter"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
)

// Consensus is what a Pinner asks of the replicated log.
type Consensus interface {
	// Commit returns what became of ops, in order, once they are applied on this peer,
	// the leader. The error is Unavailable where nothing happened, else Unknown.
	Commit(ctx context.Context, ops []api.Op) ([]api.Outcome, error)
	// Ready returns the term in which this peer leads, its state being past everything
	// committed before that; Unavailable where it does not lead.
	Ready(ctx context.Context) (term uint64, err error)
	// ReadIndex returns a commit index after which this peer was verified to lead.
	ReadIndex(ctx context.Context) (uint64, error)
	Leader() (api.PeerID, bool)
	WaitLeader(ctx context.Context) (api.PeerID, error)
	WaitApplied(ctx context.Context, index uint64) error
}

// Pinset is what a Pinner reads of this peer's state.
type Pinset interface {
	// Get returns the record of c with its Revision; NotFound where there is none.
	Get(ctx context.Context, c api.Cid) (api.Pin, error)
	// List gives all pins after a CID, in order of the CID's bytes.
	List(ctx context.Context, after api.Cid) iter.Seq2[api.Pin, error]
	// Allocated gives the pins after a CID that p must hold, in order of the CID's bytes.
	Allocated(ctx context.Context, p api.PeerID, after api.Cid) iter.Seq2[api.Pin, error]
	// Expiring gives the pins that expire, the first to do so first.
	Expiring(ctx context.Context) iter.Seq2[api.Pin, error]
	// Totals are the number of pins and the bytes of those whose size is known.
	Totals() (pins, bytes uint64)
	Members() ([]api.Member, error)
	// Session returns the open session of p and the number below which it has no outcomes.
	Session(p api.PeerID) (id, acked uint64, ok bool)
	// Outcome returns the log index at which a request of p was applied, if it was.
	Outcome(p api.PeerID, session, seq uint64) (index uint64, ok bool, err error)
}

// Peers tells how all full peers are, the dead ones too.
type Peers interface {
	// Health is cheap, in no particular order, and not to be written to.
	Health() []api.PeerHealth
}

// Forwarder calls other peers.
type Forwarder interface {
	// Commit hands b to the Pinner of peer to. An error of kind Unavailable says that the
	// call did not get there; after any other the outcome is unknown.
	Commit(ctx context.Context, to api.PeerID, b api.Batch) (api.Committed, error)
	// Holds asks a peer, which may be this one, whether its node has all of each pin, in order.
	Holds(ctx context.Context, to api.PeerID, cids []api.Cid) ([]bool, error)
	// Copies has the followers of all peers prove copies of up to 64 pins, and tells in order
	// how many followers did. It is empty where these are not to count.
	Copies(ctx context.Context, wanted []api.CopyQuery) []int
}

// Options tune a Pinner; the zero value of a field means its default.
type Options struct {
	// ReplicationFactorMin and ReplicationFactorMax are what a request that names none gets: both -1
	// (everywhere) or both positive; -1.
	ReplicationFactorMin int `json:"replication_factor_min"`
	ReplicationFactorMax int `json:"replication_factor_max"`
	// SpreadBy are the tags over whose values copies are spread, the most important
	// first; group.
	SpreadBy []string `json:"spread_by"`

	// Calls are the calls to the leader in flight; 2. With more, what waits is spread
	// over more and smaller calls.
	Calls int `json:"forward_calls"`
	// CallLimit ends a call to the leader; 20s.
	CallLimit time.Duration `json:"forward_timeout"`
	// Resend is before the second try of a call, then doubled up to 16 times; 20ms.
	Resend time.Duration `json:"forward_retry"`
	// CatchUp is how long an answer waits for this peer's state; 10s.
	CatchUp time.Duration `json:"catch_up_timeout"`
	// Settle is how long after start peers not heard of yet are waited for; 10s.
	Settle time.Duration `json:"settle_time"`

	// Grace is how long a peer is dead before its pins are placed anew; 10m.
	Grace time.Duration `json:"repair_grace"`
	// Rate bounds the pins placed anew per second; 500.
	Rate int `json:"repair_pins"`
	// Recheck is between looks at what waits for repair or for a copy; a tenth of
	// repair_grace, 200ms to 15s.
	Recheck time.Duration `json:"repair_recheck"`
	// NoRepair leaves dead peers their pins. Removed ones never keep theirs; false.
	NoRepair bool `json:"disable_repinning"`
}

// WithDefaults returns o with its defaults filled in.
func (o Options) WithDefaults() Options {
	if o.ReplicationFactorMin == 0 && o.ReplicationFactorMax == 0 {
		o.ReplicationFactorMin, o.ReplicationFactorMax = -1, -1
	}
	if o.SpreadBy == nil {
		o.SpreadBy = []string{"group"}
	}
	def(&o.Calls, 2)
	def(&o.CatchUp, 10*time.Second)
	def(&o.Settle, 10*time.Second)
	def(&o.CallLimit, 20*time.Second)
	def(&o.Resend, 20*time.Millisecond)
	def(&o.Grace, 10*time.Minute)
	def(&o.Rate, 500)
	def(&o.Recheck, min(max(o.Grace/10, 200*time.Millisecond), 15*time.Second))
	return o
}

func def[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// A Pinner changes the pinset. Its methods may be called from many goroutines; they
// answer while Run runs.
type Pinner struct {
	self  api.PeerID
	log   *slog.Logger
	o     Options
	cons  Consensus
	pins  Pinset
	peers Peers
	fwd   Forwarder

	started  time.Time
	queue    *queue
	locks    *locks
	promises *promises
	clock    clock
	members  members
	expiry   *expiry
	repair   *repair
}

// Validate checks what defaults cannot mend. The error is Invalid.
func (o Options) Validate() error {
	o = o.WithDefaults()
	return checkFactors(o.ReplicationFactorMin, o.ReplicationFactorMax)
}

// New returns the Pinner of peer self. It does nothing until Run. The error is that
// of Options.Validate.
func New(self api.PeerID, c Consensus, pins Pinset, peers Peers, fwd Forwarder, o Options, log *slog.Logger) (*Pinner, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o = o.WithDefaults()
	p := &Pinner{self: self, log: log, o: o, cons: c, pins: pins, peers: peers, fwd: fwd,
		started: time.Now(), locks: newLocks(), promises: newPromises()}
	p.queue = newQueue(func() uint64 { id, _, _ := pins.Session(self); return id })
	p.expiry = newExpiry(p)
	p.repair = newRepair(p)
	return p, nil
}

// Run forwards, expires and repairs until ctx ends. No failure ends it before.
func (p *Pinner) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for range p.o.Calls {
		g.Go(func() error { return p.forward(ctx) })
	}
	g.Go(func() error { return p.expiry.run(ctx) })
	g.Go(func() error { return p.repair.run(ctx) })
	return g.Wait()
}

// Pin puts what is asked into the pinset. Zero replication factors mean the
// cluster's, allocations that are set are kept. It returns the record as stored and
// the log index of the change, which this peer's state has reached.
//
// The error is Invalid, TooLarge, NotFound (of an update's source), Conflict, Full or
// Unavailable where nothing happened, Unknown where nobody can tell, and Lagging,
// with the record and index, where it is committed but this peer does not see it yet.
func (p *Pinner) Pin(ctx context.Context, pin api.Pin) (api.Pin, uint64, error) {
	return p.one(ctx, api.Request{Type: api.RequestPin, Pin: pin})
}

// Unpin takes c out of the pinset and returns the record as it was, with the log
// index of the change. The error is NotFound where there is none, else as of Pin.
func (p *Pinner) Unpin(ctx context.Context, c api.Cid) (api.Pin, uint64, error) {
	return p.one(ctx, api.Request{Type: api.RequestUnpin, Pin: api.Pin{Cid: c}})
}

func (p *Pinner) one(ctx context.Context, r api.Request) (api.Pin, uint64, error) {
	c := p.queue.add(r)
	res := p.wait(ctx, c)
	if res.Fault != nil {
		return api.Pin{}, 0, res.Fault.Err()
	}
	return res.Pin, res.Index, p.visible(ctx, res.Index)
}

// PinMany does all of reqs, each on its own, and answers in order. Those that name
// the same CID are done one after the other.
func (p *Pinner) PinMany(ctx context.Context, reqs []api.Request) []api.Result {
	calls := make([]*call, len(reqs))
	for i, r := range reqs {
		calls[i] = p.queue.add(r)
	}
	results := make([]api.Result, len(reqs))
	var last uint64
	for i, c := range calls {
		results[i] = p.wait(ctx, c)
		last = max(last, results[i].Index)
	}
	if err := p.visible(ctx, last); err != nil {
		for i := range results {
			if results[i].Fault == nil {
				results[i].Fault = api.FaultOf(p.visible(ctx, results[i].Index))
			}
		}
	}
	return results
}

// visible waits until this peer's state has reached index.
func (p *Pinner) visible(ctx context.Context, index uint64) error {
	if index == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, p.o.CatchUp)
	defer cancel()
	if err := p.cons.WaitApplied(ctx, index); err != nil {
		return api.Lagging.Errorf("committed at index %d, but this peer is not there yet: %w", index, err)
	}
	return nil
}

// Track is told by the state machine, in order, of each record that is put. It never blocks.
func (p *Pinner) Track(pin api.Pin) {
	p.promises.track(pin, p.meanSize)
	p.expiry.track(pin)
	p.repair.track(pin)
}

// Untrack is told by the state machine of each record that is deleted.
func (p *Pinner) Untrack(api.Pin) {}

// Reload is told by the state machine that everything may have changed.
func (p *Pinner) Reload() {
	p.expiry.reload()
	p.repair.reload()
}

// Repair tells how far the leader's repair is.
func (p *Pinner) Repair() api.RepairStatus { return p.repair.status() }

// meanSize is the size to expect of a pin whose own nobody knows.
func (p *Pinner) meanSize() uint64 {
	pins, bytes := p.pins.Totals()
	if pins == 0 {
		return 0
	}
	return bytes / pins
}
