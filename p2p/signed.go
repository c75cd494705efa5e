package p2p

import (
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// maxSigned bounds what a signed statement may take, in bytes.
const maxSigned = 512

var (
	encMode = must(cbor.CoreDetEncOptions().EncMode())
	decMode = must(cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		MaxNestedLevels:  4,
		MaxArrayElements: 64,
		MaxMapPairs:      64,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// signed is a statement of the cluster's: CBOR, and the signature over what kind of
// statement it is and that CBOR.
type signed struct {
	_    struct{} `cbor:",toarray"`
	Body []byte
	Sig  []byte
}

// A kind keeps a signature over one sort of statement from passing for another.
type kind string

const (
	kindCertificate kind = "pinfold certificate 1"
	kindCredential  kind = "pinfold credential 1"
	kindRenewal     kind = "pinfold renewal 1"
)

func (k kind) message(body []byte) []byte { return append([]byte(k+"\x00"), body...) }

func sign(key ed25519.PrivateKey, k kind, v any) ([]byte, error) {
	if len(key) != ed25519.PrivateKeySize {
		return nil, errors.New("this peer does not hold the cluster's private key")
	}
	body, err := encMode.Marshal(v)
	if err != nil {
		return nil, err
	}
	return encMode.Marshal(signed{Body: body, Sig: ed25519.Sign(key, k.message(body))})
}

// peekSigned reads into v what is signed, and checks nothing.
func peekSigned(b []byte, v any) error {
	if len(b) > maxSigned {
		return fmt.Errorf("%d bytes are too many: %w", len(b), ErrDenied)
	}
	var s signed
	if err := decMode.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("%w: %w", err, ErrDenied)
	}
	if err := decMode.Unmarshal(s.Body, v); err != nil {
		return fmt.Errorf("%w: %w", err, ErrDenied)
	}
	return nil
}

// openSigned reads into v what sign made with the private key of pub.
func openSigned(pub ed25519.PublicKey, k kind, b []byte, v any) error {
	if len(pub) != ed25519.PublicKeySize {
		return fmt.Errorf("the cluster's key is not known: %w", ErrDenied)
	}
	if len(b) > maxSigned {
		return fmt.Errorf("%d bytes are too many: %w", len(b), ErrDenied)
	}
	var s signed
	if err := decMode.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("%w: %w", err, ErrDenied)
	}
	if !ed25519.Verify(pub, k.message(s.Body), s.Sig) {
		return fmt.Errorf("not signed with this cluster's key: %w", ErrDenied)
	}
	if err := decMode.Unmarshal(s.Body, v); err != nil {
		return fmt.Errorf("%w: %w", err, ErrDenied)
	}
	return nil
}
