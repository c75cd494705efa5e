package p2p

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
)

// MaxLink bounds both forms of a link, in bytes.
const MaxLink = 16 << 10

const (
	linkPrefix  = "pinfold-follow1_"
	linkVersion = 1

	byteOrderMark = "\ufeff" // as some editors put it before a text
)

// Link is all that a follower needs to find a cluster and to tell its members from
// others. Unlike a Token it holds no credential: it makes nobody a member, any number may
// use it, and it does not expire.
type Link struct {
	Name        string
	Key         ed25519.PublicKey // the cluster's
	Incarnation uint64
	Secret      Secret
	Addresses   []multiaddr.Multiaddr // of members, each with its /p2p
	// Hold is what the cluster asks its followers to hold, "" for no wish.
	Hold string
	// Renewals lead to Key, for who knows an earlier one: see Cluster.
	Renewals [][]byte
}

type linkBody struct {
	Name        string   `cbor:"1,keyasint"`
	Secret      []byte   `cbor:"2,keyasint"`
	Key         []byte   `cbor:"3,keyasint"`
	Incarnation uint64   `cbor:"4,keyasint"`
	Addresses   [][]byte `cbor:"5,keyasint"`
	Hold        string   `cbor:"6,keyasint,omitempty"`
	Renewals    [][]byte `cbor:"7,keyasint,omitempty"`
}

// linkDocument is the form of a link that is served over HTTP.
type linkDocument struct {
	Version     int                   `json:"pinfold_follow"`
	Name        string                `json:"name"`
	Key         []byte                `json:"public_key"` // base64
	Incarnation uint64                `json:"incarnation,string"`
	Secret      Secret                `json:"secret"` // hexadecimal
	Addresses   []multiaddr.Multiaddr `json:"addresses"`
	Renewals    [][]byte              `json:"renewals,omitempty"` // base64 each
	Settings    linkSettings          `json:"settings"`
}

type linkSettings struct {
	Hold string `json:"hold,omitempty"`
}

// Encode gives the text form: one word of some 400 characters.
func (l Link) Encode() (string, error) {
	if err := l.check(); err != nil {
		return "", fmt.Errorf("follow link: %w", err)
	}
	body := linkBody{Name: l.Name, Secret: l.Secret, Key: l.Key, Incarnation: l.Incarnation, Hold: l.Hold, Renewals: l.Renewals}
	for _, a := range l.Addresses {
		body.Addresses = append(body.Addresses, a.Bytes())
	}
	raw, err := encMode.Marshal(body)
	if err != nil {
		return "", fmt.Errorf("follow link: %w", err)
	}
	return linkPrefix + base64.RawURLEncoding.EncodeToString(append(tokenSum(raw), raw...)), nil
}

// MarshalJSON gives the document.
func (l Link) MarshalJSON() ([]byte, error) {
	return json.Marshal(linkDocument{Version: linkVersion, Name: l.Name, Key: l.Key, Incarnation: l.Incarnation, Secret: l.Secret,
		Addresses: l.Addresses, Renewals: l.Renewals, Settings: linkSettings{Hold: l.Hold}})
}

// UnmarshalJSON reads the document. Keys that it does not know are left out.
func (l *Link) UnmarshalJSON(text []byte) error {
	var d linkDocument
	if err := json.Unmarshal(text, &d); err != nil {
		return fmt.Errorf("follow link: %w", err)
	}
	if d.Version == 0 {
		return errors.New(`follow link: the document has no "pinfold_follow": it is none that 'cluster-ctl follow-link' made`)
	}
	if d.Version != linkVersion {
		return fmt.Errorf(`follow link: the document has "pinfold_follow": %d; this program reads version %d`, d.Version, linkVersion)
	}
	read := Link{Name: d.Name, Key: d.Key, Incarnation: d.Incarnation, Secret: d.Secret, Addresses: d.Addresses, Renewals: d.Renewals, Hold: d.Settings.Hold}
	if err := read.check(); err != nil {
		return fmt.Errorf("follow link: %w", err)
	}
	*l = read
	return nil
}

// ParseLink reads either form. White space, as terminals and mails add it to the text
// form, and a byte order mark are left out.
func ParseLink(text string) (Link, error) {
	text = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(text), byteOrderMark))
	switch {
	case text == "":
		return Link{}, errors.New("follow link: it is empty")
	case strings.HasPrefix(text, "<"):
		return Link{}, errors.New("follow link: this is a web page (HTML), not a link")
	case strings.HasPrefix(text, "\xff\xfe"), strings.HasPrefix(text, "\xfe\xff"):
		return Link{}, errors.New("follow link: the text is UTF-16; save it as UTF-8")
	case len(text) > MaxLink:
		return Link{}, fmt.Errorf("follow link: %d bytes are too many", len(text))
	case strings.HasPrefix(text, "{"):
		var l Link
		if !json.Valid([]byte(text)) {
			return Link{}, errors.New("follow link: the document is not JSON: it is damaged or incomplete")
		}
		return l, l.UnmarshalJSON([]byte(text))
	}
	text = strings.Join(strings.Fields(text), "")
	encoded, ok := strings.CutPrefix(text, linkPrefix)
	if !ok && strings.HasPrefix(text, tokenPrefix) {
		return Link{}, errors.New("follow link: this is a token to join the cluster as a member, with 'cluster-service join'; ask for what 'cluster-ctl follow-link' prints")
	}
	if !ok {
		return Link{}, fmt.Errorf("follow link: it must begin with %s", linkPrefix)
	}
	damaged := errors.New("follow link: it is damaged or incomplete: copy it whole")
	raw, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil || len(raw) < tokenSumSize {
		return Link{}, damaged
	}
	sum, raw := raw[:tokenSumSize], raw[tokenSumSize:]
	if !bytes.Equal(sum, tokenSum(raw)) {
		return Link{}, damaged
	}
	var body linkBody
	if err := decMode.Unmarshal(raw, &body); err != nil {
		return Link{}, fmt.Errorf("follow link: %w", err)
	}
	l := Link{Name: body.Name, Key: body.Key, Incarnation: body.Incarnation, Secret: body.Secret, Hold: body.Hold, Renewals: body.Renewals}
	for _, b := range body.Addresses {
		a, err := multiaddr.NewMultiaddrBytes(b)
		if err != nil {
			return Link{}, fmt.Errorf("follow link: address: %w", err)
		}
		l.Addresses = append(l.Addresses, a)
	}
	if err := l.check(); err != nil {
		return Link{}, fmt.Errorf("follow link: %w", err)
	}
	return l, nil
}

func (l Link) check() error {
	if l.Incarnation == 0 {
		return errors.New("it names no incarnation")
	}
	if _, err := readRenewals(l.Renewals, l.Key); err != nil {
		return err
	}
	if len(l.Hold) > maxClusterName {
		return errors.New("what it asks to be held is too long")
	}
	return Token{Name: l.Name, Secret: l.Secret, Key: l.Key, Addresses: l.Addresses}.check()
}

// Peers returns the link's addresses by peer.
func (l Link) Peers() ([]peer.AddrInfo, error) { return peer.AddrInfosFromP2pAddrs(l.Addresses...) }

// Cluster is the cluster as a follower knows it. What the link says of the cluster's key
// is beyond doubt.
func (l Link) Cluster() *Cluster {
	c := &Cluster{Name: l.Name, Incarnation: l.Incarnation, Key: l.Key, Renewals: l.Renewals}
	c.Sure = c.Number()
	return c
}
