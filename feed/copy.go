package feed

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/state"
)

const (
	rootTime = 30 * time.Second // for a root: the other may have to grow a tree first
	pageTime = 10 * time.Second
)

// errPoisoned is in the chain of errors about pages that are not what they were asked for.
var errPoisoned = fmt.Errorf("not the page asked for: %w", api.Invalid)

func decodeRoot(body []byte) (r Root, err error) {
	if err := api.Decode(body, &r); err != nil {
		return r, err
	}
	if r.Index == 0 {
		return r, api.Invalid.Errorf("a root of no index")
	}
	return r, nil
}

// An offer is a root, and the neighbours that have its pages.
type offer struct {
	message
	from []Peer
}

// copyPages makes the state the pinset of a signed root. It tells whether it got there;
// where it did not, it goes on from what it has the next time.
func (f *Follower) copyPages(ctx context.Context) (bool, error) {
	offers, err := f.leadOn(f.roots(ctx))
	if err != nil || len(offers) == 0 {
		return false, err
	}
	best := f.best(offers)
	if begun, err := f.beginCopy(best); !begun || err != nil {
		return false, err
	}
	f.log.Info("the pinset is copied", "index", best.root.Index, "pins", best.root.Pins, "from", len(best.from))
	err = Sync(ctx, f.st, best.root, f.servers(best, offers).page)
	return f.endCopy(ctx, best, err)
}

// roots asks neighbours for theirs. Once there is one, the others have hedgeAfter.
func (f *Follower) roots(ctx context.Context) (offers []offer) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	var late *time.Timer
	inTurn(ctx, f.some(askedAtOnce), func(ctx context.Context, p Peer) (enough bool) {
		m, err := f.askRoot(ctx, p)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			if api.KindOf(err) != api.NotFound {
				f.blame(ctx, p, err)
			}
			return false
		}
		offers = offered(offers, m, p)
		if late == nil {
			late = time.AfterFunc(hedgeAfter, cancel)
		}
		return false
	})
	if late != nil {
		late.Stop()
	}
	return offers
}

