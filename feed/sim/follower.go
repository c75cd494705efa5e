package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/feed"
	"github.com/pinfold-cluster/pinfold/p2p"
	"github.com/pinfold-cluster/pinfold/state"
)

// followerPlaces is how many other followers a follower lets connect.
const followerPlaces = 16

// A Follower is one volunteer, who may come and go. Its identity and its state stay.
type Follower struct {
	c  *Cluster
	id p2p.Identity

	// While it is there:
	peer  *Peer
	State *state.State
	Feed  *feed.Follower
	run   *errgroup.Group
	stop  context.CancelFunc
}

// Follower makes a volunteer, who is not there yet.
func (c *Cluster) Follower() (*Follower, error) {
	id, err := p2p.NewIdentity()
	return &Follower{c: c, id: id}, err
}

// Enter starts the follower.
func (f *Follower) Enter() (err error) {
	if f.State, err = f.c.state(f.id); err != nil {
		return err
	}
	if f.peer, err = f.c.Net.Peer(f.id, &f.c.members, followerPlaces); err != nil {
		return errors.Join(err, f.State.Close())
	}
	f.Feed, err = feed.NewFollower(f.peer, f.c.verifier(), f.State, f.dir(), arrivals{f.c}, feed.FollowerOptions{Members: f.c.addrs, Answers: answers{f}}, quiet)
	if err != nil {
		return errors.Join(err, f.peer.Close(), f.State.Close())
	}
	ctx, stop := context.WithCancel(context.Background())
	f.stop, f.run = stop, new(errgroup.Group)
	f.run.Go(func() error { return f.Feed.Run(ctx) })
	f.run.Go(func() error { return f.share(ctx) })
	return nil
}

// shareEvery and shareAnyway are when a follower chooses its share while the pinset changes,
// and while it does not, as in cmd/cluster-service.
const (
	shareEvery  = time.Minute
	shareAnyway = 30 * time.Minute
)

// share asks for the table of coverage as often as a follower with a share does, and the
// second time as if those that are there had come at any time.
func (f *Follower) share(ctx context.Context) error {
	for !f.Feed.Status().Settled {
		if pause(ctx, time.Second) != nil {
			return nil
		}
	}
	index, next := uint64(0), time.Now()
	for {
		if now := f.State.Applied(); now != index || !time.Now().Before(next) {
			_, _ = f.Feed.Coverage(ctx) // without one it goes on
			if next = time.Now().Add(shareAnyway); index == 0 {
				next = time.Now().Add(rand.N(shareAnyway))
			}
			index = now
		}
		if pause(ctx, shareEvery) != nil {
			return nil
		}
	}
}

// Leave ends the follower, which may enter again.
func (f *Follower) Leave() error {
	f.stop()
	return errors.Join(f.run.Wait(), f.peer.Close(), f.State.Close())
}

func (f *Follower) dir() string { return filepath.Join(f.c.dir, f.id.ID.String()) }

// refusedAt has a follower that is not there believe that it found no place at some time:
// package feed keeps that in a file.
func (f *Follower) refusedAt(at time.Time) error {
	return os.WriteFile(filepath.Join(f.dir(), "refused"), []byte(at.UTC().Format(time.RFC3339)), 0o600)
}

// Is tells how the follower differs from the full peers; nil for not at all.
func (f *Follower) Is() error {
	got, want := f.State.Digest(), f.c.Voters[0].State.Digest()
	if got.Index != want.Index || got.Pins != want.Pins {
		s := f.Feed.Status()
		return fmt.Errorf("follower %s stands at %d %x, the voters at %d %x; settled %v, %d neighbours, stopped: %q",
			f.id.ID, got.Index, got.Pins[:4], want.Index, want.Pins[:4], s.Settled, len(s.Neighbours), s.Stopped)
	}
	return nil
}

// arrivals notes when pins reach followers.
type arrivals struct{ c *Cluster }

func (a arrivals) Track(p api.Pin) {
	a.c.mu.Lock()
	defer a.c.mu.Unlock()
	if told, ok := a.c.told[p.Cid]; ok {
		a.c.delays[p.Cid] = append(a.c.delays[p.Cid], time.Since(told))
	}
}

func (arrivals) Untrack(api.Pin) {}
func (arrivals) Reload()         {}
