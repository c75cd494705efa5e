package p2p

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Cluster is the cluster as one peer knows it, and the peer's place in it.
type Cluster struct {
	// Name is for people.
	Name string
	// Incarnation changes when the cluster is started anew from a survivor: what
	// belongs to another one is refused. Never 0 in a cluster that exists.
	Incarnation uint64
	// Key is the cluster's public key. Empty where the peer joins by the secret alone
	// and has not been told.
	Key ed25519.PublicKey
	// Private is the key that certifies members; full peers hold it.
	Private ed25519.PrivateKey
	// Certificate is this peer's own, signed; empty until it has joined.
	Certificate []byte
	// Renewals are the last ones of the key, signed, oldest first: they lead to Key. Empty
	// while it is the first.
	Renewals [][]byte
	// Sure is the number of renewals beyond doubt, whatever else is shown.
	Sure uint64
}

type clusterFile struct {
	Name        string   `json:"name"`
	Incarnation uint64   `json:"incarnation,string"`
	Key         []byte   `json:"public_key"`
	Private     []byte   `json:"private_key,omitempty"`
	Certificate []byte   `json:"certificate,omitempty"`
	Renewals    [][]byte `json:"renewals,omitempty"`
}

// NewCluster makes a cluster with a new key, whose first member is id with the data
// host dataID.
func NewCluster(name string, id, dataID peer.ID) (*Cluster, error) {
	pub, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	c := &Cluster{Name: name, Key: pub, Private: private}
	return c, c.Reincarnate(id, dataID)
}

// Reincarnate starts the cluster anew with id and dataID as its only member: nobody
// certified before is a member any more.
func (c *Cluster) Reincarnate(id, dataID peer.ID) error {
	old := c.Incarnation
	for c.Incarnation == 0 || c.Incarnation == old {
		var b [8]byte
		rand.Read(b[:]) // never fails
		c.Incarnation = binary.BigEndian.Uint64(b[:])
	}
	var err error
	c.Certificate, err = c.Certify(id, dataID)
	return err
}

// Certify makes the certificate of a member. It needs the private key.
func (c *Cluster) Certify(id, dataID peer.ID) ([]byte, error) {
	return Certificate{Cluster: c.Key, Incarnation: c.Incarnation, ID: id, DataID: dataID}.Sign(c.Private)
}

// Verify reads a certificate of this cluster and incarnation. The error wraps
// ErrDenied.
func (c *Cluster) Verify(certificate []byte) (Certificate, error) {
	return VerifyCertificate(certificate, c.Key, c.Incarnation)
}

// OfIncarnation tells whether a certificate is of this incarnation, under whatever key: it
// is for those that the log holds.
func (c *Cluster) OfIncarnation(certificate []byte) bool {
	_, err := VerifyCertificate(certificate, certifier(certificate), c.Incarnation)
	return err == nil
}

// Accept takes over what a member answered to a request to join: the cluster's
// private key (64 bytes), its incarnation and the joiner's certificate. It changes
// nothing unless they belong together, are this cluster's where its key was known
// before, and certify id and dataID.
func (c *Cluster) Accept(private []byte, incarnation uint64, certificate []byte, id, dataID peer.ID) error {
	joined := Cluster{Name: c.Name, Incarnation: incarnation, Private: private, Certificate: certificate}
	if len(private) != ed25519.PrivateKeySize {
		return fmt.Errorf("the cluster's key has %d bytes, not %d", len(private), ed25519.PrivateKeySize)
	}
	joined.Key = joined.Private.Public().(ed25519.PublicKey)
	if len(c.Key) > 0 && !joined.Key.Equal(c.Key) {
		return fmt.Errorf("the answer is of another cluster than the token: %w", ErrDenied)
	}
	cert, err := joined.Verify(certificate)
	if err != nil {
		return err
	}
	if cert.ID != id || cert.DataID != dataID {
		return fmt.Errorf("the certificate is that of %s and %s, not of %s and %s: %w", cert.ID, cert.DataID, id, dataID, ErrDenied)
	}
	*c = joined
	return nil
}

// LoadCluster reads a cluster.json. fs.ErrNotExist is in the chain where there is
// none.
func LoadCluster(file string) (*Cluster, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	var f clusterFile
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("cluster %s: %w", file, err)
	}
	c := &Cluster{Name: f.Name, Incarnation: f.Incarnation, Key: f.Key, Private: f.Private, Certificate: f.Certificate, Renewals: f.Renewals}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("cluster %s: %w", file, err)
	}
	return c, nil
}

func (c *Cluster) check() error {
	if len(c.Key) != ed25519.PublicKeySize {
		return fmt.Errorf("the public key has %d bytes, not %d", len(c.Key), ed25519.PublicKeySize)
	}
	if len(c.Private) > 0 {
		if len(c.Private) != ed25519.PrivateKeySize {
			return fmt.Errorf("the private key has %d bytes, not %d", len(c.Private), ed25519.PrivateKeySize)
		}
		// The second half of a private key is its public key, but a damaged file
		// may hold halves that do not belong together: compute it.
		if !ed25519.NewKeyFromSeed(c.Private.Seed()).Public().(ed25519.PublicKey).Equal(c.Key) {
			return errors.New("the private key is not that of the public key")
		}
	}
	if _, err := readRenewals(c.Renewals, c.Key); err != nil {
		return err
	}
	if len(c.Certificate) > 0 {
		if _, err := c.Verify(c.Certificate); err != nil {
			return err
		}
	}
	return nil
}

// Save writes the cluster to file, readable by the owner only.
func (c *Cluster) Save(file string) error {
	f := clusterFile{Name: c.Name, Incarnation: c.Incarnation, Key: c.Key, Private: c.Private, Certificate: c.Certificate, Renewals: c.Renewals}
	data, err := json.MarshalIndent(f, "", "    ")
	if err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	if err := writeFile(file, append(data, '\n')); err != nil {
		return fmt.Errorf("write cluster: %w", err)
	}
	return nil
}
