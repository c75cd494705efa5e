package main

import (
	"encoding/base64"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/crypto"

	"github.com/pinfold-cluster/pinfold/p2p"
)

func TestInit_IdentityFromTheEnvironment(t *testing.T) {
	variables := func() (id p2p.Identity, environ []string) {
		t.Helper()
		id, err := p2p.NewIdentity()
		if err != nil {
			t.Fatal(err)
		}
		raw, err := crypto.MarshalPrivateKey(id.Key)
		if err != nil {
			t.Fatal(err)
		}
		return id, []string{"CLUSTER_ID=" + id.ID.String(), "CLUSTER_PRIVATEKEY=" + base64.StdEncoding.EncodeToString(raw)}
	}
	one, environ := variables()
	_, other := variables()
	d := directory(t.TempDir())
	for name, wrong := range map[string][]string{
		"set both":            environ[1:],
		"but the private key": {environ[0], other[1]},
		"private key":         {environ[0], "CLUSTER_PRIVATEKEY=x"},
	} {
		if err := initCluster(d, "test", "", wrong, io.Discard, quiet); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("init with %d of the variables: %v, want an error with %q", len(wrong), err, name)
		}
		if _, err := os.Stat(d.identity()); err == nil {
			t.Fatalf("init that failed (%s) has made an identity", name)
		}
	}
	if err := initCluster(d, "test", "", environ, io.Discard, quiet); err != nil {
		t.Fatal(err)
	}
	ids, err := d.loadIdentities()
	if err != nil || ids.cluster.ID != one.ID {
		t.Fatalf("the peer is %s, %v, want %s", ids.cluster.ID, err, one.ID)
	}
	if err := d.adoptIdentity(environ); err != nil {
		t.Errorf("its own identity at a later start: %v", err)
	}
	if err := d.adoptIdentity(other); err == nil || !strings.Contains(err.Error(), one.ID.String()) {
		t.Errorf("another's identity: %v, want an error that names the peer", err)
	}
}
