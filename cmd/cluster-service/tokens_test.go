package main

import (
	"net/http"
	"testing"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/client"
)

// A token made on one peer is taken by another, until it is revoked: then by none.
func TestD14_RevokedTokenIsTakenByNoPeer(t *testing.T) {
	peers := startCluster(t, 2)
	as := func(o client.Options, p *testPeer) *client.Client {
		c, err := client.New(p.url, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	ann := client.Options{Username: "ann", Password: "secret"}
	for _, p := range peers {
		p.stop()
		p.settings["RESTAPI_BASICAUTHCREDENTIALS"] = "ann:secret"
		p.http.Close()
		p.http = as(ann, p)
		p.start()
	}
	waitTogether(t, peers)
	var made [2]api.Token
	for i := range made {
		var err error
		if made[i], err = as(ann, peers[i]).NewToken(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
	}
	taken := func(p *testPeer, token api.Token) bool {
		_, err := as(client.Options{Token: token.Token}, p).Version(t.Context())
		if err != nil && code(err) != http.StatusUnauthorized {
			t.Errorf("%s: %v", p.name, err)
		}
		return err == nil
	}
	for _, p := range peers {
		for i, token := range made {
			if !taken(p, token) {
				t.Errorf("%s refuses the token that peer %d made", p.name, i)
			}
		}
	}
	leader, others := leaderOf(t, peers)
	if err := as(ann, others[0]).RevokeToken(t.Context(), made[0].ID); err != nil {
		t.Fatal(err)
	}
	if taken(others[0], made[0]) {
		t.Error("the peer that revoked a token takes it")
	}
	eventually(t, patience, func() error {
		if taken(leader, made[0]) {
			return api.Conflict.Errorf("another peer takes a revoked token")
		}
		return nil
	})
	if !taken(leader, made[1]) || !taken(others[0], made[1]) {
		t.Error("the other token is not taken any more")
	}
}
