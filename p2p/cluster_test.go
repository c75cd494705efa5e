package p2p

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

func TestCluster_RoundTrip(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cluster.json")
	want, _, _ := newCluster(t)
	if err := want.Save(file); err != nil {
		t.Fatal(err)
	}
	ownerOnly(t, file)
	got, err := LoadCluster(file)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("read back %+v, want %+v", got, want)
	}
}

func TestCluster_LoadRefusesWhatDoesNotBelongTogether(t *testing.T) {
	other, _, _ := newCluster(t)
	for name, damage := range map[string]func(*Cluster){
		"public key":         func(c *Cluster) { c.Key = other.Key },
		"short public key":   func(c *Cluster) { c.Key = c.Key[1:] },
		"private key":        func(c *Cluster) { c.Private = other.Private },
		"short private key":  func(c *Cluster) { c.Private = c.Private[1:] },
		"half a private key": func(c *Cluster) { c.Private = append(bytes.Clone(other.Private[:32]), c.Private[32:]...) },
		"certificate":        func(c *Cluster) { c.Certificate = other.Certificate },
		"incarnation":        func(c *Cluster) { c.Incarnation++ },
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "cluster.json")
			c, _, _ := newCluster(t)
			damage(c)
			if err := c.Save(file); err != nil {
				t.Fatal(err)
			}
			if _, err := LoadCluster(file); err == nil {
				t.Fatal("loaded")
			}
		})
	}
}

