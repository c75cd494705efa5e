package p2p

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
)

// Identity is who a host is: a key, and the peer ID that follows from it. A peer is
// its identity; its addresses may change.
type Identity struct {
	ID  peer.ID
	Key crypto.PrivKey
}

// identityFile is the form of identity.json, that of IPFS Cluster 1.1.6.
type identityFile struct {
	ID         string `json:"id"`
	PrivateKey string `json:"private_key"` // base64 of the libp2p protobuf
}

// NewIdentity makes an Ed25519 identity.
func NewIdentity() (Identity, error) {
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return Identity{}, err
	}
	id, err := peer.IDFromPrivateKey(key)
	return Identity{ID: id, Key: key}, err
}

// ParseIdentity reads an identity from a peer ID and a base64 private key, which
// must belong together.
func ParseIdentity(id, privateKey string) (Identity, error) {
	want, err := peer.Decode(id)
	if err != nil {
		return Identity{}, fmt.Errorf("peer ID %q: %w", id, err)
	}
	raw, err := base64.StdEncoding.DecodeString(privateKey)
	if err != nil {
		return Identity{}, fmt.Errorf("private key: %w", err)
	}
	key, err := crypto.UnmarshalPrivateKey(raw)
	if err != nil {
		return Identity{}, fmt.Errorf("private key: %w", err)
	}
	got, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return Identity{}, fmt.Errorf("private key: %w", err)
	}
	if got != want {
		return Identity{}, fmt.Errorf("the ID is %s but the private key is that of %s", want, got)
	}
	return Identity{ID: got, Key: key}, nil
}

// LoadIdentity reads an identity.json. fs.ErrNotExist is in the chain where there
// is none.
func LoadIdentity(file string) (Identity, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return Identity{}, fmt.Errorf("identity: %w", err)
	}
	var f identityFile
	if err := json.Unmarshal(data, &f); err != nil {
		return Identity{}, fmt.Errorf("identity %s: %w", file, err)
	}
	id, err := ParseIdentity(f.ID, f.PrivateKey)
	if err != nil {
		return Identity{}, fmt.Errorf("identity %s: %w", file, err)
	}
	return id, nil
}

// Save writes the identity to file, readable by the owner only.
func (i Identity) Save(file string) error {
	raw, err := crypto.MarshalPrivateKey(i.Key)
	if err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	f := identityFile{ID: i.ID.String(), PrivateKey: base64.StdEncoding.EncodeToString(raw)}
	data, err := json.MarshalIndent(f, "", "    ")
	if err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	if err := writeFile(file, append(data, '\n')); err != nil {
		return fmt.Errorf("write identity: %w", err)
	}
	return nil
}
