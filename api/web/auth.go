package web

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	basicChallenge   = `Basic realm="Restricted IPFS Cluster API"`
	bearerChallenge  = `Bearer realm="Restricted IPFS Cluster API"`
	invalidChallenge = bearerChallenge + `, error="invalid_token"`
)

// login is one user's name and password, hashed so that comparing tells nothing of
// their length.
type login [2 * sha256.Size]byte

func newLogin(user, password string) (l login) {
	u, p := sha256.Sum256([]byte(user)), sha256.Sum256([]byte(password))
	copy(l[:], u[:])
	copy(l[sha256.Size:], p[:])
	return l
}

// authenticate lets in who knows a password, or has a token signed with one. All may
// ask OPTIONS and GET /health. It takes the same time whatever is wrong with a password.
func authenticate(credentials map[string]string, tokens Tokens, next http.Handler) http.Handler {
	if credentials == nil {
		return next
	}
	var logins []login
	for user, password := range credentials {
		logins = append(logins, newLogin(user, password))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodOptions || r.Method == http.MethodGet && r.URL.Path == "/health" {
			next.ServeHTTP(w, r)
			return
		}
		header := r.Header.Get("Authorization")
		if scheme, token, _ := strings.Cut(header, " "); strings.EqualFold(scheme, "Bearer") {
			if _, err := tokens.check(strings.TrimSpace(token), credentials, time.Now()); err != nil {
				refuse(w, "invalid token", invalidChallenge)
				return
			}
			next.ServeHTTP(w, r)
			return
		}
		user, password, ok := r.BasicAuth()
		if !ok && header == "" {
			refuse(w, "no auth provided", bearerChallenge, basicChallenge)
			return
		}
		asked, known := newLogin(user, password), 0
		for i := range logins {
			known |= subtle.ConstantTimeCompare(asked[:], logins[i][:])
		}
		if !ok || known != 1 {
			refuse(w, "access denied", basicChallenge)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func refuse(w http.ResponseWriter, why string, challenges ...string) {
	for _, c := range challenges {
		w.Header().Add("WWW-Authenticate", c)
	}
	WriteError(w, &api.Error{Code: http.StatusUnauthorized, Message: "unauthorized: " + why})
}
