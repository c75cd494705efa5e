package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/p2p"
)

// Peers are added one by one: an odd number of them votes, five at most. Then one is
// removed: it ends by itself, and its pins go to others.
func TestCluster_GrowsAndShrinks(t *testing.T) {
	peers := startCluster(t, 3)
	for n := 4; n <= 6; n++ {
		p := newPeer(t, fmt.Sprint("peer", n))
		p.mustJoin(peers[n%3].invite())
		p.start()
		peers = append(peers, p)
		waitTogether(t, peers) // it counts those that vote
	}

	leader, others := leaderOf(t, peers)
	gone, stay := others[0], append(others[1:], leader)
	content := map[api.Cid][]byte{}
	for range 5 {
		data := randomBytes(100 << 10)
		o := copies(2)
		o.UserAllocations = []api.PeerID{gone.id, others[1].id}
		content[leader.add(data, o)] = data
	}
	if n := heldBy(leader, gone); n != len(content) {
		t.Fatalf("%s holds %d pins, want %d", gone.name, n, len(content))
	}
	insist(t, others[2].http.RemovePeer, gone.id)
	if err := gone.endsByItself(); err == nil || !strings.Contains(err.Error(), "was removed from the cluster") {
		t.Errorf("%s ends with %v, want that it was removed", gone.name, err)
	}
	waitTogether(t, stay)
	eventually(t, patience, func() error {
		for c := range content {
			if err := settled(stay, leader, c, 2); err != nil {
				return err
			}
		}
		return nil
	})
	for c, data := range content {
		readable(t, stay, c, data)
	}
	if err := leader.http.RemovePeer(t.Context(), gone.id); code(err) != http.StatusNotFound {
		t.Errorf("removing it again: %v, want status 404", err)
	}
}

// Peers are restarted one by one at other addresses, the leader among them, until no
// address is what it was. They find each other every time.
func TestCluster_PeersMove(t *testing.T) {
	peers := startCluster(t, 3)
	content := randomBytes(300 << 10)
	o := copies(1)
	o.UserAllocations = []api.PeerID{peers[0].id}
	c := peers[0].add(content, o)
	for _, p := range peers {
		p.stop()
		p.move()
		p.start()
		waitTogether(t, peers)
		p.pin(randomCid(), copies(2))
	}
	waitEqual(t, peers)
	readable(t, peers, c, content)
}

// A token lets one peer in, until it ends, if it is whole; the secret alone does so
// only where the operator said so.
func TestD15_JoinTakesAToken(t *testing.T) {
	first := startCluster(t, 1)[0]
	token := first.invite()
	refuse := func(name string, p *testPeer, err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error about %q", name, err, want)
		}
		if there, err := p.dir.initialised(); err != nil || there {
			t.Errorf("%s: the directory counts as initialised: %t, %v", name, there, err)
		}
	}

	stranger := newPeer(t, "stranger")
	for name, damaged := range map[string]string{
		"cut":     token[:len(token)/2],
		"longer":  token + "a",
		"empty":   "",
		"no text": "not a token",
	} {
		refuse(name, stranger, stranger.join(damaged), "token")
	}
	parsed, err := p2p.ParseToken(token)
	if err != nil {
		t.Fatal(err)
	}
	reissue := func(change func(*p2p.Token)) string {
		t.Helper()
		changed := parsed
		change(&changed)
		text, err := changed.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	ended := time.Now().Add(-time.Minute)
	credential, err := p2p.NewCredential(first.daemon.cluster.get().Private, ended)
	if err != nil {
		t.Fatal(err)
	}
	refuse("ended", stranger, stranger.join(reissue(func(t *p2p.Token) { t.Expires = ended })), "it ended")
	refuse("ended, with another date on it", stranger, stranger.join(reissue(func(t *p2p.Token) { t.Credential = credential })), "cannot be used")
	refuse("forged", stranger, stranger.join(reissue(func(t *p2p.Token) {
		t.Credential = append([]byte(nil), t.Credential...)
		t.Credential[len(t.Credential)-1] ^= 1
	})), "cannot be used")
	refuse("another swarm's", stranger, stranger.join(reissue(func(t *p2p.Token) { t.Secret = p2p.NewSecret() })), "")

	secret, err := first.daemon.c.Cluster.Host.Secret.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	stranger.settings["SECRET"] = string(secret)
	bySecret := func(at, p *testPeer) error {
		addr := at.daemon.host.Addrs()[0].String()
		return joinBySecret(t.Context(), p.dir, addr, p.environ(), io.Discard, quiet)
	}
	refuse("with the secret alone", stranger, bySecret(first, stranger), "joining takes a token")
	if self, err := first.self(); err != nil || len(self.ClusterPeers) != 1 {
		t.Fatalf("peers are %v (%v), want the first alone", self.ClusterPeers, err)
	}

	delete(stranger.settings, "SECRET")
	stranger.mustJoin(token)
	stranger.start()
	other := newPeer(t, "other")
	refuse("used", other, other.join(token), "was used by another peer")

	first.stop()
	first.settings["JOINPOLICY"] = "secret"
	first.start()
	waitTogether(t, []*testPeer{first, stranger})
	other.settings["SECRET"] = string(secret)
	eventually(t, patience, func() error {
		if leader, ok := first.daemon.cons.Leader(); !ok || leader != first.id {
			return errors.New("the peer with the policy does not lead")
		}
		return nil
	})
	if err := bySecret(first, other); err != nil {
		t.Fatal(err)
	}
	other.readID()
	other.start()
	waitTogether(t, []*testPeer{first, stranger, other})
}

