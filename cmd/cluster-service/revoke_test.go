package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/feed"
	"github.com/pinfold-cluster/pinfold/p2p"
)

// A thief has what was on the disk of a peer: the cluster's key as it was then.
type thief struct {
	t       *testing.T
	cluster *p2p.Cluster
	secret  p2p.Secret
}

func (p *testPeer) robbed() thief {
	p.t.Helper()
	c, err := p2p.LoadCluster(p.dir.cluster())
	if err != nil {
		p.t.Fatal(err)
	}
	return thief{p.t, c, p.secret()}
}

// secret is the swarm's.
func (p *testPeer) secret() p2p.Secret {
	p.t.Helper()
	token, err := p2p.ParseToken(p.invite())
	if err != nil {
		p.t.Fatal(err)
	}
	return token.Secret
}

// identity is a fresh one that the thief has certified.
func (f thief) identity() (p2p.Identity, *p2p.Cluster) {
	f.t.Helper()
	id, err := p2p.NewIdentity()
	if err != nil {
		f.t.Fatal(err)
	}
	c := *f.cluster
	if c.Certificate, err = c.Certify(id.ID, id.ID); err != nil {
		f.t.Fatal(err)
	}
	return id, &c
}

// host is that of a peer which shows what the thief certified.
func (f thief) host() *p2p.Host {
	f.t.Helper()
	id, c := f.identity()
	h, err := p2p.NewHost(id, c, p2p.Roster{}, p2p.Options{Secret: f.secret, Listen: []api.Multiaddr{multiaddr.StringCast("/ip4/127.0.0.1/tcp/0")}}, quiet)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { h.Close() })
	return h
}

