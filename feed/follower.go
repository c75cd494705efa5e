package feed

import (
	"context"
	"encoding/hex"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/p2p"
	"github.com/pinfold-cluster/pinfold/state"
)

// FollowerOptions tune a Follower. The zero value of a field means its default.
type FollowerOptions struct {
	Name, Version string               // of this follower
	Data          func() peer.AddrInfo // its data host; nil: none
	Members       []peer.AddrInfo      // of the cluster, to try first
	Answers       Answers              // what members are told of it; nil: nothing
	Met           func(Peer)           // is told of each neighbour, again and again; nil: nobody is
	Lacks         func() bool          // whether content is missing that members may have: they give it to those met lately; nil: never

	// SureKey is the number of the cluster's key that is beyond doubt: evidence that
	// stopped an earlier run is put aside where it is about that key or one before.
	SureKey uint64

	Neighbours int           // to keep connected; 8
	Bandwidth  uint64        // bytes a second that others are given; 0 is no limit
	KeptBytes  int           // of messages kept for others; 16 MiB
	Patience   time.Duration // without a word after which a neighbour is asked; 15s
}

func (o FollowerOptions) withDefaults() FollowerOptions {
	if o.Met == nil {
		o.Met = func(Peer) {}
	}
	if o.Lacks == nil {
		o.Lacks = func() bool { return false }
	}
	if o.Neighbours == 0 {
		o.Neighbours = 8
	}
	if o.KeptBytes == 0 {
		o.KeptBytes = 16 << 20
	}
	if o.Patience == 0 {
		o.Patience = 15 * time.Second
	}
	return o
}

// Listener is told what becomes of the pinset, as by the log on a full peer. Its methods
// never block.
type Listener interface {
	Track(p api.Pin)
	Untrack(p api.Pin)
	Reload()
}

// A Follower keeps a state like that of the members.
type Follower struct {
	net      Network
	st       *state.State
	dir      string
	listener Listener
	o        FollowerOptions
	log      *slog.Logger
	judge    *judge
	client   client
	server   *streams
	met      *acquaintances
	book     *book
	wake     chan struct{} // holds one item when there may be something to catch up with
	settled  chan struct{} // closed once the state stands on a signed index

	mu         sync.Mutex
	held       held
	past       past
	words      words
	heard      time.Time // when a member's word came that was new
	told       time.Time // when a beacon did
	shown      time.Time // by the members' clocks, as the beacon said that went furthest,
	seen       time.Time // when that came
	strayed    time.Time // when a member said that it has lost touch with the cluster
	copying    bool      // pages are under way: the state is theirs
	copy       copyRun   // the last one
	gone       bool      // batches do not lead on from here: it takes pages
	unsure     bool      // since the cluster's key was renewed nobody has said that the state is right
	overtaken  bool      // by a renewal: the pages under way
	evidence   *Evidence
	neighbours map[api.PeerID]Peer
	stood      state.Digest             // of the state when it was trusted last; zero: never under the key of now
	liars      map[api.PeerID]time.Time // until when each is not called again
	tree       *signedTree              // of the pages that others may have; nil: none
	table      *table                   // the newest of coverage that was seen; nil: none
	wanted     bool                     // somebody asked for pages in vain
}

// NewFollower returns a Follower that keeps st, which nobody else writes. What else it
// must remember is in files of dir, which exists. It does nothing until Run.
func NewFollower(n Network, v *p2p.Verifier, st *state.State, dir string, l Listener, o FollowerOptions, log *slog.Logger) (*Follower, error) {
	o = o.withDefaults()
	f := &Follower{net: n, st: st, dir: dir, listener: l, o: o, log: log, judge: newJudge(v), client: client{n},
		met: newAcquaintances(), wake: make(chan struct{}, 1), settled: make(chan struct{}),
		held: newHeld(), past: newPast(o.KeptBytes), words: words{}, neighbours: map[api.PeerID]Peer{}, liars: map[api.PeerID]time.Time{}}
	f.server = newStreams(n, f, o.Bandwidth, log)
	var err error
	if f.evidence, err = loadEvidence(filepath.Join(dir, evidenceFile)); err != nil {
		return nil, err
	}
	if err := f.settleKey(o.SureKey); err != nil {
		return nil, err
	}
	if err := f.loadStood(); err != nil {
		return nil, err
	}
	if f.book, err = openBook(filepath.Join(dir, bookFile), o.Members, log); err != nil {
		return nil, err
	}
	if st.Applied() > 0 {
		close(f.settled)
	}
	return f, nil
}

// Run follows until ctx ends. The error is of this machine: its disk.
func (f *Follower) Run(ctx context.Context) error {
	if err := f.net.Join(f.valid); err != nil {
		return err
	}
	defer f.net.Leave()
	if err := f.net.Read(); err != nil {
		return err
	}
	defer f.closeTree()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return f.server.run(ctx) })
	g.Go(func() error { return f.listen(ctx) })
	g.Go(func() error { return f.catchUp(ctx) })
	g.Go(func() error { return f.keepNeighbours(ctx) })
	g.Go(func() error { return f.keepKey(ctx) })
	return g.Wait()
}