// The leader is removed while others write: each of its pins ends with as many copies
// as it should have, on the peers that stay.
func TestCluster_RemovedLeadersPinsArePlacedAnew(t *testing.T) {
	peers := startCluster(t, 4)
	leader, others := leaderOf(t, peers)
	added := &struct {
		sync.Mutex
		cids map[api.Cid]bool
	}{cids: map[api.Cid]bool{}}
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	defer func() { stop(); writers.Wait() }()
	for _, p := range others[:2] {
		writers.Go(func() {
			for ctx.Err() == nil {
				// Adds to the peer that goes may fail; what is acknowledged counts.
				if c, err := p.tryAdd(randomBytes(10<<10), copies(2)); err == nil {
					added.Lock()
					added.cids[c] = true
					added.Unlock()
				}
			}
		})
	}
	reach := func(n int) {
		t.Helper()
		eventually(t, patience, func() error {
			added.Lock()
			defer added.Unlock()
			if len(added.cids) < n {
				return fmt.Errorf("%d adds are done, want %d", len(added.cids), n)
			}
			return nil
		})
	}
	reach(60)
	if heldBy(others[0], leader) == 0 {
		t.Fatal("the leader holds nothing")
	}
	insist(t, others[2].http.RemovePeer, leader.id)
	added.Lock()
	before := len(added.cids)
	added.Unlock()
	reach(before + 30)
	stop()
	writers.Wait()
	if err := leader.endsByItself(); err == nil || !strings.Contains(err.Error(), "was removed from the cluster") {
		t.Errorf("%s ends with %v, want that it was removed", leader.name, err)
	}
	waitTogether(t, others)
	eventually(t, patience, func() error {
		for c := range others[0].pinset() {
			if err := settled(others, others[0], c, 2); err != nil {
				return err
			}
		}
		return nil
	})
	now := others[0].pinset()
	for c := range added.cids {
		if _, there := now[c]; !there {
			t.Errorf("%s was acknowledged, and is not in the pinset", c)
		}
	}
	for _, p := range others { // any peer tells
		if s, err := p.http.Repair(t.Context()); err != nil || !s.Running || s.Below != 0 || s.Cause != "" {
			t.Errorf("repair, as %s tells it: %+v, %v", p.name, s, err)
		}
	}
}

// A peer is given a pin as soon as it has started, though metrics are far between.
func TestCluster_JoinerIsGivenPinsAtOnce(t *testing.T) {
	peers := startCluster(t, 2, "MONITORPINGINTERVAL=30s", "REPAIRGRACE=1h", "SETTLETIME=15s")
	leader, _ := leaderOf(t, peers)
	eventually(t, patience, func() error { // the peers' own start is over
		_, err := leader.tryAdd(randomBytes(1000), copies(2))
		return err
	})
	joiner := newPeer(t, "joiner", "MONITORPINGINTERVAL=30s")
	joiner.mustJoin(leader.invite())
	joiner.start()
	start := time.Now()
	o := copies(1)
	o.UserAllocations = []api.PeerID{joiner.id}
	if pin := leader.pin(randomCid(), o); len(pin.Allocations) != 1 || pin.Allocations[0] != joiner.id {
		t.Errorf("the pin is on %v, not on the joiner", pin.Allocations)
	}
	c := leader.add(randomBytes(1000), copies(3))
	t.Logf("pin and add took %s", time.Since(start))
	if pin, err := leader.http.Allocation(t.Context(), c); err != nil || len(pin.Allocations) != 3 {
		t.Errorf("the add is on %v, %v", pin.Allocations, err)
	}
}
