package web

import (
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

// Tokens are JWTs (RFC 7519) signed with the password of the user that iss names, as
// IPFS Cluster has them. Ours expire.

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
	IssuedAt  *float64 `json:"iat,omitempty"`
	NotBefore *float64 `json:"nbf,omitempty"`
	Expires   *float64 `json:"exp,omitempty"`
}

// NewToken returns a token of the user with that password, good for life from now on.
func NewToken(user, password string, life time.Duration, now time.Time) (string, error) {
	issued, expires := float64(now.Unix()), float64(now.Add(life).Unix())
	head, err := json.Marshal(tokenHead{Alg: "HS256", Typ: "JWT"})
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(claims{Issuer: user, ID: rand.Text(), IssuedAt: &issued, Expires: &expires})
	if err != nil {
		return "", err
	}
	enc := base64.RawURLEncoding
	signed := enc.EncodeToString(head) + "." + enc.EncodeToString(body)
	return signed + "." + enc.EncodeToString(sign(sha256.New, password, signed)), nil
}

func sign(h func() hash.Hash, password, text string) []byte {
	mac := hmac.New(h, []byte(password))
	mac.Write([]byte(text)) // never fails
	return mac.Sum(nil)
}

// checkToken returns the user whose token it is. The error is Denied.
func checkToken(token string, credentials map[string]string, now time.Time) (string, error) {
	bad := api.Denied.Errorf("invalid token")
	if len(token) > maxToken {
		return "", bad
	}
	signed, signature, _ := cutLast(token, ".")
	head, body, ok := strings.Cut(signed, ".")
	if !ok {
		return "", bad
	}
	var h tokenHead
	var c claims
	if !decodePart(head, &h) || !decodePart(body, &c) {
		return "", bad
	}
	mac, err := base64.RawURLEncoding.DecodeString(signature)
	algorithm := algorithms[h.Alg]
	password, known := credentials[c.Issuer]
	if err != nil || algorithm == nil || !known || !hmac.Equal(mac, sign(algorithm, password, signed)) {
		return "", bad
	}
	at := float64(now.Unix())
	for _, notBefore := range []*float64{c.IssuedAt, c.NotBefore} {
		if notBefore != nil && at < *notBefore {
			return "", bad
		}
	}
	if c.Expires != nil && at >= *c.Expires {
		return "", bad
	}
	return c.Issuer, nil
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
