package state

import (
	"fmt"

	"github.com/pinfold-cluster/pinfold/api"
)

// ledgerChanges are what a batch changes of the ledger: values that are nil are gone.
type ledgerChanges struct {
	sessions    map[api.PeerID]*session
	members     map[api.PeerID]*api.Member
	removed     map[api.PeerID]bool
	credentials map[string]*credential
	key         *api.ClusterKey // nil: as it was
}

// apply makes the changes in memory.
func (c ledgerChanges) apply(m *memory) {
	merge(m.ledger.sessions, c.sessions)
	merge(m.ledger.members, c.members)
	merge(m.ledger.credentials, c.credentials)
	for p, gone := range c.removed {
		if gone {
			m.ledger.removed[p] = struct{}{}
		} else {
			delete(m.ledger.removed, p)
		}
	}
	if c.key != nil {
		m.ledger.key = *c.key
	}
	if len(c.members) > 0 {
		m.members = m.ledger.sortedMembers()
	}
}

func merge[K comparable, V any](to map[K]V, changes map[K]*V) {
	for k, v := range changes {
		if v == nil {
			delete(to, k)
		} else {
			to[k] = *v
		}
	}
}

// lookup finds k in the changes, or else in what they change.
func lookup[K comparable, V any](changes map[K]*V, base map[K]V, k K) (V, bool) {
	if v, changed := changes[k]; changed {
		if v == nil {
			var none V
			return none, false
		}
		return *v, true
	}
	v, ok := base[k]
	return v, ok
}

func change[K comparable, V any](changes *map[K]*V, k K, v *V) {
	if *changes == nil {
		*changes = map[K]*V{}
	}
	(*changes)[k] = v
}

// base is the ledger that the batch changes. Only the one writer changes it, so the
// batch reads it without the lock.
func (b *Batch) base() *ledger { return &b.s.mem.ledger }

// setRow writes a row of the ledger; was is the value it has, nil for none, and value
// the new one, nil to delete it.
func (b *Batch) setRow(key, was, value []byte) error {
	if b.d == nil {
		return errOver
	}
	if was != nil {
		b.head.sessions.subtract(key, was)
	}
	if value == nil {
		return b.w.Delete(key, nil)
	}
	b.head.sessions.add(key, value)
	return b.w.Set(key, value, nil)
}

// PutMember admits m, or renews it. A peer that had been removed is a member again:
// whether it may return is the caller's to judge.
func (b *Batch) PutMember(m api.Member) error {
	if m.ID == "" {
		return api.Invalid.Errorf("a member without a peer ID")
	}
	row, err := api.Encode(m)
	if err != nil {
		return api.Invalid.Errorf("encode member %s: %w", m.ID, err)
	}
	var stored api.Member // what readers are to see: no more and no less than the row
	if err := api.Decode(row, &stored); err != nil {
		return api.Invalid.Errorf("member %s cannot be stored: %w", m.ID, err)
	}
	was, err := b.memberRow(m.ID)
	if err != nil {
		return err
	}
	change(&b.members, m.ID, &stored)
	if err := b.setRow(stringKey(memberKind, string(m.ID)), was, row); err != nil {
		return err
	}
	return b.markRemoved(m.ID, false)
}

// RemoveMember takes p out of the members and remembers it as removed, also where it
// was none. Its session goes on: see EndSession.
func (b *Batch) RemoveMember(p api.PeerID) error {
	was, err := b.memberRow(p)
	if err != nil {
		return err
	}
	if was != nil {
		change(&b.members, p, nil)
		if err := b.setRow(stringKey(memberKind, string(p)), was, nil); err != nil {
			return err
		}
	}
	return b.markRemoved(p, true)
}