func TestCluster_Reincarnate(t *testing.T) {
	c, id, data := newCluster(t)
	before := c.Certificate
	if err := c.Reincarnate(id.ID, data.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Verify(before); !errors.Is(err, ErrDenied) {
		t.Fatalf("a certificate of the old incarnation: %v, want ErrDenied", err)
	}
	if cert, err := c.Verify(c.Certificate); err != nil || cert.ID != id.ID || cert.DataID != data.ID {
		t.Fatalf("the new one: %+v %v", cert, err)
	}
}

func TestCluster_Accept(t *testing.T) {
	c, _, _ := newCluster(t)
	other, _, _ := newCluster(t)
	joiner, data := newIdentity(t).ID, newIdentity(t).ID
	certify := func(by *Cluster) []byte {
		b, err := by.Certify(joiner, data)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, tc := range map[string]struct {
		private     []byte
		incarnation uint64
		certificate []byte
		ok          bool
	}{
		"right":                 {c.Private, c.Incarnation, certify(c), true},
		"other cluster":         {other.Private, other.Incarnation, certify(other), false},
		"other incarnation":     {c.Private, c.Incarnation + 1, certify(c), false},
		"somebody's":            {c.Private, c.Incarnation, c.Certificate, false},
		"other's signature":     {c.Private, c.Incarnation, certify(other), false},
		"no key":                {nil, c.Incarnation, certify(c), false},
		"without a certificate": {c.Private, c.Incarnation, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			token := Cluster{Name: "x", Key: c.Key, Incarnation: c.Incarnation}
			joined := token
			err := joined.Accept(tc.private, tc.incarnation, tc.certificate, joiner, data)
			if (err == nil) != tc.ok {
				t.Fatalf("got %v", err)
			}
			if !tc.ok && !reflect.DeepEqual(joined, token) {
				t.Fatal("it was changed all the same")
			}
			if tc.ok && (!joined.Private.Equal(c.Private) || joined.Name != "x") {
				t.Fatalf("got %+v", joined)
			}
		})
	}
}

func TestCertificate_Verify(t *testing.T) {
	c, id, data := newCluster(t)
	other, _, _ := newCluster(t)
	credential, err := NewCredential(c.Private, time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(c.Certificate)
	flipped[len(flipped)/2] ^= 1
	for name, tc := range map[string]struct {
		b           []byte
		pub         ed25519.PublicKey
		incarnation uint64
		ok          bool
	}{
		"right":                    {c.Certificate, c.Key, c.Incarnation, true},
		"other key":                {c.Certificate, other.Key, c.Incarnation, false},
		"no key":                   {c.Certificate, nil, c.Incarnation, false},
		"other incarnation":        {c.Certificate, c.Key, c.Incarnation ^ 1, false},
		"damaged":                  {flipped, c.Key, c.Incarnation, false},
		"cut short":                {c.Certificate[:len(c.Certificate)-1], c.Key, c.Incarnation, false},
		"with more behind":         {append(bytes.Clone(c.Certificate), 0), c.Key, c.Incarnation, false},
		"empty":                    {nil, c.Key, c.Incarnation, false},
		"too long":                 {make([]byte, maxSigned+1), c.Key, c.Incarnation, false},
		"a credential's signature": {credential, c.Key, c.Incarnation, false},
	} {
		t.Run(name, func(t *testing.T) {
			cert, err := VerifyCertificate(tc.b, tc.pub, tc.incarnation)
			if tc.ok {
				want := Certificate{Cluster: c.Key, Incarnation: c.Incarnation, ID: id.ID, DataID: data.ID}
				if err != nil || !reflect.DeepEqual(cert, want) {
					t.Fatalf("got %+v %v, want %+v", cert, err, want)
				}
			} else if !errors.Is(err, ErrDenied) {
				t.Fatalf("got %v, want ErrDenied", err)
			}
		})
	}
}

func TestCredential(t *testing.T) {
	c, _, _ := newCluster(t)
	other, _, _ := newCluster(t)
	end := time.Unix(1_900_000_000, 0)
	b, err := NewCredential(c.Private, end)
	if err != nil {
		t.Fatal(err)
	}
	nonce, expires, err := VerifyCredential(c.Key, b, end.Add(-time.Second))
	if err != nil || len(nonce) != 16 || !expires.Equal(end) {
		t.Fatalf("got %x %v %v", nonce, expires, err)
	}
	second, err := NewCredential(c.Private, end)
	if err != nil {
		t.Fatal(err)
	}
	if again, _, _ := VerifyCredential(c.Key, second, end.Add(-time.Second)); bytes.Equal(again, nonce) {
		t.Fatal("two credentials have one nonce")
	}
	for name, try := range map[string]func() error{
		"once over":        func() error { _, _, err := VerifyCredential(c.Key, b, end); return err },
		"other cluster":    func() error { _, _, err := VerifyCredential(other.Key, b, time.Unix(0, 0)); return err },
		"a certificate":    func() error { _, _, err := VerifyCredential(c.Key, c.Certificate, time.Unix(0, 0)); return err },
		"cut short":        func() error { _, _, err := VerifyCredential(c.Key, b[:40], time.Unix(0, 0)); return err },
		"nothing to check": func() error { _, _, err := VerifyCredential(c.Key, nil, time.Unix(0, 0)); return err },
	} {
		if err := try(); !errors.Is(err, ErrDenied) {
			t.Errorf("%s: %v, want ErrDenied", name, err)
		}
	}
	if _, err := NewCredential(nil, end); err == nil {
		t.Error("signed without a key")
	}
}

func FuzzVerify(f *testing.F) {
	c, _, _ := newCluster(f)
	credential, err := NewCredential(c.Private, time.Now().Add(time.Hour))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(c.Certificate)
	f.Add(credential)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := c.Verify(b); err == nil && !bytes.Equal(b, c.Certificate) {
			t.Fatalf("forged: %x", b)
		}
		if _, _, err := VerifyCredential(c.Key, b, time.Unix(0, 0)); err == nil && !bytes.Equal(b, credential) {
			t.Fatalf("forged: %x", b)
		}
	})
}

func newCluster(t testing.TB) (c *Cluster, id, data Identity) {
	t.Helper()
	id, data = newIdentity(t), newIdentity(t)
	c, err := NewCluster("test", id.ID, data.ID)
	if err != nil {
		t.Fatal(err)
	}
	return c, id, data
}
