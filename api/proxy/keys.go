package proxy

import (
	"crypto/rand"
	"errors"
	"strings"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pinfold-cluster/pinfold/api"
)

var ipnsBase = opt(text, "ipns-base").or("base36")

var keyCommands = []*command{
	{path: "key"},
	{path: "key/list", run: (*call).keyList, options: []option{opt(boolean, "l"), ipnsBase}},
	{path: "key/gen", run: (*call).keyGen, args: []argument{{name: "name"}}, options: []option{
		opt(text, "type", "t").or("ed25519"), opt(integer, "size", "s"), ipnsBase,
	}},
	{path: "key/rename", run: (*call).keyRename, args: []argument{{name: "name"}, {name: "newName"}}, options: []option{opt(boolean, "force", "f"), ipnsBase}},
	{path: "key/rm", run: (*call).keyRm, args: []argument{{name: "name", many: true, body: true}}, options: []option{opt(boolean, "l"), ipnsBase}},
}

// self is what the node's own key is called.
const self = "self"

type keyLine struct {
	Name string
	Id   string //nolint:revive // Kubo's name
}

type keyLines struct{ Keys []keyLine }

// keyLine tells of a key by its name and the name that it signs.
func (c *call) keyLine(name string, k crypto.PrivKey) (keyLine, error) {
	write, err := idWriter(c.text("ipns-base"))
	if err != nil {
		return keyLine{}, err
	}
	id, err := peer.IDFromPrivateKey(k)
	if err != nil {
		return keyLine{}, err
	}
	return keyLine{Name: name, Id: write(id)}, nil
}

func (c *call) keyList() error {
	names, err := c.Node.ListKeys()
	if err != nil {
		return err
	}
	out := keyLines{Keys: []keyLine{}}
	for _, name := range names {
		k, err := c.Node.Key(name)
		if err != nil {
			return err
		}
		l, err := c.keyLine(name, k)
		if err != nil {
			return err
		}
		out.Keys = append(out.Keys, l)
	}
	return c.once(out)
}

// maxKeyName bounds a key's name, in bytes: it is one of a file.
const maxKeyName = 128

func checkKeyName(name string) error {
	if name == "" || len(name) > maxKeyName {
		return api.Invalid.Errorf("key name must have 1 to %d bytes", maxKeyName)
	}
	return nil
}

func (c *call) keyGen() error {
	name := c.args[0]
	if name == self {
		return api.Invalid.Errorf("cannot create key with name 'self'")
	}
	if err := checkKeyName(name); err != nil {
		return err
	}
	k, err := newKey(c.text("type"), c.keySize())
	if err != nil {
		return err
	}
	if err := c.Node.PutKey(name, k); err != nil {
		if errors.Is(err, api.Conflict) {
			return api.Conflict.Errorf("key with name '%s' already exists", name)
		}
		return err
	}
	l, err := c.keyLine(name, k)
	if err != nil {
		return err
	}
	return c.once(l)
}

// keySize is the size of a key in bits, -1 for the usual.
func (c *call) keySize() int {
	if n, ok := c.number("size"); ok {
		return int(n)
	}
	return -1
}

func newKey(kind string, bits int) (crypto.PrivKey, error) {
	switch kind {
	case "rsa":
		if bits == -1 {
			bits = 2048
		}
		if bits < 2048 || bits > 8192 {
			return nil, api.Invalid.Errorf("rsa keys must be 2048 to 8192 bits")
		}
		k, _, err := crypto.GenerateKeyPairWithReader(crypto.RSA, bits, rand.Reader)
		return k, err
	case "ed25519":
		if bits != -1 {
			return nil, api.Invalid.Errorf("number of key bits does not apply when using ed25519 keys")
		}
		k, _, err := crypto.GenerateEd25519Key(rand.Reader)
		return k, err
	}
	return nil, api.Invalid.Errorf("unrecognized key type: %s", kind)
}

func (c *call) keyRename() error {
	was, now := c.args[0], c.args[1]
	switch {
	case was == self:
		return api.Invalid.Errorf("cannot rename key with name 'self'")
	case now == self:
		return api.Invalid.Errorf("cannot overwrite key with name 'self'")
	}
	if err := checkKeyName(now); err != nil {
		return err
	}
	k, err := c.namedKey(was)
	if err != nil {
		return err
	}
	overwrite, err := c.moveKey(was, now, k)
	if err != nil {
		return err
	}
	l, err := c.keyLine(now, k)
	if err != nil {
		return err
	}
	return c.once(struct {
		Was, Now, Id string
		Overwrite    bool
	}{was, now, l.Id, overwrite})
}

// moveKey keeps k under the name now instead of was.
func (c *call) moveKey(was, now string, k crypto.PrivKey) (overwrite bool, err error) {
	if was == now {
		return false, nil
	}
	if c.boolean("force") {
		if err := c.Node.DeleteKey(now); err == nil {
			overwrite = true
		} else if !errors.Is(err, api.NotFound) {
			return false, err
		}
	}
	if err := c.Node.PutKey(now, k); err != nil {
		return false, err
	}
	return overwrite, c.Node.DeleteKey(was)
}

func (c *call) namedKey(name string) (crypto.PrivKey, error) {
	k, err := c.Node.Key(name)
	if errors.Is(err, api.NotFound) {
		return nil, api.NotFound.Errorf("no key named %s was found", name)
	}
	return k, err
}

func (c *call) keyRm() error {
	out := keyLines{Keys: []keyLine{}}
	for _, name := range c.args {
		if name == self {
			return api.Invalid.Errorf("cannot remove key with name 'self'")
		}
		k, err := c.namedKey(name)
		if err != nil {
			return err
		}
		l, err := c.keyLine(name, k)
		if err != nil {
			return err
		}
		if err := c.Node.DeleteKey(name); err != nil {
			return err
		}
		out.Keys = append(out.Keys, l)
	}
	return c.once(out)
}

// keyFor finds a key by its name or by the name that it signs.
func (c *call) keyFor(name string) (crypto.PrivKey, error) {
	k, err := c.Node.Key(name)
	if !errors.Is(err, api.NotFound) {
		return k, err
	}
	want, err := peer.Decode(strings.TrimPrefix(name, "/ipns/"))
	if err != nil {
		return nil, api.NotFound.Errorf("no key by the given name or PeerID was found")
	}
	names, err := c.Node.ListKeys()
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		k, err := c.Node.Key(n)
		if err != nil {
			return nil, err
		}
		if id, err := peer.IDFromPrivateKey(k); err == nil && id == want {
			return k, nil
		}
	}
	return nil, api.NotFound.Errorf("no key by the given name or PeerID was found")
}
