package p2p

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"time"
)

// nonceSize is the length in bytes of what tells one credential from another.
const nonceSize = 16

type credentialBody struct {
	_       struct{} `cbor:",toarray"`
	Nonce   []byte
	Expires int64 // Unix seconds
}

// NewCredential makes a credential by which one new peer may join until expires,
// which is kept in whole seconds. That it is used once only is for the cluster's
// log to see to.
func NewCredential(key ed25519.PrivateKey, expires time.Time) ([]byte, error) {
	nonce := make([]byte, nonceSize)
	rand.Read(nonce) // never fails
	b, err := sign(key, kindCredential, credentialBody{Nonce: nonce, Expires: expires.Unix()})
	if err != nil {
		return nil, fmt.Errorf("credential: %w", err)
	}
	return b, nil
}

// VerifyCredential reads a credential of the cluster whose key is pub: its nonce of
// 16 bytes and when it ends. The error wraps ErrDenied, also when it has ended.
func VerifyCredential(pub ed25519.PublicKey, b []byte, now time.Time) (nonce []byte, expires time.Time, err error) {
	var body credentialBody
	if err := openSigned(pub, kindCredential, b, &body); err != nil {
		return nil, time.Time{}, fmt.Errorf("credential: %w", err)
	}
	if len(body.Nonce) != nonceSize {
		return nil, time.Time{}, fmt.Errorf("credential: nonce of %d bytes: %w", len(body.Nonce), ErrDenied)
	}
	expires = time.Unix(body.Expires, 0)
	if !now.Before(expires) {
		return nil, time.Time{}, fmt.Errorf("credential: it ended %s: %w", expires.UTC().Format(time.RFC3339), ErrDenied)
	}
	return body.Nonce, expires, nil
}
