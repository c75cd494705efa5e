package embedded

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/ipfs/boxo/keystore"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pinfold-cluster/pinfold/api"
)

// prefixName is that of the keys, in the blocks' database, of the records of names:
// followed by the peer ID that the name is.
const prefixName = 'n'

// selfKey is what the node's own key is called.
const selfKey = "self"

// ListKeys gives the names of the keys, the node's own first and the others in order.
func (n *Node) ListKeys() ([]string, error) {
	names, err := n.keys.List()
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	slices.Sort(names)
	if n.host != nil {
		names = append([]string{selfKey}, names...)
	}
	return names, nil
}

// Key returns the key called name, or a NotFound error.
func (n *Node) Key(name string) (crypto.PrivKey, error) {
	if name == selfKey && n.host != nil {
		if k := n.host.Peerstore().PrivKey(n.host.ID()); k != nil {
			return k, nil
		}
	}
	k, err := n.keys.Get(name)
	return k, keyError(err)
}

// PutKey keeps a key. The error is Conflict where the name is taken.
func (n *Node) PutKey(name string, k crypto.PrivKey) error { return keyError(n.keys.Put(name, k)) }

// DeleteKey forgets a key, or returns a NotFound error.
func (n *Node) DeleteKey(name string) error { return keyError(n.keys.Delete(name)) }

func keyError(err error) error {
	switch {
	case errors.Is(err, keystore.ErrNoSuchKey):
		return api.NotFound.Errorf("%w", err)
	case errors.Is(err, keystore.ErrKeyExists):
		return api.Conflict.Errorf("%w", err)
	}
	return err
}

// PutName keeps the record of the name that id is, durably.
func (n *Node) PutName(id peer.ID, record []byte) error {
	if err := n.use.begin(); err != nil {
		return err
	}
	defer n.use.end()
	if err := n.blocks.DB().Set(append([]byte{prefixName}, id...), record, pebble.Sync); err != nil {
		return fmt.Errorf("write the record of %s: %w", id, err)
	}
	return nil
}

// GetName returns the record that PutName keeps, or a NotFound error.
func (n *Node) GetName(id peer.ID) ([]byte, error) {
	if err := n.use.begin(); err != nil {
		return nil, err
	}
	defer n.use.end()
	v, closer, err := n.blocks.DB().Get(append([]byte{prefixName}, id...))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, api.NotFound.Errorf("no record of %s", id)
	}
	if err != nil {
		return nil, fmt.Errorf("read the record of %s: %w", id, err)
	}
	return append([]byte(nil), v...), closer.Close()
}
