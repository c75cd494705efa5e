package sim

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/p2p"
)

// A clockWorld is a few followers of one full peer or of three.
type clockWorld struct {
	*testing.T
	c         *Cluster
	followers []*Follower
}

// withClocks runs the test with one full peer and with three.
func withClocks(t *testing.T, test func(w *clockWorld)) {
	for name, members := range map[string]int{"one member": 1, "three members": voters} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) { test(newClockWorld(t, dir, members)) })
		})
	}
}

func newClockWorld(t *testing.T, dir string, members int) *clockWorld {
	c, err := NewCluster(New(), dir, 8)
	check(t, err)
	t.Cleanup(func() { check(t, c.Close()) })
	w := &clockWorld{T: t, c: c}
	for _, v := range c.Voters[members:] { // it is there for nobody
		for _, other := range c.Voters {
			c.Net.Cut(v.ID(), other.ID(), true)
		}
	}
	c.addrs = c.addrs[:members]
	check(t, c.Pin(20))
	for range 3 {
		f, err := c.Follower()
		check(t, err)
		check(t, f.Enter())
		t.Cleanup(func() { check(t, f.Leave()) })
		w.followers = append(w.followers, f)
	}
	time.Sleep(30 * time.Second)
	w.stayCurrent("before", 0)
	return w
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// beacon is what the leader says of where the log ends, by a clock that is ahead.
func (w *clockWorld) beacon(ahead time.Duration) []byte {
	w.Helper()
	leader := w.c.Voters[0]
	d := leader.State.Digest()
	body, err := api.Encode([]any{d.Index, d.Pins[:], time.Now().Add(ahead).UnixMilli()}) // as in feed/wire.go
	check(w.T, err)
	raw, err := leader.sign("feed beacon 1", body)
	check(w.T, err)
	return raw
}

// stayCurrent checks every second that the followers take what they have for the newest.
func (w *clockWorld) stayCurrent(when string, d time.Duration) {
	w.Helper()
	for end := time.Now().Add(d); ; time.Sleep(time.Second) {
		for i, f := range w.followers {
			if s := f.Feed.Status(); !s.Current(time.Now(), 30*time.Second) {
				w.Fatalf("%s: follower %d stands at %d of %d, was told of a time %v ahead, %v ago", when, i, s.Index, s.Latest,
					time.Until(s.Told).Round(time.Second), time.Since(s.Heard).Round(time.Second))
			}
		}
		if !time.Now().Before(end) {
			return
		}
	}
}

// The leader's clock was an hour fast for a few beacons, and is right again.
func TestFollowers_StayCurrentWhereTheLeadersClockWasFastOnce(t *testing.T) {
	withClocks(t, func(w *clockWorld) {
		for range 3 {
			check(w.T, w.c.Voters[0].Publish(w.Context(), w.beacon(time.Hour)))
			w.stayCurrent("meanwhile", time.Second)
		}
		w.stayCurrent("later", 3*time.Minute)
		check(w.T, w.c.Pin(1))
		w.stayCurrent("once there is news", 20*time.Second)
	})
}

// The leader's clock runs an hour fast, so that followers know of nothing new by their own,
// and is set back.
func TestFollowers_AreCurrentOnceTheLeadersClockIsSetBack(t *testing.T) {
	withClocks(t, func(w *clockWorld) {
		leader := w.c.Voters[0]
		leader.silent.Store(true)
		for range 12 {
			check(w.T, leader.Publish(w.Context(), w.beacon(time.Hour)))
			time.Sleep(5 * time.Second)
		}
		for i, f := range w.followers {
			if s := f.Feed.Status(); time.Since(s.Heard) > 10*time.Second {
				w.Errorf("follower %d has heard nothing of a clock that is fast for %v", i, time.Since(s.Heard))
			}
		}
		leader.silent.Store(false)
		time.Sleep(10 * time.Second)
		w.stayCurrent("once it is right", 2*time.Minute)
		check(w.T, w.c.Pin(1))
		w.stayCurrent("once there is news", 20*time.Second)
	})
}

// A guest keeps what a leader signed whose clock was fast, and has it go round again and
// again, also when its time has come.
func TestFollowers_AreNotMutedByReplays(t *testing.T) {
	withClocks(t, func(w *clockWorld) {
		const ahead, many = 2 * time.Minute, 30
		guest := w.guest()
		var fast [][]byte
		for i := range many {
			fast = append(fast, w.beacon(ahead+time.Duration(i)*time.Second))
		}
		check(w.T, w.c.Pin(1))
		w.stayCurrent("at first", time.Second)
		for now := range int(ahead.Seconds()) + 2*many {
			for i, raw := range fast {
				if due := int(ahead.Seconds()) + i; now == due-20 || now%130 == i { // gossip knows none for longer
					check(w.T, guest.Publish(w.Context(), raw))
				}
			}
			w.stayCurrent("while there are replays", time.Second)
		}
		w.stayCurrent("after that", 30*time.Second)
		for _, f := range w.followers {
			check(w.T, f.Is())
		}
	})
}

// guest is somebody who has a place at the leader and says what it likes.
func (w *clockWorld) guest() *Peer {
	w.Helper()
	id, err := p2p.NewIdentity()
	check(w.T, err)
	p, err := w.c.Net.Peer(id, &w.c.members, followerPlaces)
	check(w.T, err)
	check(w.T, p.Join(func(api.PeerID, []byte) p2p.Verdict { return p2p.Forward }))
	stop, err := p.Relay()
	check(w.T, err)
	w.Cleanup(func() {
		stop()
		check(w.T, errors.Join(p.Leave(), p.Close()))
	})
	leader := w.c.Voters[0]
	check(w.T, p.Connect(w.Context(), w.c.addrs[0]))
	if !leader.Welcome(id.ID) || !p.Welcome(leader.ID()) {
		w.Fatal("the guest has no place")
	}
	time.Sleep(5 * time.Second)
	return p
}

// Package feed passes on whatever was signed within 30 s of the own clock: for that minute
// gossip itself has to know it again.
func TestGossip_KnowsMessagesForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, n := New(), 0
		members := Members{}
		var peers []*Peer
		for range 2 {
			id, err := p2p.NewIdentity()
			check(t, err)
			members[id.ID] = true
			p, err := w.Peer(id, &members, 8)
			check(t, err)
			check(t, p.Join(func(from api.PeerID, _ []byte) p2p.Verdict {
				if from != id.ID {
					n++
				}
				return p2p.Forward
			}))
			stop, err := p.Relay()
			check(t, err)
			defer func() { stop(); check(t, errors.Join(p.Leave(), p.Close())) }()
			peers = append(peers, p)
		}
		check(t, peers[0].Connect(t.Context(), peer.AddrInfo{ID: peers[1].ID(), Addrs: []api.Multiaddr{peers[1].node.addr}}))
		time.Sleep(5 * time.Second)
		for range 61 {
			check(t, peers[0].Publish(t.Context(), []byte("the same")))
			time.Sleep(time.Second)
		}
		if n != 1 {
			t.Errorf("a message was judged %d times", n)
		}
	})
}
