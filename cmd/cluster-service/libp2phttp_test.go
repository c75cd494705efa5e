package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/libp2p/go-libp2p/core/crypto"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/client"
	"github.com/pinfold-cluster/pinfold/p2p"
)

// The API is on the cluster host, for who knows the secret; that alone changes nothing.
func TestDaemon_HTTPOverLibp2p(t *testing.T) {
	p := startCluster(t, 1)[0]
	ask := func(addr string, o client.Options) *client.Client {
		c, err := client.New(addr, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	cluster := p.settings["LISTENMULTIADDRESS"] + "/p2p/" + p.id.String()
	secret := client.Options{Secret: p.daemon.c.Cluster.Host.Secret}
	if id, err := ask(cluster, secret).ID(t.Context()); err != nil || id.ID != p.id {
		t.Fatalf("got %s %v", id.ID, err)
	}
	if _, err := ask(cluster, client.Options{}).ID(t.Context()); err == nil || errors.As(err, new(*api.Error)) {
		t.Errorf("without the secret: %v", err)
	}
	if _, err := ask(cluster, secret).Invite(t.Context(), 0); code(err) != http.StatusForbidden {
		t.Errorf("the secret alone invites: %v", err)
	}
	p.stop()
	id, err := p2p.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	key, err := crypto.MarshalPrivateKey(id.Key)
	if err != nil {
		t.Fatal(err)
	}
	own := fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", testPort(t))
	p.settings["RESTAPI_LIBP2PLISTENMULTIADDRESS"] = own
	p.settings["RESTAPI_ID"], p.settings["RESTAPI_PRIVATEKEY"] = id.ID.String(), base64.StdEncoding.EncodeToString(key)
	p.settings["RESTAPI_BASICAUTHCREDENTIALS"] = "ann:secret"
	p.http.Close()
	p.http = ask(p.url, client.Options{Username: "ann", Password: "secret"})
	p.start()
	waitTogether(t, []*testPeer{p})
	own += "/p2p/" + id.ID.String()
	if _, err := ask(own, client.Options{}).ID(t.Context()); code(err) != http.StatusUnauthorized {
		t.Errorf("without credentials: %v", err)
	}
	if _, err := ask(own, client.Options{Username: "ann", Password: "secret"}).Invite(t.Context(), 0); err != nil {
		t.Error(err)
	}
	if _, err := ask(cluster, client.Options{Secret: secret.Secret, Username: "ann", Password: "secret"}).ID(t.Context()); err == nil {
		t.Error("it is on the cluster host, too")
	}
}
