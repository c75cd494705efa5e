package p2p

import (
	"crypto/ed25519"
	"fmt"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Certificate says that a peer is a member of one incarnation of a cluster, and
// which data host is its own.
type Certificate struct {
	Cluster     ed25519.PublicKey
	Incarnation uint64
	ID          peer.ID
	DataID      peer.ID
}

type certificateBody struct {
	_           struct{} `cbor:",toarray"`
	Cluster     []byte
	Incarnation uint64
	ID          []byte
	DataID      []byte
}

// Sign returns the certificate in its signed form, about 220 bytes.
func (c Certificate) Sign(key ed25519.PrivateKey) ([]byte, error) {
	body := certificateBody{Cluster: c.Cluster, Incarnation: c.Incarnation, ID: []byte(c.ID), DataID: []byte(c.DataID)}
	b, err := sign(key, kindCertificate, body)
	if err != nil {
		return nil, fmt.Errorf("sign certificate of %s: %w", c.ID, err)
	}
	return b, nil
}

// VerifyCertificate reads a signed certificate, which must be of the cluster whose
// key is pub and of this incarnation. The error wraps ErrDenied; ErrKey where the
// certificate is right but for its key, and ErrIncarnation but for that.
func VerifyCertificate(b []byte, pub ed25519.PublicKey, incarnation uint64) (Certificate, error) {
	var body certificateBody
	if err := openSigned(pub, kindCertificate, b, &body); err != nil {
		if other := certifier(b); other != nil && !other.Equal(pub) {
			return Certificate{}, fmt.Errorf("certificate: %w", ErrKey)
		}
		return Certificate{}, fmt.Errorf("certificate: %w", err)
	}
	id, err := peer.IDFromBytes(body.ID)
	if err != nil {
		return Certificate{}, fmt.Errorf("certificate: peer ID: %w: %w", err, ErrDenied)
	}
	dataID, err := peer.IDFromBytes(body.DataID)
	if err != nil {
		return Certificate{}, fmt.Errorf("certificate: data ID: %w: %w", err, ErrDenied)
	}
	if !pub.Equal(ed25519.PublicKey(body.Cluster)) {
		return Certificate{}, fmt.Errorf("certificate of %s is of another cluster: %w", id, ErrDenied)
	}
	if body.Incarnation != incarnation {
		return Certificate{}, fmt.Errorf("certificate of %s is of incarnation %x, this is %x: %w",
			id, body.Incarnation, incarnation, ErrIncarnation)
	}
	return Certificate{Cluster: pub, Incarnation: incarnation, ID: id, DataID: dataID}, nil
}

// certifier is the key that the certificate says it is signed with, if it is.
func certifier(b []byte) ed25519.PublicKey {
	var body certificateBody
	if err := peekSigned(b, &body); err != nil {
		return nil
	}
	if err := openSigned(body.Cluster, kindCertificate, b, &body); err != nil {
		return nil
	}
	return body.Cluster
}
