package pinner

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
)

// maxMoving bounds the pins remembered that a holder is leaving. The others are
// found again by going over the pinset.
const maxMoving = 1 << 16

// holdsLimit ends a question to a peer about what it holds.
const holdsLimit = 5 * time.Second

// moving are the pins that a holder is leaving, and when to look at each again.
type moving struct {
	due  map[api.Cid]look
	more bool // some did not fit
}

type look struct {
	at    time.Time
	pause time.Duration
}

func newMoving() *moving { return &moving{due: map[api.Cid]look{}} }

func (m *moving) len() int { return len(m.due) }

// add remembers c, to be looked at now. It returns whether that is news.
func (m *moving) add(c api.Cid) bool {
	if _, known := m.due[c]; !known && len(m.due) >= maxMoving {
		m.more = true
		return false
	}
	m.due[c] = look{}
	return true
}

// take returns up to a batch of those whose time has come, to be looked at again
// after a pause, longer each time.
func (m *moving) take(now time.Time, first, longest time.Duration) []api.Cid {
	var cids []api.Cid
	for c, l := range m.due {
		if now.Before(l.at) {
			continue
		}
		l.pause = min(max(2*l.pause, first), longest)
		l.at = now.Add(l.pause)
		m.due[c] = l
		if cids = append(cids, c); len(cids) == batchRequests {
			break
		}
	}
	return cids
}

// releaseSome lets holders go whose pins others have confirmed: it looks at a batch of
// those that holders are leaving, and returns how many.
func (r *repair) releaseSome(ctx context.Context) (int, error) {
	r.mu.Lock()
	cids := r.moving.take(time.Now(), r.p.o.Recheck, 16*r.p.o.Recheck)
	if len(cids) == 0 && r.moving.more && r.moving.len() < maxMoving/2 {
		r.moving.more, r.swept = false, false
	}
	r.mu.Unlock()
	if len(cids) == 0 {
		return 0, nil
	}
	return len(cids), r.releaseBatch(ctx, cids)
}

func (r *repair) releaseBatch(ctx context.Context, cids []api.Cid) error {
	v, err := r.p.look(time.Now())
	if err != nil {
		return err
	}
	ask := map[api.PeerID][]api.Cid{}
	pins := make([]api.Pin, 0, len(cids))
	for _, c := range cids {
		pin, err := r.p.pins.Get(ctx, c)
		if api.KindOf(err) == api.NotFound || err == nil && len(pin.Leaving) == 0 {
			r.settled(c)
			continue
		}
		if err != nil {
			return err
		}
		pins = append(pins, pin)
		for _, p := range union(pin.Allocations, pin.Leaving) {
			if slices.Contains(v.alive, p) {
				ask[p] = append(ask[p], c)
			}
		}
	}
	has := r.ask(ctx, ask)
	died := map[api.PeerID]time.Time{}
	for _, h := range r.p.peers.Health() {
		if h.Alive {
			died[h.ID] = h.Died
		}
	}
	var changes []*change
	for _, pin := range pins {
		changes = append(changes, &change{cid: pin.Cid, decide: func(_ context.Context, old api.Pin, v *view) (verdict, error) {
			if old.Revision != pin.Revision { // what was asked is of another decision
				return verdict{}, unchanged
			}
			return relieved(old, v, has, died)
		}})
	}
	r.p.settle(ctx, changes)
	for _, c := range changes {
		if c.res.Fault != nil {
			continue
		}
		if n := len(c.verdict.old.Leaving) - len(c.res.Pin.Leaving); n > 0 {
			r.mu.Lock()
			r.state.Done += uint64(n)
			r.mu.Unlock()
		}
		if len(c.res.Pin.Leaving) == 0 {
			r.settled(c.cid)
		}
	}
	return nil
}

func (r *repair) settled(c api.Cid) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.moving.due, c)
}

// held tells which peer was found to hold which pin.
type held map[api.PeerID]map[api.Cid]bool

// ask asks each peer what it holds. One that does not answer holds nothing.
func (r *repair) ask(ctx context.Context, ask map[api.PeerID][]api.Cid) held {
	var mu sync.Mutex
	has := held{}
	var g errgroup.Group
	for p, cids := range ask {
		g.Go(func() error {
			yes, err := r.askOne(ctx, p, cids)
			if err != nil {
				r.p.log.Debug("cannot ask what a peer holds", "peer", p, "err", err)
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			has[p] = yes
			return nil
		})
	}
	_ = g.Wait() // none fails
	return has
}

func (r *repair) askOne(ctx context.Context, p api.PeerID, cids []api.Cid) (map[api.Cid]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, holdsLimit)
	defer cancel()
	answers, err := r.p.fwd.Holds(ctx, p, cids)
	if err != nil {
		return nil, err
	}
	if len(answers) != len(cids) {
		return nil, api.Internal.Errorf("peer %s answered for %d pins of %d", p, len(answers), len(cids))
	}
	yes := map[api.Cid]bool{}
	for i, c := range cids {
		yes[c] = answers[i]
	}
	return yes, nil
}

// relieved is pin without the holders that may leave: all, once every living one of
// those that stay has confirmed its copy and these are enough. One that was replaced
// while it was dead and is back takes its place again from one that has no copy yet.
// That one is leaving first, and goes with the next look: it may have got its copy
// meanwhile, and a tracker takes the pin off its node only where it was leaving.
func relieved(old api.Pin, v *view, has held, died map[api.PeerID]time.Time) (verdict, error) {
	pin := old
	pin.PinUpdate = api.CidUndef
	pin.Allocations = slices.Clone(old.Allocations)
	leaving := v.only(old.Leaving)
	swapped := false
	for i, p := range pin.Allocations {
		if has[p][pin.Cid] {
			continue
		}
		back := slices.IndexFunc(leaving, func(l api.PeerID) bool {
			return has[l][pin.Cid] && old.Timestamp.Before(died[l])
		})
		if back >= 0 {
			pin.Allocations[i], leaving[back], swapped = leaving[back], p, true
		}
	}
	confirmed, waiting := 0, 0
	for _, p := range pin.Allocations {
		switch {
		case has[p][pin.Cid]:
			confirmed++
		case slices.Contains(v.alive, p):
			waiting++
		}
	}
	if pin.Everywhere() || !swapped && waiting == 0 && confirmed >= pin.ReplicationFactorMin {
		leaving = nil
	}
	slices.Sort(pin.Allocations)
	slices.Sort(leaving)
	pin.Leaving = leaving
	if slices.Equal(pin.Allocations, old.Allocations) && slices.Equal(pin.Leaving, old.Leaving) {
		return verdict{}, unchanged
	}
	return verdict{pin: pin, had: pin.Allocations}, nil
}
