package p2p

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
)

func rsaIdentity(t *testing.T) Identity {
	t.Helper()
	key, _, err := crypto.GenerateRSAKeyPair(2048, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return Identity{ID: id, Key: key}
}

func TestVerifier_KnowsMembersStatements(t *testing.T) {
	c, _, dataID := newCluster(t)
	v := NewVerifier(c.Key, c.Incarnation)
	for name, id := range map[string]Identity{"Ed25519": newIdentity(t), "RSA": rsaIdentity(t)} {
		cert, err := c.Certify(id.ID, dataID.ID)
		if err != nil {
			t.Fatal(err)
		}
		b, err := SignStatement(id, cert, "test 1", []byte("body"))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time its certificate is known
			s, err := v.Open(b)
			if err != nil || s.Kind != "test 1" || s.Signer != id.ID || string(s.Body) != "body" {
				t.Fatalf("%s: %+v, %v", name, s, err)
			}
		}
		for i := range b {
			bad := bytes.Clone(b)
			bad[i] ^= 1
			if _, err := v.Open(bad); !errors.Is(err, ErrDenied) {
				t.Fatalf("%s: with byte %d changed: %v, want denied", name, i, err)
			}
		}
		other := newIdentity(t)
		if b, err = SignStatement(other, cert, "test 1", []byte("body")); err != nil {
			t.Fatal(err)
		}
		if _, err := v.Open(b); !errors.Is(err, ErrDenied) {
			t.Errorf("%s: signed by somebody else: %v, want denied", name, err)
		}
	}
	if len(v.signers) != 2 {
		t.Errorf("%d signers are known, want 2", len(v.signers))
	}
}

func TestVerifier_TellsIncarnations(t *testing.T) {
	c, id, dataID := newCluster(t)
	old := *c
	if err := c.Reincarnate(id.ID, dataID.ID); err != nil {
		t.Fatal(err)
	}
	member := newIdentity(t)
	oldCert, err := old.Certify(member.ID, dataID.ID)
	if err != nil {
		t.Fatal(err)
	}
	newCert, err := c.Certify(member.ID, dataID.ID)
	if err != nil {
		t.Fatal(err)
	}
	said, err := SignStatement(member, oldCert, "test 1", []byte("body"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewVerifier(c.Key, c.Incarnation).Open(said); !errors.Is(err, ErrIncarnation) {
		t.Errorf("what was said in another incarnation: %v, want ErrIncarnation", err)
	}
	// With the certificate of now, what was said then is not signed.
	var s statement
	if err := decMode.Unmarshal(said, &s); err != nil {
		t.Fatal(err)
	}
	s.Certificate = newCert
	shown, err := encMode.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewVerifier(c.Key, c.Incarnation).Open(shown); !errors.Is(err, ErrDenied) {
		t.Errorf("shown with another certificate: %v, want denied", err)
	}
}

func FuzzVerifier_Open(f *testing.F) {
	f.Add([]byte{0x85, 0x60, 0x40, 0x40, 0x40, 0x40})
	v := NewVerifier(make([]byte, 32), 1)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := v.Open(b); !errors.Is(err, ErrDenied) {
			t.Fatalf("%x: %v", b, err)
		}
	})
}
