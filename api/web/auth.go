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

// Users are those whom a door lets in.
type Users struct {
	Passwords map[string]string // nil lets everybody in
	Scopes    map[string]api.Scope
}

// Scope is what the user may do: everything where nothing else is said.
func (u Users) Scope(user string) api.Scope {
	if s, limited := u.Scopes[user]; limited {
		return s
	}
	return api.ScopeAdmin
}

func newLogin(user, password string) (l login) {
	u, p := sha256.Sum256([]byte(user)), sha256.Sum256([]byte(password))
	copy(l[:], u[:])
	copy(l[sha256.Size:], p[:])
	return l
}

// authenticate lets in who knows a password, or has a token signed with one. All may
// ask OPTIONS and GET /health. It takes the same time whatever is wrong with a password.
func authenticate(users Users, tokens Tokens, next http.Handler) http.Handler {
	if users.Passwords == nil {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, withIdentity(r, Identity{Scope: api.ScopeAdmin}))
		})
	}
	var logins []login
	for user, password := range users.Passwords {
		logins = append(logins, newLogin(user, password))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodOptions || r.Method == http.MethodGet && r.URL.Path == "/health" {
			next.ServeHTTP(w, r)
			return
		}
		header := r.Header.Get("Authorization")
		if scheme, token, _ := strings.Cut(header, " "); strings.EqualFold(scheme, "Bearer") {
			token = strings.TrimSpace(token)
			id, err := tokens.check(token, users, time.Now())
			if err != nil {
				refuse(w, "invalid token", invalidChallenge)
				return
			}
			next.ServeHTTP(w, withCheck(withIdentity(r, id), func() bool {
				_, err := tokens.check(token, users, time.Now())
				return err == nil
			}))
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
		next.ServeHTTP(w, withIdentity(r, Identity{user, users.Scope(user)}))
	})
}

func refuse(w http.ResponseWriter, why string, challenges ...string) {
	for _, c := range challenges {
		w.Header().Add("WWW-Authenticate", c)
	}
	WriteError(w, &api.Error{Code: http.StatusUnauthorized, Message: "unauthorized: " + why})
}