// leadOn takes what the offers say, and leaves out those of what the pinset was before, or
// is: all roots that a member ever signed can be shown for ever. Where no others are left,
// batches may lead on.
func (f *Follower) leadOn(offers []offer) ([]offer, error) {
	for _, o := range offers {
		if err := f.take(o.message); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	least := max(f.stood.Index, f.st.Applied()+1)
	if f.unsure { // it may be nobody's
		least = 0
	}
	on := slices.DeleteFunc(slices.Clone(offers), func(o offer) bool { return o.root.Index < least || o.key != f.judge.key.Load() })
	if len(offers) > 0 && len(on) == 0 {
		f.gone = false
	}
	for i, o := range on {
		for _, other := range on[:i] {
			if o.root.Index == other.root.Index && o.root.Digest != other.root.Digest {
				return nil, f.differ(other.message, other.root.Digest, o.message, o.root.Digest)
			}
		}
	}
	return on, nil
}

// best is the newest of the offers; or any, where the last copy broke off: its pages may be
// withheld.
func (f *Follower) best(offers []offer) offer {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.copy.broke {
		return offers[rand.IntN(len(offers))]
	}
	best := offers[0]
	for _, o := range offers {
		if o.root.Index > best.root.Index || o.root.Index == best.root.Index && len(o.from) > len(best.from) {
			best = o
		}
	}
	return best
}

// offered adds what one neighbour has to the offers.
func offered(offers []offer, m message, p Peer) []offer {
	for i := range offers {
		if offers[i].root == m.root {
			offers[i].from = append(offers[i].from, p)
			return offers
		}
	}
	return append(offers, offer{m, []Peer{p}})
}

func (f *Follower) askRoot(ctx context.Context, p Peer) (message, error) {
	raw, err := f.client.one(ctx, p.ID, request{Op: opRoot}, rootTime)
	if err != nil {
		return message{}, err
	}
	m, err := f.judge.read(raw)
	if err == nil && m.kind != kindRoot {
		err = api.Invalid.Errorf("no root")
	}
	return m, err
}

// servers are the neighbours. Most pages of other roots than best's are the same, so who
// has best's alone cannot slow a copy by giving slowly, nor can one of the others.
func (f *Follower) servers(best offer, offers []offer) *servers {
	var all, some []GetPage
	for _, o := range offers {
		for _, p := range o.from {
			get := func(ctx context.Context, h Hash) ([]byte, error) { return f.getPage(ctx, p, h) }
			if o.root == best.root {
				all = append(all, get)
			} else {
				some = append(some, get)
			}
		}
	}
	return newServers(all, some)
}

func (f *Follower) getPage(ctx context.Context, p Peer, h Hash) ([]byte, error) {
	b, err := f.client.one(ctx, p.ID, request{Op: opPage, Hash: h[:]}, pageTime)
	if err == nil && sha256.Sum256(b) != h {
		err = fmt.Errorf("peer %s: %w", p.ID, errPoisoned)
	}
	if err != nil && api.KindOf(err) != api.NotFound {
		f.blame(ctx, p, err)
	}
	return b, err
}

// A copyRun is a copy that is under way.
type copyRun struct {
	pins  uint64 // of the pinset that is copied
	had   uint64 // pins in the state when it began
	began time.Time
	broke bool // nobody gave what was missing
}

// rate is how many pins a second there are more, now that there are so many.
func (c copyRun) rate(pins uint64, now time.Time) float64 {
	took := now.Sub(c.began).Seconds()
	if pins <= c.had || took <= 0 {
		return 0
	}
	return float64(pins-c.had) / took
}

func (f *Follower) beginCopy(o offer) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.evidence != nil || o.key != f.judge.key.Load() {
		return false, nil
	}
	if f.st.Applied() > 0 && !f.unsure {
		if err := f.trust(o.message); err != nil {
			return false, err
		}
	}
	f.copying, f.copy = true, copyRun{pins: o.root.Pins, had: f.st.Stats().Pins, began: time.Now()}
	return true, nil
}

func (f *Follower) endCopy(ctx context.Context, o offer, err error) (bool, error) {
	frozen, ok, err := f.finishCopy(o, err)
	if !ok || err != nil {
		return false, err
	}
	f.listener.Reload()
	return true, f.plant(ctx, frozen, o.message)
}

// finishCopy takes over what Sync ended with. Where the copy is whole, it gives the state
// as it is then, and applies what came meanwhile.
func (f *Follower) finishCopy(o offer, err error) (*state.Frozen, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	kind, overtaken := api.KindOf(err), f.overtaken
	f.copying, f.overtaken = false, false
	if overtaken && (kind == "" || kind == api.Invalid) { // who signed the root counts no more
		f.gone = true
		return nil, false, nil
	}
	switch kind {
	case "":
	case api.Unavailable:
		f.copy.broke = true
		f.log.Info("the copy of the pinset is not whole yet", "err", err)
		return nil, false, nil
	case api.Invalid:
		return nil, false, f.stop(message{}, o.message, fmt.Sprintf("the pages under the root for index %d are no pinset of its digest: %v", o.root.Index, err))
	case api.Unsupported:
		return nil, false, outdated(err)
	default:
		return nil, false, fmt.Errorf("copy the pinset: %w", err)
	}
	f.gone = false
	if err := f.trust(o.message); err != nil {
		return nil, false, err
	}
	f.past = newPast(f.o.KeptBytes)
	f.past.add(o.message, o.root.Index, o.root.Digest, [32]byte{})
	select {
	case <-f.settled:
	default:
		close(f.settled)
	}
	frozen, err := f.st.Freeze()
	if err != nil {
		return nil, false, err
	}
	return frozen, true, f.advance()
}
