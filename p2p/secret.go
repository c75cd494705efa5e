package p2p

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
)

// SecretSize is the length of a Secret in bytes.
const SecretSize = 32

// Secret is the key of the private network that the cluster hosts form. Its text
// form is 64 hexadecimal digits. It does not show in logs.
type Secret []byte

// NewSecret makes a random secret.
func NewSecret() Secret {
	s := make(Secret, SecretSize)
	rand.Read(s) // never fails
	return s
}

// MarshalText implements encoding.TextMarshaler.
func (s Secret) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(s)), nil }

// UnmarshalText implements encoding.TextUnmarshaler. The empty text is no secret.
func (s *Secret) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err != nil || len(b) != 0 && len(b) != SecretSize {
		return fmt.Errorf("the secret must be %d hexadecimal digits", 2*SecretSize)
	}
	*s = b
	return nil
}

// String does not tell the secret.
func (s Secret) String() string { return "(secret)" }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
