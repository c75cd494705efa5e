package main

import (
	"context"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
)

// tokens makes the tokens of the doors' users, which all full peers take, and revokes
// them on all.
type tokens struct {
	web.Tokens
	*membership
}

// openTokens makes what the doors know tokens by.
func (p *Daemon) openTokens() {
	p.tokens = tokens{web.Tokens{Key: p.cluster.tokenKey, Revoked: p.revoked}, p.members}
	p.c.API.REST.Tokens, p.c.API.PinSvc.Tokens = p.tokens.Tokens, p.tokens.Tokens
}

func (p *Daemon) revoked(id string) bool {
	credential, err := api.RevokedToken(id)
	return err == nil && p.state.Used(credential) // what is no ID of ours cannot have been revoked
}

// New makes a token.
func (t tokens) New(user, password string, scope api.Scope, life time.Duration) (api.Token, error) {
	return t.Tokens.New(user, password, scope, life, time.Now())
}

// Revoke uses up the credential that stands for a token, for as long as one with its ID
// can be good.
func (t tokens) Revoke(ctx context.Context, id string) (uint64, error) {
	credential, err := api.RevokedToken(id)
	if err != nil {
		return 0, err
	}
	leader, err := t.cons.WaitLeader(ctx)
	if err != nil {
		return 0, err
	}
	if leader != t.ids.cluster.ID {
		index, err := t.calls.Revoke(ctx, leader, id)
		if err != nil {
			return 0, err
		}
		return index, t.cons.WaitApplied(ctx, index)
	}
	if _, err := t.cons.Ready(ctx); err != nil {
		return 0, err
	}
	now := time.Now()
	out, err := t.cons.Commit(ctx, []api.Op{{Type: api.OpRevoke, Credential: credential,
		Expires: now.Add(api.MaxTokenLife).Unix(), Time: now.Unix()}})
	if err != nil {
		return 0, err
	}
	t.log.Info("token revoked", "id", id)
	return out[0].Index, nil
}