// Settled returns once the state stands on an index that a member signed, which it may
// have since an earlier run. The error is ctx's.
func (f *Follower) Settled(ctx context.Context) error {
	select {
	case <-f.settled:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// FollowerStatus tells how far a Follower has come.
type FollowerStatus struct {
	Index   uint64   // of the log, that the state stands at; 0 while pages are under way
	Digest  [32]byte // of the pinset there
	Settled bool     // the state stands on a signed index
	Latest  uint64   // highest index that a member has told
	// Heard is when the last word of a member came that was new, and Told when that was
	// said by the member's clock, as far as beacons tell; zero for never in this run.
	Heard, Told time.Time
	Stopped     string // why it goes no further, until Resume; "" it does
	KeyInDoubt  bool   // that is for two renewals of the cluster's key, which only a new link settles
	// While pages are under way: Total counts the pins of the pinset that is copied, and
	// Rate the pins that the state has gained a second since the copy began or went on.
	Total uint64
	Rate  float64
	// Astray tells that the neighbours of the cluster have lost touch with it, and that
	// nobody has said lately where the log ends.
	Astray bool
	// Renewed tells that members have been heard that belong to another incarnation of
	// the cluster, and none of this one lately: the cluster was started anew, and it takes
	// a new link to follow it.
	Renewed    bool
	Neighbours []Peer
}

// Current tells whether the state is the newest that there is, as far as can be told: a
// beacon says so that is younger than most, by both clocks.
func (s FollowerStatus) Current(now time.Time, most time.Duration) bool {
	return s.Settled && s.Stopped == "" && s.Index >= s.Latest &&
		now.Sub(s.Heard) < most && now.Sub(s.Told).Abs() < most
}

// Status tells how it goes.
func (f *Follower) Status() FollowerStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, now := f.st.Digest(), time.Now()
	s := FollowerStatus{Index: f.index(), Digest: d.Pins, Settled: d.Index > 0 && !f.copying, Latest: f.words.latest(now),
		Heard: f.heard, Told: f.words.beacon(now).beacon.time, Astray: f.astray(now)}
	if f.evidence != nil {
		s.Stopped, s.KeyInDoubt = f.evidence.Reason, f.evidence.Key > 0
	}
	if foreign := f.judge.foreignAt(); !foreign.IsZero() && foreign.Sub(f.heard) > time.Minute {
		s.Renewed = true
	}
	if f.copying {
		s.Total, s.Rate = f.copy.pins, f.copy.rate(f.st.Stats().Pins, now)
	}
	for _, p := range f.neighbours {
		s.Neighbours = append(s.Neighbours, p)
	}
	return s
}

// Resume goes on after evidence, which is kept beside: the pinset is taken anew from
// pages that a member signs. It is for the follower's owner to say.
func (f *Follower) Resume() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.evidence == nil {
		return api.Conflict.Errorf("this follower has not stopped")
	}
	if f.evidence.Key > 0 {
		return errKeyInDoubt
	}
	if f.copying {
		return api.Unavailable.Errorf("pages are under way; try again")
	}
	// From here on until the pages are there, the state is that of no index.
	f.stood = state.Digest{}
	if err := putAside(filepath.Join(f.dir, stoodFile)); err != nil {
		return err
	}
	if err := f.st.NewBatch().CommitAt(0); err != nil {
		return err
	}
	if err := f.st.Sync(); err != nil {
		return err
	}
	if err := putAside(filepath.Join(f.dir, evidenceFile)); err != nil {
		return err
	}
	f.evidence, f.gone = nil, true
	f.forget()
	f.nudge()
	return nil
}

// forget drops all that was heard, as after a copy. The caller holds mu.
func (f *Follower) forget() {
	f.held, f.past = newHeld(), newPast(f.o.KeptBytes)
	f.words = words{}
}

// nudge lets catchUp look.
func (f *Follower) nudge() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// valid judges a message of gossip. What contradicts what is known goes on: others shall
// see it.
func (f *Follower) valid(_ api.PeerID, data []byte) p2p.Verdict {
	m, v := f.judge.look(data, f.st.Applied())
	if v == p2p.Forward {
		f.judge.keep(m)
	}
	return v
}

// listen takes what gossip brings.
func (f *Follower) listen(ctx context.Context) error {
	for {
		raw, err := f.net.Next(ctx)
		if err != nil {
			return nil // ctx has ended, or the host
		}
		m, err := f.judge.opened(raw)
		if err != nil {
			continue // valid has let it through: it cannot be
		}
		if err := f.take(m); err != nil {
			return err
		}
	}
}

func short(d [32]byte) string { return hex.EncodeToString(d[:8]) }
