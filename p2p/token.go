package p2p

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
)

// Bounds of a token.
const (
	tokenPrefix       = "pinfold1_"
	maxTokenText      = 8 << 10 // characters
	maxTokenAddresses = 32
	maxClusterName    = 256 // bytes
	tokenSumSize      = 4
)

// Token is all that a new peer needs to join a cluster, in one string. Who has it
// can join until it expires, once.
type Token struct {
	Name        string
	Secret      Secret
	Key         ed25519.PublicKey // the cluster's
	Incarnation uint64
	Addresses   []multiaddr.Multiaddr // of members, each with its /p2p
	Credential  []byte
	Expires     time.Time // in whole seconds
}

type tokenBody struct {
	Name        string   `cbor:"1,keyasint"`
	Secret      []byte   `cbor:"2,keyasint"`
	Key         []byte   `cbor:"3,keyasint"`
	Incarnation uint64   `cbor:"4,keyasint"`
	Addresses   [][]byte `cbor:"5,keyasint"`
	Credential  []byte   `cbor:"6,keyasint,omitempty"`
	Expires     int64    `cbor:"7,keyasint"`
}

// Encode gives the text form: one word of some 500 characters.
func (t Token) Encode() (string, error) {
	if err := t.check(); err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	body := tokenBody{Name: t.Name, Secret: t.Secret, Key: t.Key, Incarnation: t.Incarnation,
		Credential: t.Credential, Expires: t.Expires.Unix()}
	for _, a := range t.Addresses {
		body.Addresses = append(body.Addresses, a.Bytes())
	}
	raw, err := encMode.Marshal(body)
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	text := tokenPrefix + base64.RawURLEncoding.EncodeToString(append(tokenSum(raw), raw...))
	if len(text) > maxTokenText {
		return "", fmt.Errorf("token: %d characters are too many", len(text))
	}
	return text, nil
}

// ParseToken reads the text form. White space in it, as terminals and mails add, is
// left out. Whether the token has expired is not looked at.
func ParseToken(text string) (Token, error) {
	if len(text) > 2*maxTokenText {
		return Token{}, fmt.Errorf("token: %d characters are too many", len(text))
	}
	text = strings.Join(strings.Fields(text), "")
	encoded, ok := strings.CutPrefix(text, tokenPrefix)
	if !ok {
		return Token{}, fmt.Errorf("token: it must begin with %s", tokenPrefix)
	}
	damaged := errors.New("token: it is damaged or incomplete: copy it whole")
	raw, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil || len(raw) < tokenSumSize || len(text) > maxTokenText {
		return Token{}, damaged
	}
	sum, raw := raw[:tokenSumSize], raw[tokenSumSize:]
	if !bytes.Equal(sum, tokenSum(raw)) {
		return Token{}, damaged
	}
	var body tokenBody
	if err := decMode.Unmarshal(raw, &body); err != nil {
		return Token{}, fmt.Errorf("token: %w", err)
	}
	t := Token{Name: body.Name, Secret: body.Secret, Key: body.Key, Incarnation: body.Incarnation,
		Credential: body.Credential, Expires: time.Unix(body.Expires, 0)}
	for _, b := range body.Addresses {
		a, err := multiaddr.NewMultiaddrBytes(b)
		if err != nil {
			return Token{}, fmt.Errorf("token: address: %w", err)
		}
		t.Addresses = append(t.Addresses, a)
	}
	if err := t.check(); err != nil {
		return Token{}, fmt.Errorf("token: %w", err)
	}
	return t, nil
}

func (t Token) check() error {
	switch {
	case len(t.Name) > maxClusterName:
		return fmt.Errorf("a name of %d bytes is too long", len(t.Name))
	case len(t.Secret) != SecretSize:
		return fmt.Errorf("a secret of %d bytes, not %d", len(t.Secret), SecretSize)
	case len(t.Key) != ed25519.PublicKeySize:
		return fmt.Errorf("a key of %d bytes, not %d", len(t.Key), ed25519.PublicKeySize)
	case len(t.Credential) > maxSigned:
		return fmt.Errorf("a credential of %d bytes is too long", len(t.Credential))
	case len(t.Addresses) == 0:
		return errors.New("it names no address")
	case len(t.Addresses) > maxTokenAddresses:
		return fmt.Errorf("%d addresses are too many", len(t.Addresses))
	}
	_, err := t.Peers()
	return err
}

// Peers returns the token's addresses by peer.
func (t Token) Peers() ([]peer.AddrInfo, error) { return peer.AddrInfosFromP2pAddrs(t.Addresses...) }

func tokenSum(raw []byte) []byte {
	sum := sha256.Sum256(raw)
	return sum[:tokenSumSize]
}