// memberRow is the row of p, nil where it is not a member. Encoding gives the same
// bytes each time.
func (b *Batch) memberRow(p api.PeerID) ([]byte, error) {
	m, ok := lookup(b.members, b.base().members, p)
	if !ok {
		return nil, nil
	}
	row, err := api.Encode(m)
	if err != nil {
		return nil, fmt.Errorf("encode member %s: %w", p, err)
	}
	return row, nil
}

// Removed tells whether p was a member and was removed.
func (b *Batch) Removed(p api.PeerID) (bool, error) {
	if gone, changed := b.removed[p]; changed {
		return gone, nil
	}
	_, gone := b.base().removed[p]
	return gone, nil
}

func (b *Batch) markRemoved(p api.PeerID, gone bool) error {
	was, err := b.Removed(p)
	if err != nil || was == gone {
		return err
	}
	if b.removed == nil {
		b.removed = map[api.PeerID]bool{}
	}
	b.removed[p] = gone
	key, row := stringKey(removedKind, string(p)), []byte{}
	if gone {
		return b.setRow(key, nil, row)
	}
	return b.setRow(key, row, nil)
}

// maxNonce bounds a credential's nonce, in bytes.
const maxNonce = 128

// UseCredential ties the credential of nonce, which ends at expires, to p: a second
// use is fine for p and not ok for any other. Credentials that ended before now are
// forgotten; both are Unix seconds. The error is Invalid for a nonce that is empty or
// over 128 bytes.
func (b *Batch) UseCredential(nonce []byte, p api.PeerID, expires, now int64) (ok bool, err error) {
	if len(nonce) == 0 || len(nonce) > maxNonce {
		return false, api.Invalid.Errorf("a credential's nonce of %d bytes: 1 to %d are allowed", len(nonce), maxNonce)
	}
	if err := b.forgetCredentials(now); err != nil {
		return false, err
	}
	if c, used := lookup(b.credentials, b.base().credentials, string(nonce)); used {
		return c.peer == p, nil
	}
	c := credential{peer: p, expires: expires}
	change(&b.credentials, string(nonce), &c)
	return true, b.setRow(stringKey(credentialKind, string(nonce)), nil, c.row())
}

// forgetCredentials drops those that ended before now: which they are must not depend
// on how entries were put together to batches.
func (b *Batch) forgetCredentials(now int64) error {
	var ended []string
	for n, c := range b.base().credentials {
		if _, changed := b.credentials[n]; !changed && c.expires < now {
			ended = append(ended, n)
		}
	}
	for n, c := range b.credentials {
		if c != nil && c.expires < now {
			ended = append(ended, n)
		}
	}
	for _, n := range ended {
		c, _ := lookup(b.credentials, b.base().credentials, n)
		change(&b.credentials, n, nil)
		if err := b.setRow(stringKey(credentialKind, n), c.row(), nil); err != nil {
			return err
		}
	}
	return nil
}

// IsMember tells whether p is a member.
func (b *Batch) IsMember(p api.PeerID) bool {
	_, ok := lookup(b.members, b.base().members, p)
	return ok
}

// Key is the cluster's key as this batch leaves it.
func (b *Batch) Key() api.ClusterKey {
	if b.key != nil {
		return *b.key
	}
	return b.base().key
}

// PutKey makes k the cluster's key.
func (b *Batch) PutKey(k api.ClusterKey) error {
	row, err := api.Encode(k)
	if err != nil {
		return fmt.Errorf("encode the cluster's key: %w", err)
	}
	was, err := clusterKeyRow(b.Key())
	if err != nil {
		return err
	}
	b.key = &k
	return b.setRow(clusterKeyKey, was, row)
}

// clusterKeyRow is the row of k, nil for that of a cluster that has its first key.
func clusterKeyRow(k api.ClusterKey) ([]byte, error) {
	if k.Number == 0 && !k.Owed {
		return nil, nil
	}
	row, err := api.Encode(k)
	if err != nil {
		return nil, fmt.Errorf("encode the cluster's key: %w", err)
	}
	return row, nil
}
