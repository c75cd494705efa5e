package feed

import (
	"context"
	"crypto/ed25519"
	"errors"
	"path/filepath"
	"sync"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/p2p"
	"github.com/pinfold-cluster/pinfold/state"
)

const (
	// renewalsEvery is the least time between two rounds of asking for renewals.
	renewalsEvery = 5 * time.Second
	renewalsTime  = 10 * time.Second // for an answer
)

// read opens a statement that a neighbour gave. One that is signed under a key of the
// cluster which is not known here says nothing of who gave it: the key may be newer.
func (j *judge) read(raw []byte) (message, error) {
	key := j.key.Load()
	m, err := open(j.verifier, raw)
	m.key = key
	if errors.Is(err, p2p.ErrKey) {
		select {
		case j.strange <- struct{}{}:
		default:
		}
	}
	return m, err
}

// keepKey asks neighbours for the renewals of the cluster's key whenever something came
// that is signed under another than the one known, until ctx ends. What they show goes to
// who told the network to learn of it.
func (f *Follower) keepKey(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.judge.strange:
		}
		var asking sync.WaitGroup
		for _, p := range f.some(askedAtOnce) {
			asking.Go(func() {
				ctx, cancel := context.WithTimeout(ctx, renewalsTime)
				defer cancel()
				if err := f.net.AskRenewals(ctx, p.ID); err != nil {
					f.log.Debug("a neighbour shows no renewals of the cluster's key", "peer", p.ID, "err", err)
				}
			})
		}
		asking.Wait()
		if sleep(ctx, renewalsEvery) != nil {
			return nil
		}
	}
}

// Renew has the follower go by another key of the cluster: what was signed under the one
// before counts no more, be it opened already, and is not given to others. Who knew that
// key may have led the state astray: it counts as right once something under the new key
// goes on from it, and else is taken anew.
func (f *Follower) Renew(key ed25519.PublicKey) {
	defer f.closeTree()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.judge.renew(key)
	f.forget()
	f.table = nil
	f.heard = time.Now().Add(-f.o.Patience - time.Second) // so that it asks at once
	f.unsure, f.overtaken, f.stood = true, f.copying, state.Digest{}
	f.nudge()
}

// renew has the judge go by the key, and drops the messages that wait to be taken.
func (j *judge) renew(key ed25519.PublicKey) {
	j.verifier.Renew(key)
	j.key.Add(1)
	j.mu.Lock()
	defer j.mu.Unlock()
	clear(j.open)
	clear(j.clocks)
}

// StopForKey has the follower go no further, since the cluster's key was renewed twice
// with one number: a newer link decides.
func (f *Follower) StopForKey(c *p2p.Contradiction) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.evidence != nil {
		return nil
	}
	f.evidence = &Evidence{Reason: c.Error() + ": somebody has the key before who should not", Time: time.Now().UTC().Truncate(time.Second),
		First: Exhibit{Statement: c.Known}, Second: Exhibit{Statement: c.Shown}, Key: c.Number}
	f.log.Error("this follower stops until a new link says which key is the cluster's", "reason", f.evidence.Reason)
	return f.evidence.save(filepath.Join(f.dir, evidenceFile))
}

// settleKey puts evidence about a key aside that is beyond doubt now.
func (f *Follower) settleKey(sure uint64) error {
	if f.evidence == nil || f.evidence.Key == 0 || f.evidence.Key > sure {
		return nil
	}
	f.evidence = nil
	return putAside(filepath.Join(f.dir, evidenceFile))
}

// errKeyInDoubt is for who would go on without knowing the cluster's key.
var errKeyInDoubt = api.Conflict.Errorf("two different keys are signed as the cluster's: only a new follow link from its people tells which it is")
