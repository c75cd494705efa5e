package main

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/pinfold-cluster/pinfold/api/client"
	"github.com/pinfold-cluster/pinfold/p2p"
)

// A follow link holds the swarm's secret: it is not made where that makes members, and
// once it was made the secret makes none, also where a peer's settings say so later.
func TestFollowLink_AndJoiningBySecretExcludeEachOther(t *testing.T) {
	peers := startCluster(t, 2)
	first, second := peers[0], peers[1]
	answer, err := first.http.FollowLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	link, err := p2p.ParseLink(answer.Link)
	if err != nil {
		t.Fatal(err)
	}
	document, err := json.Marshal(answer.Document)
	if err != nil {
		t.Fatal(err)
	}
	if same, err := p2p.ParseLink(string(document)); err != nil || same.Incarnation != link.Incarnation || !slices.Equal(same.Secret, link.Secret) {
		t.Errorf("the document says %+v %v, the link %+v", same, err, link)
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(document, &keys); err != nil {
		t.Fatal(err)
	}
	if got, want := slices.Sorted(maps.Keys(keys)), []string{"addresses", "incarnation", "name", "pinfold_follow", "public_key", "secret", "settings"}; !slices.Equal(got, want) {
		t.Errorf("the document tells %v, want %v: is what is new for anybody's eyes?", got, want)
	}
	members, err := link.Peers()
	if err != nil || len(members) != 2 || link.Name != "test" || link.Hold != "all" {
		t.Errorf("got %+v %v, want the addresses of both peers", link, err)
	}
	// The same link as a token: it lets nobody in.
	stranger := newPeer(t, "stranger")
	secret, err := link.Secret.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	stranger.settings["SECRET"] = string(secret)
	for _, p := range peers {
		p.stop()
		p.settings["JOINPOLICY"] = "secret"
		p.start()
	}
	waitTogether(t, peers)
	addr := first.daemon.host.Addrs()[0].String()
	eventually(t, patience, func() error {
		err := joinBySecret(t.Context(), stranger.dir, addr, stranger.environ(), io.Discard, quiet)
		if err == nil {
			t.Fatal("the secret of a follow link made a member")
		}
		if !strings.Contains(err.Error(), "a follow link of this cluster was made") {
			return err // no leader yet
		}
		return nil
	})
	overLibp2p, err := client.New(first.settings["LISTENMULTIADDRESS"]+"/p2p/"+first.id.String(), client.Options{Secret: link.Secret})
	if err != nil {
		t.Fatal(err)
	}
	defer overLibp2p.Close()
	if _, err := overLibp2p.Invite(t.Context(), 0); code(err) != http.StatusForbidden {
		t.Errorf("the secret of a follow link invites: %v", err)
	}
	if _, err := second.http.FollowLink(t.Context()); code(err) != http.StatusConflict || !strings.Contains(err.Error(), "join_policy") {
		t.Errorf("a link where the secret makes members: %v", err)
	}
}

func TestFollowLink_NoneWhereNoFollowersAreServed(t *testing.T) {
	peers := startCluster(t, 1, "FOLLOWERS_DISABLE=true")
	if _, err := peers[0].http.FollowLink(t.Context()); code(err) != http.StatusConflict || !strings.Contains(err.Error(), "followers.disable") {
		t.Errorf("got %v", err)
	}
}
