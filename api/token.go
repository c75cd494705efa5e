package api

import (
	"crypto/rand"
	"time"
)

// Token lets a user of an HTTP door in without the password, until it ends or is
// revoked.
type Token struct {
	Token string `json:"token"`
	// ID is what it is revoked by; it is in the token, too, as its claim jti.
	ID      string    `json:"id"`
	Expires time.Time `json:"expires"`
	// Scope bounds what it lets the user do; absent: all that the user may.
	Scope Scope `json:"scope,omitempty"`
}

// MaxTokenLife is how long a token can be good for.
const MaxTokenLife = 10 * 365 * 24 * time.Hour

// maxTokenID bounds the ID of a token, in bytes.
const maxTokenID = 64

// CheckTokenID tells whether id can be that of a token that a peer made: 26 capitals and
// digits from 2 to 7. The error is Invalid.
func CheckTokenID(id string) error {
	ok := len(id) == len(rand.Text())
	for _, c := range []byte(id) {
		ok = ok && ('A' <= c && c <= 'Z' || '2' <= c && c <= '7')
	}
	if !ok {
		return Invalid.Errorf("%.100q is not the ID of a token: it is what was printed when the token was made, 26 capitals and digits from 2 to 7", id)
	}
	return nil
}

// RevokedToken is the credential that is used up to revoke the token of an ID. Those that
// peers join with are 16 bytes; these are never. The error is Invalid for what is no
// token's ID: 1 to 64 letters, digits, - and _.
func RevokedToken(id string) ([]byte, error) {
	ok := 0 < len(id) && len(id) <= maxTokenID
	for i := range len(id) {
		c := id[i]
		ok = ok && ('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_')
	}
	if !ok {
		return nil, Invalid.Errorf("%.100q is not the ID of a token: it has 1 to %d letters, digits, - and _", id, maxTokenID)
	}
	return []byte("revoked token: " + id), nil
}
