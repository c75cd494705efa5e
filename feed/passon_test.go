package feed

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/p2p"
)

// Followers pass on what members sign and nothing else, and leave who sends them such.
func TestFollower_PassesOnWhatMembersSignAlone(t *testing.T) {
	w := newWorld(t, 1)
	w.pin(0, 20)
	f := w.follow(FollowerOptions{})
	w.same(f)
	i := w.intrude()
	body, err := beacon{index: w.index, digest: w.digests[w.index], time: time.Now().Add(time.Minute)}.encode()
	check(t, err)
	signed := func(raw []byte, err error) []byte {
		t.Helper()
		check(t, err)
		return raw
	}
	for _, m := range []struct {
		what string
		raw  []byte
		want p2p.Verdict
	}{
		{"noise", []byte("noise"), p2p.Reject},
		{"a member's certificate, and another signature", signed(p2p.SignStatement(i.id, *w.members[0].cert.Load(), kindBeacon, body)), p2p.Reject},
		{"what members say elsewhere", signed(w.members[0].sign(kindRoot, body)), p2p.Reject},
		{"a beacon", signed(w.members[0].sign(kindBeacon, body)), p2p.Forward},
		{"the same again", signed(w.members[0].sign(kindBeacon, body)), p2p.Ignore},
	} {
		if got := f.valid(i.ID(), m.raw); got != m.want {
			t.Errorf("%s: %v, want %v", m.what, got, m.want)
		}
	}

	i.greet(t, f.host)
	if !i.Welcome(f.host.ID()) {
		t.Fatal("the follower is not to be heard")
	}
	check(t, i.Join(func(api.PeerID, []byte) p2p.Verdict { return p2p.Forward }))
	eventually(t, "the follower listens", func() bool { return i.Readers() > 0 })
	eventually(t, "it is sent away", func() bool {
		noise := make([]byte, 1000)
		rand.Read(noise)
		check(t, i.Publish(t.Context(), noise))
		return len(i.Connected()) == 0
	})
	w.pin(20, 30)
	w.same(f)
}
