package p2p

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"

	"github.com/libp2p/go-libp2p/core/peer"
)

// maxRenewals is how many renewals of a cluster's key are kept: the last ones.
const maxRenewals = 32

// ErrKey is in the chain of errors about what is signed, as far as can be told, with
// another key of the cluster than the present one: an earlier or a later one, or
// another cluster's. It wraps ErrDenied.
var ErrKey = fmt.Errorf("signed with another key than the cluster's: %w", ErrDenied)

// A Renewal says that a cluster goes on under a new key. The old key signs it.
type Renewal struct {
	// Number counts the renewals of the cluster's key, from 1.
	Number      uint64
	Incarnation uint64 // in which the key was renewed
	Old, New    ed25519.PublicKey
}

type renewalBody struct {
	_           struct{} `cbor:",toarray"`
	Number      uint64
	Incarnation uint64
	Old         []byte
	New         []byte
}

// Sign returns the renewal in its signed form, about 160 bytes.
func (r Renewal) Sign(old ed25519.PrivateKey) ([]byte, error) {
	b, err := sign(old, kindRenewal, renewalBody{Number: r.Number, Incarnation: r.Incarnation, Old: r.Old, New: r.New})
	if err != nil {
		return nil, fmt.Errorf("sign renewal %d of the cluster's key: %w", r.Number, err)
	}
	return b, nil
}

// decodeRenewal reads a signed renewal and does not check who signed it: it is for those
// that were checked when they came.
func decodeRenewal(b []byte) (Renewal, error) {
	var body renewalBody
	if err := peekSigned(b, &body); err != nil {
		return Renewal{}, fmt.Errorf("renewal of the cluster's key: %w", err)
	}
	r := Renewal{Number: body.Number, Incarnation: body.Incarnation, Old: body.Old, New: body.New}
	if r.Number == 0 || len(r.New) != ed25519.PublicKeySize || r.New.Equal(r.Old) {
		return Renewal{}, fmt.Errorf("renewal of the cluster's key: it names no new key: %w", ErrDenied)
	}
	return r, nil
}

// readRenewal reads a signed renewal, checked with the key that it says is the old one:
// whether that is the cluster's is for the caller. The error wraps ErrDenied.
func readRenewal(b []byte) (Renewal, error) {
	r, err := decodeRenewal(b)
	if err != nil {
		return r, err
	}
	if err := openSigned(r.Old, kindRenewal, b, &renewalBody{}); err != nil {
		return r, fmt.Errorf("renewal of the cluster's key: %w", err)
	}
	return r, nil
}

// readRenewals reads the renewals that lead to key, oldest first: each goes on from the
// one before.
func readRenewals(list [][]byte, key ed25519.PublicKey) ([]Renewal, error) {
	if len(list) > maxRenewals {
		return nil, fmt.Errorf("%d renewals of the cluster's key are too many", len(list))
	}
	all := make([]Renewal, len(list))
	for i, b := range list {
		var err error
		if all[i], err = readRenewal(b); err != nil {
			return nil, err
		}
		if i > 0 && (all[i].Number != all[i-1].Number+1 || !all[i].Old.Equal(all[i-1].New)) {
			return nil, fmt.Errorf("renewal %d of the cluster's key does not go on from the one before: %w", all[i].Number, ErrDenied)
		}
	}
	if n := len(all); n > 0 && !all[n-1].New.Equal(key) {
		return nil, fmt.Errorf("the renewals of the cluster's key lead to another one: %w", ErrDenied)
	}
	return all, nil
}

// A Contradiction is two renewals with the same number, both signed with the key before:
// somebody has that key who should not.
type Contradiction struct {
	Number       uint64
	Known, Shown []byte // signed
}

// Error implements error.
func (c *Contradiction) Error() string {
	return fmt.Sprintf("two different keys are signed as number %d of the cluster", c.Number)
}

