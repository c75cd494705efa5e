package main

import (
	"context"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/p2p"
)

// place is this peer's place in the cluster. It changes as a whole when the cluster's key
// is renewed; what get returns does not.
type place struct{ now atomic.Pointer[p2p.Cluster] }

func (p *place) get() *p2p.Cluster { return p.now.Load() }

// tokenKey is what the tokens of the doors' users are signed with: nobody but the full
// peers holds the cluster's private key.
func (p *place) tokenKey() ([]byte, error) {
	return hkdf.Key(sha256.New, p.get().Private.Seed(), nil, "pinfold tokens 1", sha256.Size)
}

// underKey returns the cluster under the key that the log has, saved; or as it is, where
// the log has no newer one.
func underKey(file string, c *p2p.Cluster, k api.ClusterKey, ids identities) (*p2p.Cluster, error) {
	if k.Number <= c.Number() {
		return c, nil
	}
	next, err := c.WithKey(ed25519.PrivateKey(k.Private), k.Renewals, ids.cluster.ID, ids.data.ID)
	if err != nil {
		return nil, fmt.Errorf("key %d of the cluster: %w", k.Number, err)
	}
	return next, next.Save(file)
}

// keyring keeps this peer's place under the key that the log has.
type keyring struct {
	*place
	file     string // cluster.json
	verifier *p2p.Verifier

	taking sync.Mutex
	turn   chan struct{} // holds one item: the right to admit, to remove or to renew
}

func newKeyring(c *place, file string, v *p2p.Verifier) *keyring {
	k := &keyring{place: c, file: file, verifier: v, turn: make(chan struct{}, 1)}
	k.turn <- struct{}{}
	return k
}

// take waits for the right to decide on members: who is admitted and who is removed must
// not cross with a renewal.
func (k *keyring) take(ctx context.Context) (release func(), err error) {
	select {
	case <-k.turn:
		return func() { k.turn <- struct{}{} }, nil
	case <-ctx.Done():
		return nil, api.Unavailable.Errorf("another change of the members is under way: %w", ctx.Err())
	}
}

// takeKey has this peer go by the key that the log has.
func (m *membership) takeKey() error {
	m.taking.Lock()
	defer m.taking.Unlock()
	was := m.get()
	now, err := underKey(m.file, was, m.pins.Key(), m.ids)
	if err != nil || now == was {
		return err
	}
	m.now.Store(now)
	m.verifier.Renew(now.Key)
	m.host.Renew(now)
	m.data.Renew(now)
	m.log.Info("this peer goes by a new key of the cluster", "number", now.Number())
	return nil
}

// renewKey renews the cluster's key where that is owed and this peer leads: whoever led
// when it came to be owed may be gone.
func (m *membership) renewKey(ctx context.Context) error {
	if leader, ok := m.cons.Leader(); !m.pins.Key().Owed || !ok || leader != m.ids.cluster.ID {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	return m.payKey(ctx)
}

// payKey renews the cluster's key, if that is owed, on the leader.
func (m *membership) payKey(ctx context.Context) error {
	release, err := m.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	if _, err := m.cons.Ready(ctx); err != nil {
		return err
	}
	if !m.pins.Key().Owed {
		return nil // somebody else has, meanwhile
	}
	if err := m.takeKey(); err != nil {
		return err
	}
	private, renewals, err := m.get().NewKey()
	if err != nil {
		return err
	}
	next := api.ClusterKey{Number: m.get().Number() + 1, Private: api.PrivateKey(private), Renewals: renewals}
	if err := m.cons.RenewKey(ctx, next); err != nil {
		return err
	}
	return m.takeKey()
}

// oweKey commits that the key is to be renewed, for a peer that was removed before.
func (m *membership) oweKey(ctx context.Context) error {
	if _, err := m.cons.Ready(ctx); err != nil {
		return err
	}
	_, err := m.cons.Commit(ctx, []api.Op{{Type: api.OpOweKey}})
	return err
}

const keyTick = 100 * time.Millisecond

// awaitKey returns once the key that is owed is this peer's.
func (m *membership) awaitKey(ctx context.Context) error {
	for m.pins.Key().Owed {
		select {
		case <-ctx.Done():
			return keyIsLate(ctx.Err())
		case <-time.After(keyTick):
		}
	}
	return m.takeKey()
}

func keyIsLate(err error) error {
	return api.Unknown.Errorf("the peer is removed, but the cluster's key is not renewed yet; that goes on by itself: %w", err)
}
