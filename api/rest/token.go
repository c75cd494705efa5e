package rest

import (
	"context"
	"net/http"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
)

// Tokens gives users of the API tokens, and takes them back.
type Tokens interface {
	// New returns a token of a user, whose password it is, good for life and for what the
	// user may do, up to scope; ScopeNone is all of it.
	New(user, password string, scope api.Scope, life time.Duration) (api.Token, error)
	// Revoke returns the log index from which on no peer takes the token with that ID.
	// The error is Invalid where it cannot be one.
	Revoke(ctx context.Context, id string) (uint64, error)
}

// token gives who comes with a password a token; "ttl" is a Go duration, and "scope" may
// not be more than the user's. Who comes with a token gets none: the end of that would
// mean nothing.
func (h *handler) token(w http.ResponseWriter, r *http.Request) error {
	if !h.Guarded {
		return &api.Error{Code: http.StatusUnauthorized, Message: "unauthorized: no issuer: everybody is let in here, without a token; " +
			"set api.restapi.basic_auth_credentials for users to have some"}
	}
	user, password, ok := r.BasicAuth()
	if !ok {
		w.Header().Set("WWW-Authenticate", `Basic realm="Restricted IPFS Cluster API"`)
		return &api.Error{Code: http.StatusUnauthorized, Message: "unauthorized: a token is made with a user and a password, not with another token"}
	}
	q, err := query(r)
	if err != nil {
		return err
	}
	p := params{q: q}
	life := web.TokenLife
	if s := p.text("ttl"); s != "" {
		if life, err = time.ParseDuration(s); err != nil || life < time.Second || life > api.MaxTokenLife {
			p.fail("parameter ttl invalid: %q is not a duration of one second to ten years, like 720h", s)
		}
	}
	scope := api.ScopeNone
	if s := p.text("scope"); s != "" {
		if scope, err = api.ParseScope(s); err != nil {
			p.fail("parameter scope invalid: %w", err)
		}
	}
	if p.err != nil {
		return p.err
	}
	if has := web.IdentityOf(r).Scope; scope > has {
		return api.Denied.Errorf("forbidden: a token of scope %s needs a user of that, and %q has %s", scope, user, has)
	}
	token, err := h.Tokens.New(user, password, scope, life)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, token)
}

func (h *handler) revokeToken(w http.ResponseWriter, r *http.Request) error {
	id, err := param(r, "id")
	if err != nil {
		return err
	}
	if err := api.CheckTokenID(id); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), writeTimeout)
	defer cancel()
	index, err := h.Tokens.Revoke(ctx, id)
	setIndex(w, index)
	if err != nil {
		return err
	}
	web.NoContent(w)
	return nil
}
