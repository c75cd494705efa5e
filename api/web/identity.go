package web

import (
	"context"
	"net/http"

	"github.com/pinfold-cluster/pinfold/api"
)

// Identity is who a request comes from. Where a door asks for no credentials it is
// nobody by name, and may do everything.
type Identity struct {
	User  string
	Scope api.Scope
}

type identityKey struct{}

func withIdentity(r *http.Request, id Identity) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), identityKey{}, id))
}

// IdentityOf tells who r comes from. It has no scope where r did not pass New's checks.
func IdentityOf(r *http.Request) Identity {
	id, _ := r.Context().Value(identityKey{}).(Identity)
	return id
}

type checkKey struct{}

func withCheck(r *http.Request, holds func() bool) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), checkKey{}, holds))
}

// Holds tells whether the token that let r in is still good. An answer without an end asks
// again and again: meanwhile the token may have expired, or been revoked.
func Holds(r *http.Request) bool {
	holds, ok := r.Context().Value(checkKey{}).(func() bool)
	return !ok || holds()
}

// Needs makes f answer those alone who have at least that scope. The error for others is
// Denied.
func Needs(scope api.Scope, f HandlerFunc) HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		if id := IdentityOf(r); id.Scope < scope {
			return api.Denied.Errorf("forbidden: this needs the scope %s, and %q has %s", scope, id.User, id.Scope)
		}
		return f(w, r)
	}
}
