package feed

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/p2p"
)

const (
	reorderTime = 300 * time.Millisecond // for which what is missing may be on its way
	catchUpTick = time.Second
	retryMin    = time.Second
	retryMax    = 15 * time.Second
	askedAtOnce = 4 // neighbours, one after the other, for what is missing
)

// A need is what a follower lacks.
type need int

const (
	nothing need = iota
	batches      // those past where it stands
	pages        // the whole pinset: batches do not lead on
	tree         // of pages, for others
)

// catchUp asks neighbours for what gossip did not bring, until ctx ends. The error is of
// this machine.
func (f *Follower) catchUp(ctx context.Context) error {
	tick := time.NewTicker(catchUpTick)
	defer tick.Stop()
	var retry backoff
	var asked time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.wake:
		case <-tick.C:
		}
		if time.Now().Before(retry.next) {
			continue
		}
		need := f.need(asked)
		if need == batches && sleep(ctx, reorderTime) == nil {
			need = f.need(asked)
		}
		if need == nothing {
			retry = backoff{}
			continue
		}
		asked = time.Now()
		ok, err := f.fetch(ctx, need)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if ok {
			if need == pages {
				asked = time.Time{} // a root does not say where the log ends
			}
			retry = backoff{}
			f.nudge()
		} else {
			retry.failed(retryMin, retryMax)
		}
	}
}

// need tells what is lacking, where a neighbour was asked last at the given time.
func (f *Follower) need(asked time.Time) need {
	f.mu.Lock()
	defer f.mu.Unlock()
	own := f.st.Applied()
	switch {
	case f.evidence != nil || len(f.neighbours) == 0:
		return nothing
	case own == 0 || f.gone:
		return pages
	case f.behind():
		return batches
	case (f.told.IsZero() || time.Since(f.heard) > f.o.Patience) && time.Since(asked) > f.o.Patience:
		return batches
	case f.wanted:
		return tree
	}
	return nothing
}

// fetch tells whether it got something.
func (f *Follower) fetch(ctx context.Context, n need) (bool, error) {
	switch n {
	case batches:
		return f.fetchBatches(ctx)
	case pages:
		return f.copyPages(ctx)
	}
	return false, f.growTree(ctx)
}

// fetchBatches asks neighbours for the batches past where the state stands, until one has
// some.
func (f *Follower) fetchBatches(ctx context.Context) (bool, error) {
	began := f.st.Applied()
	list := f.some(askedAtOnce)
	var mu sync.Mutex
	var broken error // of this machine
	gone, members := 0, 0
	inTurn(ctx, list, func(ctx context.Context, p Peer) (enough bool) {
		theirs, own := f.askBatches(ctx, p)
		mu.Lock()
		defer mu.Unlock()
		broken = errors.Join(broken, own)
		if broken == nil && api.KindOf(theirs) == api.NotFound {
			gone++
			if p.Member {
				members++
			}
		} else if broken == nil && theirs != nil {
			f.stray(theirs)
			f.blame(ctx, p, theirs)
		}
		return broken != nil || members > 0 || f.st.Applied() > began
	})
	if broken != nil {
		return false, broken
	}
	if f.st.Applied() > began {
		return true, nil
	}
	// A follower keeps less than members do: only members, where there are any, can say
	// that batches do not lead on.
	if members > 0 || gone > 0 && gone == len(list) && !list[0].Member {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.gone = true
		return true, nil
	}
	return false, nil
}

// stray notes whether a neighbour has lost touch with the cluster.
func (f *Follower) stray(theirs error) {
	if api.KindOf(theirs) == astray {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.strayed = time.Now()
	}
}

// askBatches asks one neighbour, and reads no more than leads on, and a beacon: to show what
// members signed costs less than to check it. Errors are the neighbour's, and this machine's.
func (f *Follower) askBatches(ctx context.Context, p Peer) (theirs, own error) {
	at, ended := f.st.Digest(), false
	req := request{Op: opSince, Index: at.Index, Digest: at.Pins[:]}
	theirs = f.client.ask(ctx, p.ID, req, askTime, func(raw []byte) error {
		if ended {
			return errEnough
		}
		m, err := f.judge.read(raw)
		if err != nil {
			return err
		}
		ended = m.kind == kindBeacon
		if !ended {
			if !leadsOn(m.batches, at.Index, at.Pins) {
				return errEnough
			}
			last := m.batches[len(m.batches)-1]
			at.Index, at.Pins = last.index, last.after
		}
		own = f.take(m)
		return own
	})
	return ignoreEnough(theirs), own
}

// some picks neighbours at random, one of them a member, if there is one.
func (f *Follower) some(n int) []Peer {
	f.mu.Lock()
	var list []Peer
	for _, p := range f.neighbours {
		list = append(list, p)
	}
	f.mu.Unlock()
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	n = min(n, len(list))
	for i := n; i < len(list); i++ {
		if list[i].Member && !hasMember(list[:n]) {
			list[n-1] = list[i]
		}
	}
	return list[:n]
}

func hasMember(list []Peer) bool {
	for _, p := range list {
		if p.Member {
			return true
		}
	}
	return false
}

// A backoff says when something may be tried again.
type backoff struct {
	next time.Time
	wait time.Duration
}

// failed sets the next try, with jitter: many fail at the same moment.
func (b *backoff) failed(least, most time.Duration) {
	b.wait = min(max(2*b.wait, least), most)
	b.next = time.Now().Add(b.wait*3/4 + rand.N(b.wait/2))
}

// blame notes that a neighbour did not answer as it should. One that lies goes, one that
// hangs, and one that does not know this peer: the connection is not the one that hello
// was said on.
func (f *Follower) blame(ctx context.Context, p Peer, err error) {
	if ctx.Err() != nil {
		return
	}
	f.log.Debug("a neighbour did not answer", "peer", p.ID, "err", err)
	if late := new(net.Error); lies(err) || api.KindOf(err) == api.Denied || errors.As(err, late) && (*late).Timeout() {
		f.part(p.ID, lies(err))
	}
}

// lies tells whether an honest peer would not have given cause for err: it has told what
// is none of the feed's, or a statement that no member made. One that is signed under
// another key of the cluster, or in another incarnation, may be older or newer than what
// is known here. What was not told is no lie: a peer that does not answer, or refuses.
func lies(err error) bool {
	switch kind := api.KindOf(err); {
	case kind == api.Unavailable || errors.Is(err, p2p.ErrKey) || errors.Is(err, p2p.ErrIncarnation):
		return false
	default:
		return kind == api.Invalid || errors.Is(err, errPoisoned) || errors.Is(err, p2p.ErrDenied)
	}
}
