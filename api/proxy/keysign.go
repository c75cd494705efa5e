package proxy

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/ipfs/boxo/ipns"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multibase"

	"github.com/pinfold-cluster/pinfold/api"
)

var keyFileCommands = []*command{
	{path: "key/ls", run: (*call).keyList, options: []option{opt(boolean, "l"), ipnsBase}},
	{path: "key/import", run: (*call).keyImport, args: []argument{{name: "name"}, {name: "key", file: true}}, options: []option{
		ipnsBase, opt(text, "format", "f").or(formatLibp2p), opt(boolean, "allow-any-key-type"),
	}},
	{path: "key/sign", run: (*call).keySign, args: []argument{{name: "data", file: true}}, options: []option{opt(text, "key", "k"), ipnsBase}},
	{path: "key/verify", run: (*call).keyVerify, args: []argument{{name: "data", file: true}}, options: []option{
		opt(text, "key", "k"), opt(text, "signature", "s"), ipnsBase,
	}},
}

// The forms of a private key in a file.
const (
	formatLibp2p = "libp2p-protobuf-cleartext"
	formatPEM    = "pem-pkcs8-cleartext"
)

// maxKeyFile bounds such a file, in bytes.
const maxKeyFile = 64 << 10

// signedPrefix comes before what is signed, so that no signature can pass for one of a
// record or a handshake.
const signedPrefix = "libp2p-key signed message:"

func (c *call) keyImport() error {
	name := c.args[0]
	if name == self {
		return api.Invalid.Errorf("cannot import key with name 'self'")
	}
	if err := checkKeyName(name); err != nil {
		return err
	}
	data, err := c.upload(maxKeyFile)
	if err != nil {
		return err
	}
	k, err := parseKey(c.text("format"), data)
	if err != nil {
		return err
	}
	switch k.(type) {
	case *crypto.RsaPrivateKey, *crypto.Ed25519PrivateKey:
	default:
		if !c.boolean("allow-any-key-type") {
			return api.Invalid.Errorf("key type %T is not allowed to be imported, only RSA or Ed25519; use flag --allow-any-key-type if you are sure of what you're doing", k)
		}
	}
	if err := c.Node.PutKey(name, k); errors.Is(err, api.Conflict) {
		return api.Conflict.Errorf("key with name '%s' already exists", name)
	} else if err != nil {
		return err
	}
	l, err := c.keyLine(name, k)
	if err != nil {
		return err
	}
	return c.once(l)
}

func parseKey(form string, data []byte) (crypto.PrivKey, error) {
	block, rest := pem.Decode(data)
	switch form {
	case formatLibp2p:
		k, err := crypto.UnmarshalPrivateKey(data)
		if err != nil && block != nil {
			return nil, api.Invalid.Errorf("unexpected PEM block for format=%s: try again with format=%s", formatLibp2p, formatPEM)
		}
		if err != nil {
			return nil, api.Invalid.Errorf("unable to unmarshall format=%s: %w", formatLibp2p, err)
		}
		return k, nil
	case formatPEM:
	default:
		return nil, api.Invalid.Errorf("unrecognized import format: %s", form)
	}
	if block == nil {
		return nil, api.Invalid.Errorf("PEM block not found in input data:\n%s", rest)
	}
	if block.Type != "PRIVATE KEY" {
		return nil, api.Invalid.Errorf("expected PRIVATE KEY type in PEM block but got: %s", block.Type)
	}
	std, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, api.Invalid.Errorf("parsing PKCS8 format: %w", err)
	}
	if k, ok := std.(ed25519.PrivateKey); ok {
		std = &k // as libp2p takes it
	}
	k, _, err := crypto.KeyPairFromStdKey(std)
	if err != nil {
		return nil, api.Invalid.Errorf("converting std Go key to libp2p key: %w", err)
	}
	return k, nil
}

func (c *call) keySign() error {
	name := c.text("key")
	if name == "" {
		name = self
	}
	k, err := c.Node.Key(name)
	if errors.Is(err, api.NotFound) {
		return api.NotFound.Errorf("no key by the given name was found")
	}
	if err != nil {
		return err
	}
	data, err := c.upload(maxText)
	if err != nil {
		return err
	}
	signature, err := k.Sign(append([]byte(signedPrefix), data...))
	if err != nil {
		return err
	}
	l, err := c.keyLine(name, k)
	if err != nil {
		return err
	}
	encoded, err := multibase.Encode(multibase.Base64url, signature)
	if err != nil {
		return err
	}
	return c.emit(struct {
		Key       keyLine
		Signature string
	}{l, encoded})
}

func (c *call) keyVerify() error {
	_, signature, err := multibase.Decode(c.text("signature"))
	if err != nil {
		return api.Invalid.Errorf("%w", err)
	}
	data, err := c.upload(maxText)
	if err != nil {
		return err
	}
	name, k, err := c.publicKey(c.text("key"))
	if err != nil {
		return err
	}
	id, err := peer.IDFromPublicKey(k)
	if err != nil {
		return err
	}
	write, err := idWriter(c.text("ipns-base"))
	if err != nil {
		return err
	}
	valid, err := k.Verify(append([]byte(signedPrefix), data...), signature)
	if err != nil {
		return api.Invalid.Errorf("%w", err)
	}
	return c.emit(struct {
		Key            keyLine
		SignatureValid bool
	}{keyLine{name, write(id)}, valid})
}

// publicKey finds one by the name of a key of this node, or by the name that it signs,
// which holds it.
func (c *call) publicKey(key string) (name string, k crypto.PubKey, err error) {
	if key == "" {
		key = self
	}
	private, err := c.Node.Key(key)
	if err == nil {
		return key, private.GetPublic(), nil
	}
	if !errors.Is(err, api.NotFound) {
		return "", nil, err
	}
	n, err := ipns.NameFromString(key)
	if err != nil {
		return "", nil, api.NotFound.Errorf("'%q' is not a known key, an IPNS Name, or a valid PeerID", key)
	}
	if k, err = n.Peer().ExtractPublicKey(); err != nil {
		return "", nil, fmt.Errorf("the public key of %s: %w", key, err)
	}
	return "", k, nil
}