// Number is how often the cluster's key has been renewed, as far as is known.
func (c *Cluster) Number() uint64 {
	if n := len(c.Renewals); n > 0 {
		if r, err := decodeRenewal(c.Renewals[n-1]); err == nil {
			return r.Number
		}
	}
	return 0
}

// NewKey makes another key for the cluster, with the renewals that then lead to it. It
// needs the private key, and changes nothing.
func (c *Cluster) NewKey() (ed25519.PrivateKey, [][]byte, error) {
	pub, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	r := Renewal{Number: c.Number() + 1, Incarnation: c.Incarnation, Old: c.Key, New: pub}
	b, err := r.Sign(c.Private)
	if err != nil {
		return nil, nil, err
	}
	return private, c.and(b).Renewals, nil
}

// WithKey returns the cluster under another key, to which the renewals lead, with id and
// dataID certified by it. That it is right is not looked at: the log says so.
func (c *Cluster) WithKey(private ed25519.PrivateKey, renewals [][]byte, id, dataID peer.ID) (*Cluster, error) {
	if len(private) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("the cluster's key has %d bytes, not %d", len(private), ed25519.PrivateKeySize)
	}
	next := *c
	next.Key, next.Private, next.Renewals = private.Public().(ed25519.PublicKey), private, renewals
	var err error
	if next.Certificate, err = next.Certify(id, dataID); err != nil {
		return nil, err
	}
	return &next, next.check()
}

// Follow returns the cluster under the key to which the renewals shown lead on from the
// present one, without private key and certificate; and c itself where they lead
// nowhere. Renewals of an earlier number than that are passed over, except that one that
// differs from what is known of a number above c.Sure is a *Contradiction.
func (c *Cluster) Follow(shown [][]byte) (*Cluster, error) {
	if len(shown) > maxRenewals {
		return c, fmt.Errorf("%d renewals of the cluster's key are too many: %w", len(shown), ErrDenied)
	}
	for _, b := range shown {
		r, err := readRenewal(b)
		if err != nil {
			return c, err
		}
		if r.Incarnation != c.Incarnation {
			continue
		}
		if r.Number == c.Number()+1 && r.Old.Equal(c.Key) {
			next := c.and(b)
			next.Key, next.Private, next.Certificate = r.New, nil, nil
			c = next
		} else if err := c.contradicts(r, b); err != nil {
			return c, err
		}
	}
	return c, nil
}

// contradicts tells whether b, which is r, cannot be true if what is known is.
func (c *Cluster) contradicts(r Renewal, b []byte) error {
	if r.Number <= c.Sure {
		return nil
	}
	for _, known := range c.Renewals {
		k, err := decodeRenewal(known)
		if err == nil && k.Number == r.Number && k.Incarnation == r.Incarnation && k.Old.Equal(r.Old) && !k.New.Equal(r.New) {
			return &Contradiction{Number: r.Number, Known: known, Shown: b}
		}
	}
	return nil
}

// and returns the cluster with one more renewal.
func (c *Cluster) and(b []byte) *Cluster {
	next := *c
	next.Renewals = append(append([][]byte(nil), c.Renewals...), b)
	next.Renewals = next.Renewals[max(0, len(next.Renewals)-maxRenewals):]
	return &next
}

// formerly tells whether key was the cluster's.
func (c *Cluster) formerly(key ed25519.PublicKey) bool {
	for _, b := range c.Renewals {
		if r, err := decodeRenewal(b); err == nil && r.Old.Equal(key) {
			return true
		}
	}
	return false
}

// LeadTo tells whether the renewals lead from one key to another, which may be the same.
func LeadTo(renewals [][]byte, from, to ed25519.PublicKey) bool {
	if from.Equal(to) {
		return true
	}
	all, err := readRenewals(renewals, to)
	if err != nil {
		return false
	}
	for _, r := range all {
		if r.Old.Equal(from) {
			return true
		}
	}
	return false
}
