package web

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"hash"
	"strings"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// Tokens is what the doors of a peer go by to make tokens and to take them: JWTs (RFC
// 7519) of the user that iss names. Ours expire, and can be revoked one by one.
//
// They are signed with a key that only the cluster's full peers can make, of the
// user's password: all of them take each other's, nobody can guess passwords by a token
// that got lost, and with a new password those of the old one are worth nothing. As IPFS
// Cluster does, doors also take what was signed with the password itself; whoever has
// that may choose how long such a token is good.
type Tokens struct {
	// Key gives the cluster's, as it is now; nil: the password alone signs.
	Key func() ([]byte, error)
	// Revoked tells whether the token with that ID was revoked; nil for none.
	Revoked func(id string) bool
}

const (
	// TokenLife is how long a token is good for unless it is asked for otherwise.
	TokenLife = 90 * 24 * time.Hour
	// maxToken bounds the bytes of one that is looked at.
	maxToken = 4096
)

var algorithms = map[string]func() hash.Hash{"HS256": sha256.New, "HS384": sha512.New384, "HS512": sha512.New}

type tokenHead struct {
	Alg string `json:"alg"`
	Typ string `json:"typ"`
}

// claims are those that are looked at. Times are Unix seconds, with or without a fraction.
type claims struct {
	Issuer    string   `json:"iss"`
	ID        string   `json:"jti,omitempty"`
	Scope     string   `json:"scope,omitempty"` // the user's where absent; never more than that
	IssuedAt  *float64 `json:"iat,omitempty"`
	NotBefore *float64 `json:"nbf,omitempty"`
	Expires   *float64 `json:"exp,omitempty"`
}

// New returns a token of the user with that password, good for life from now on, and
// for what the user may do, up to scope; ScopeNone is all of it.
func (t Tokens) New(user, password string, scope api.Scope, life time.Duration, now time.Time) (api.Token, error) {
	out := api.Token{ID: rand.Text(), Scope: scope, Expires: time.Unix(now.Add(life).Unix(), 0).UTC()}
	issued, expires := float64(now.Unix()), float64(out.Expires.Unix())
	head, err := json.Marshal(tokenHead{Alg: "HS256", Typ: "JWT"})
	if err != nil {
		return out, err
	}
	body, err := json.Marshal(claims{Issuer: user, ID: out.ID, Scope: scope.String(), IssuedAt: &issued, Expires: &expires})
	if err != nil {
		return out, err
	}
	key := []byte(password)
	if t.Key != nil {
		if key, err = t.key(user, password); err != nil {
			return out, err
		}
	}
	enc := base64.RawURLEncoding
	signed := enc.EncodeToString(head) + "." + enc.EncodeToString(body)
	out.Token = signed + "." + enc.EncodeToString(sign(sha256.New, key, signed))
	return out, nil
}

// key makes the key that signs the tokens of a user.
func (t Tokens) key(user, password string) ([]byte, error) {
	secret, err := t.Key()
	if err != nil {
		return nil, err
	}
	l := newLogin(user, password)
	return hkdf.Key(sha256.New, secret, nil, "pinfold token 1"+string(l[:]), sha256.Size)
}

func sign(h func() hash.Hash, key []byte, text string) []byte {
	mac := hmac.New(h, key)
	mac.Write([]byte(text)) // never fails
	return mac.Sum(nil)
}

// clockSkew is by how much the clock of the peer that made a token may be ahead.
const clockSkew = time.Minute

// check returns the user whose token it is, with what that may do. The error is Denied.
func (t Tokens) check(token string, users Users, now time.Time) (Identity, error) {
	var nobody Identity
	bad := api.Denied.Errorf("invalid token")
	if len(token) > maxToken {
		return nobody, bad
	}
	signed, signature, _ := cutLast(token, ".")
	head, body, ok := strings.Cut(signed, ".")
	if !ok {
		return nobody, bad
	}
	var h tokenHead
	var c claims
	if !decodePart(head, &h) || !decodePart(body, &c) {
		return nobody, bad
	}
	mac, err := base64.RawURLEncoding.DecodeString(signature)
	algorithm := algorithms[h.Alg]
	password, known := users.Passwords[c.Issuer]
	if err != nil || algorithm == nil {
		return nobody, bad
	}
	// For a user that is not known it takes as long.
	ours, err := t.signedWithKey(mac, algorithm, c.Issuer, password, signed)
	if err != nil {
		return nobody, bad
	}
	theirs := hmac.Equal(mac, sign(algorithm, []byte(password), signed))
	if !known || !ours && !theirs {
		return nobody, bad
	}
	if c.ID != "" && t.Revoked != nil && t.Revoked(c.ID) {
		return nobody, bad
	}
	at := float64(now.Unix())
	for _, notBefore := range []*float64{c.IssuedAt, c.NotBefore} {
		if notBefore != nil && at+clockSkew.Seconds() < *notBefore {
			return nobody, bad
		}
	}
	if c.Expires != nil && at >= *c.Expires {
		return nobody, bad
	}
	id := Identity{c.Issuer, users.Scope(c.Issuer)}
	if c.Scope != "" {
		scope, err := api.ParseScope(c.Scope)
		if err != nil {
			return nobody, bad
		}
		id.Scope = min(id.Scope, scope)
	}
	return id, nil
}

func (t Tokens) signedWithKey(mac []byte, algorithm func() hash.Hash, user, password, text string) (bool, error) {
	if t.Key == nil {
		return false, nil
	}
	key, err := t.key(user, password)
	if err != nil {
		return false, err
	}
	return hmac.Equal(mac, sign(algorithm, key, text)), nil
}

func decodePart(text string, v any) bool {
	b, err := base64.RawURLEncoding.DecodeString(text)
	return err == nil && json.Unmarshal(b, v) == nil
}

func cutLast(s, sep string) (before, after string, ok bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