// takenFor tells whether a peer takes the host for a member's.
func takenFor(t *testing.T, h *p2p.Host, addrs []api.Multiaddr) bool {
	t.Helper()
	infos, err := peer.AddrInfosFromP2pAddrs(addrs...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := h.Connect(ctx, infos[0]); err != nil {
		return false
	}
	c, err := h.Dial(ctx, infos[0].ID, "/pinfold/raft/1")
	if err != nil {
		return false
	}
	defer c.Close()
	// Who is refused has its stream reset; a member's waits for what it says.
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, err = c.Read(make([]byte, 1))
	var late interface{ Timeout() bool }
	return errors.As(err, &late) && late.Timeout()
}

// tells tells whether a private key is in data, in one of the forms that one finds it in.
func tells(data []byte, private ed25519.PrivateKey) bool {
	// The length of what goes before decides how base64 cuts it; files here begin it anew.
	return bytes.Contains(data, private.Seed()) || bytes.Contains(data, []byte(base64.StdEncoding.EncodeToString(private))) ||
		bytes.Contains(data, fmt.Appendf(nil, "%x", private.Seed()))
}

// contains names a file below dir that tells a private key, "" for none.
func contains(t *testing.T, dir string, private ed25519.PrivateKey) (found string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil && tells(data, private) {
			found = path
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// A peer is taken over, and removed with --revoke: what it knows opens nothing any more.
// Who was away meanwhile comes back by itself.
func TestRevoke_RemovedPeersKeyIsWorthNothing(t *testing.T) {
	peers := startCluster(t, 4)
	leader, others := leaderOf(t, peers)
	gone, away, stay := others[0], others[1], others[2]
	stolen := gone.robbed()
	invitation := stay.invite()
	tokens, err := leader.daemon.cluster.tokenKey()
	if err != nil {
		t.Fatal(err)
	}
	before := stolen.host()
	if !takenFor(t, before, leader.daemon.host.Addrs()) {
		t.Fatal("what the thief certifies is not taken for a member before either")
	}
	away.stop()

	insist(t, stay.http.RevokePeer, gone.id)
	if err := gone.endsByItself(); err == nil || !strings.Contains(err.Error(), "was removed from the cluster") {
		t.Errorf("%s ends with %v, want that it was removed", gone.name, err)
	}
	goOn := []*testPeer{leader, stay}
	renewed := haveNewKey(t, goOn, 0)
	for _, p := range goOn {
		if key, err := p.daemon.cluster.tokenKey(); err != nil || bytes.Equal(key, tokens) {
			t.Errorf("%s takes tokens that the removed peer could have made (%v)", p.name, err)
		}
		if takenFor(t, before, p.daemon.host.Addrs()) || takenFor(t, stolen.host(), p.daemon.host.Addrs()) {
			t.Errorf("%s takes a peer for a member that the removed one certified", p.name)
		}
	}
	if c, err := p2p.LoadCluster(gone.dir.cluster()); err != nil || c.Number() != 0 {
		t.Errorf("the removed peer has key %d of the cluster, %v", c.Number(), err)
	}
	private := leader.daemon.cluster.get().Private
	for _, dir := range []directory{gone.dir, away.dir} {
		if file := contains(t, string(dir), private); file != "" {
			t.Errorf("the new key is in %s", file)
		}
	}

	joiner := newPeer(t, "joiner")
	if err := joiner.join(invitation); err == nil || !strings.Contains(err.Error(), "with --revoke are void") {
		t.Errorf("an invitation of before: %v", err)
	}
	forged, err := p2p.ParseToken(stay.invite())
	if err != nil {
		t.Fatal(err)
	}
	if forged.Credential, err = p2p.NewCredential(stolen.cluster.Private, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	text, err := forged.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := joiner.join(text); err == nil || !strings.Contains(err.Error(), "cannot be used") {
		t.Errorf("an invitation that the thief signed: %v", err)
	}
	joiner.mustJoin(stay.invite())
	joiner.start()
	goOn = append(goOn, joiner)
	away.start()
	goOn = append(goOn, away)
	waitTogether(t, goOn)
	eventually(t, patience, func() error {
		for _, p := range goOn {
			members, err := p.daemon.state.Members()
			if err != nil {
				return err
			}
			for _, m := range members {
				if !p.daemon.members.certified(m) {
					return fmt.Errorf("%s has an old certificate of %s", p.name, m.Name)
				}
			}
		}
		return nil
	})
	content := randomBytes(50 << 10)
	readable(t, goOn, away.add(content, copies(4)), content)

	away.stop() // now it has the key, and keeps it
	away.start()
	waitTogether(t, goOn)
	if file := contains(t, string(away.dir), private); file == "" {
		t.Error("who was away has no new key")
	}
	insist(t, away.http.RevokePeer, gone.id) // again, for one that is removed
	haveNewKey(t, goOn, renewed)
	waitTogether(t, goOn)
	for _, p := range goOn {
		log, err := os.ReadFile(p.logPath)
		if err != nil {
			t.Fatal(err)
		}
		if tells(log, private) {
			t.Errorf("the log of %s tells the cluster's key", p.name)
		}
	}
}

// haveNewKey waits until all peers go by one key with a number above that, and tells it.
func haveNewKey(t *testing.T, peers []*testPeer, above uint64) (number uint64) {
	t.Helper()
	eventually(t, patience, func() error {
		number = peers[0].daemon.cluster.get().Number()
		for _, p := range peers {
			if n := p.daemon.cluster.get().Number(); n <= above || n != number {
				return fmt.Errorf("%s goes by key %d", p.name, n)
			}
		}
		return nil
	})
	return number
}

// asks has the thief ask a follower for what followers tell members alone.
func (f thief) asks(v *volunteer, name string) error {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	self, err := v.http(name).ID(ctx)
	if err != nil {
		f.t.Fatal(err)
	}
	infos, err := peer.AddrInfosFromP2pAddrs(self.Addresses...)
	if err != nil {
		f.t.Fatal(err)
	}
	h := f.host()
	if err := h.Connect(ctx, infos[0]); err != nil {
		f.t.Fatal(err)
	}
	_, err = feed.NewPublisher(feed.Over(h), nil, nil, nil, feed.PublisherOptions{}, quiet).Report(ctx, infos[0].ID)
	return err
}

// A peer is removed with --revoke: a follower goes on, over restarts and with a new link,
// and what the removed peer knew makes nobody a member for it.
func TestRevoke_FollowersGoOn(t *testing.T) {
	peers := spawnCluster(t, 3)
	leader, others := leaderOf(t, peers)
	gone, stay := others[0], others[1]
	v := newVolunteer(t)
	link := leader.followLink()
	v.start("archive", link)
	pins := []api.Cid{leader.add(randomBytes(50<<10), copies(-1))}
	holds := func(when string) {
		t.Helper()
		eventually(t, patience, func() error {
			if err := v.holdsAll("archive", leader, pins...); err != nil {
				return fmt.Errorf("%s: %w", when, err)
			}
			return nil
		})
	}
	holds("before")
	stolen := gone.robbed()
	if err := stolen.asks(v, "archive"); err != nil {
		t.Fatalf("the thief is taken for no member before either: %v", err)
	}

	insist(t, stay.http.RevokePeer, gone.id)
	if err := gone.endsByItself(); err == nil {
		t.Error("the removed peer ends without an error")
	}
	pins = append(pins, stay.add(randomBytes(50<<10), copies(-1)))
	holds("after the revoke")
	if err := stolen.asks(v, "archive"); api.KindOf(err) != api.Denied {
		t.Errorf("the thief asks as a member: %v", err)
	}
	v.stop()
	pins = append(pins, leader.add(randomBytes(50<<10), copies(-1)))
	v.start("archive", link) // the first
	holds("after a restart")
	if err := stolen.asks(v, "archive"); api.KindOf(err) != api.Denied {
		t.Errorf("after a restart the thief asks as a member: %v", err)
	}
	v.stop()
	pins = append(pins, leader.add(randomBytes(50<<10), copies(-1)))
	v.start("archive", leader.followLink())
	holds("with a new link")
	if s := v.mustSay("archive"); strings.Contains(s, "STOPPED") {
		t.Errorf("the follower says:\n%s", s)
	}
}

// The leader is gone after a peer is removed and before the key is renewed: the next one
// renews it, and who led comes back under it.
func TestRevoke_GoesOnWithoutTheLeader(t *testing.T) {
	peers := startCluster(t, 4)
	leader, others := leaderOf(t, peers)
	i := slices.IndexFunc(others, func(p *testPeer) bool { return leader.daemon.cons.Role(p.id) == "non-voter" })
	gone, stay := others[i], slices.Delete(slices.Clone(others), i, i+1)
	v := newVolunteer(t)
	v.start("archive", leader.followLink())
	pins := []api.Cid{leader.add(randomBytes(50<<10), copies(-1))}
	holds := func() {
		t.Helper()
		eventually(t, patience, func() error { return v.holdsAll("archive", stay[0], pins...) })
	}
	holds()
	eventually(t, patience, func() error { // it may lose its place for a moment
		err := leader.daemon.cons.RemoveMember(t.Context(), gone.id, true)
		if api.KindOf(err) == api.NotFound {
			return nil
		}
		return err
	})
	leader.stop()
	if err := gone.endsByItself(); err == nil || !strings.Contains(err.Error(), "was removed from the cluster") {
		t.Errorf("%s ends with %v, want that it was removed", gone.name, err)
	}
	haveNewKey(t, stay, 0)
	pins = append(pins, stay[1].add(randomBytes(50<<10), copies(-1)))
	holds()
	leader.start()
	all := append(stay, leader)
	waitTogether(t, all)
	haveNewKey(t, all, 0)
}

// The leader is asked to remove itself, with --revoke: it hands over, and the next one does.
func TestRevoke_OfTheLeaderByItself(t *testing.T) {
	peers := startCluster(t, 3)
	leader, stay := leaderOf(t, peers)
	switch err := leader.http.RevokePeer(t.Context(), leader.id); code(err) {
	case http.StatusServiceUnavailable, http.StatusGatewayTimeout: // nobody knows whether it is removed
		insist(t, stay[0].http.RevokePeer, leader.id)
	default:
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := leader.endsByItself(); err == nil || !strings.Contains(err.Error(), "was removed from the cluster") {
		t.Errorf("%s ends with %v, want that it was removed", leader.name, err)
	}
	haveNewKey(t, stay, 0)
	waitTogether(t, stay)
}
