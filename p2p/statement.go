package p2p

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	// maxStatementKind and maxStatementKey bound those parts of a statement, in bytes.
	maxStatementKind = 64
	maxStatementKey  = 2 << 10
	// verifiedSigners are remembered; a cluster has few.
	verifiedSigners = 256
)

// ErrIncarnation is in the chain of errors about what belongs to another incarnation of
// the same cluster. It wraps ErrDenied.
var ErrIncarnation = fmt.Errorf("of another incarnation: %w", ErrDenied)

// A Statement is what a member says to anybody, with all that it takes to check that it
// did: nobody needs to know the members before.
type Statement struct {
	Kind   string // what sort of statement, at most 64 bytes; the signature covers it
	Signer peer.ID
	Body   []byte
}

// statement is a Statement on the wire.
type statement struct {
	_           struct{} `cbor:",toarray"`
	Kind        string
	Certificate []byte // the signer's
	Key         []byte // the signer's public key, where its ID does not hold it
	Body        []byte
	Sig         []byte
}

// statementMessage is what is signed. The certificate is part of it: a statement of
// another incarnation cannot be shown with the certificate that its signer has now.
func statementMessage(kind string, certificate, body []byte) []byte {
	b := append([]byte("pinfold statement 1\x00"), kind...)
	b = append(b, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(len(certificate)))
	return append(append(b, certificate...), body...)
}

// SignStatement makes a statement of the member id, whose certificate is given: about
// 320 bytes more than the body.
func SignStatement(id Identity, certificate []byte, kind string, body []byte) ([]byte, error) {
	if len(kind) > maxStatementKind {
		return nil, fmt.Errorf("sign statement: its kind has %d bytes, at most %d are allowed", len(kind), maxStatementKind)
	}
	if len(certificate) == 0 {
		return nil, fmt.Errorf("sign statement: this peer has not joined: %w", ErrDenied)
	}
	s := statement{Kind: kind, Certificate: certificate, Body: body}
	var err error
	if _, noKey := id.ID.ExtractPublicKey(); noKey != nil {
		if s.Key, err = crypto.MarshalPublicKey(id.Key.GetPublic()); err != nil {
			return nil, fmt.Errorf("sign statement: %w", err)
		}
	}
	if s.Sig, err = id.Key.Sign(statementMessage(kind, certificate, body)); err != nil {
		return nil, fmt.Errorf("sign statement: %w", err)
	}
	return encMode.Marshal(s)
}

func readStatement(b []byte) (s statement, err error) {
	if err := decMode.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("statement: %w: %w", err, ErrDenied)
	}
	if len(s.Kind) > maxStatementKind || len(s.Certificate) > maxSigned || len(s.Key) > maxStatementKey {
		return s, fmt.Errorf("statement: one of its parts is too long: %w", ErrDenied)
	}
	// There is one form of a statement: nobody can pass on an old one as something new.
	if again, err := encMode.Marshal(s); err != nil || !bytes.Equal(again, b) {
		return s, fmt.Errorf("statement: not in the form that members give it: %w", ErrDenied)
	}
	return s, nil
}

// A Verifier checks the statements of the members of one cluster. It is safe for
// concurrent use.
type Verifier struct {
	mu          sync.Mutex
	pub         ed25519.PublicKey
	incarnation uint64
	signers     map[string]signer // by certificate and key
}

type signer struct {
	id  peer.ID
	key crypto.PubKey
}

// NewVerifier returns a Verifier for the cluster whose key is pub, in this incarnation.
func NewVerifier(pub ed25519.PublicKey, incarnation uint64) *Verifier {
	return &Verifier{pub: pub, incarnation: incarnation, signers: map[string]signer{}}
}

// Renew has the Verifier go by the cluster's new key: nothing that is signed with the old
// one counts any more.
func (v *Verifier) Renew(pub ed25519.PublicKey) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.pub = pub
	clear(v.signers)
}

// Open reads a statement that a certified member made. The error wraps ErrDenied, and
// ErrIncarnation or ErrKey where the member was certified for another incarnation or with
// another key.
func (v *Verifier) Open(b []byte) (Statement, error) {
	s, err := readStatement(b)
	if err != nil {
		return Statement{}, err
	}
	who, err := v.signer(s.Certificate, s.Key)
	if err != nil {
		return Statement{}, fmt.Errorf("statement: %w", err)
	}
	ok, err := who.key.Verify(statementMessage(s.Kind, s.Certificate, s.Body), s.Sig)
	if err != nil || !ok {
		return Statement{}, fmt.Errorf("statement: not signed by %s: %w", who.id, errors.Join(err, ErrDenied))
	}
	return Statement{Kind: s.Kind, Signer: who.id, Body: s.Body}, nil
}

// signer checks whose certificate it is, and that the key is that peer's.
func (v *Verifier) signer(certificate, key []byte) (signer, error) {
	name := string(certificate) + "\x00" + string(key)
	v.mu.Lock()
	who, ok := v.signers[name]
	pub := v.pub
	v.mu.Unlock()
	if ok {
		return who, nil
	}
	cert, err := VerifyCertificate(certificate, pub, v.incarnation)
	if err != nil {
		return signer{}, err
	}
	who = signer{id: cert.ID}
	if len(key) > 0 {
		if who.key, err = crypto.UnmarshalPublicKey(key); err == nil && !cert.ID.MatchesPublicKey(who.key) {
			err = errors.New("it is not that of the peer ID")
		}
	} else {
		who.key, err = cert.ID.ExtractPublicKey()
	}
	if err != nil {
		return signer{}, fmt.Errorf("key of %s: %w: %w", cert.ID, err, ErrDenied)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.pub.Equal(pub) { // renewed meanwhile
		return signer{}, fmt.Errorf("certificate of %s: %w", cert.ID, ErrKey)
	}
	if len(v.signers) >= verifiedSigners {
		clear(v.signers)
	}
	v.signers[name] = who
	return who, nil
}
