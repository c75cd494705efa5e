package feed

import (
	"net"
	"testing"
	"time"

	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/pinfold-cluster/pinfold/api"
)

// Any number of names told of at one address aim no follower at who is there.
func TestFollower_LeavesAVictimAlone(t *testing.T) {
	// An address of its own, which loopback gives to whoever asks for it.
	l, err := net.Listen("tcp", "127.0.0.9:0")
	check(t, err)
	t.Cleanup(func() { l.Close() })
	victim, err := manet.FromNetAddr(l.Addr())
	check(t, err)
	w := newWorld(t, 1)
	for range maxNeighbour {
		id := identity(t).ID
		w.members[0].pub.met.add(Peer{ID: id, From: string(id), Addrs: []api.Multiaddr{victim}})
	}
	w.pin(0, 1)
	f := w.follow(FollowerOptions{})
	w.same(f)
	called, tcp := 0, l.(*net.TCPListener)
	check(t, tcp.SetDeadline(time.Now().Add(time.Minute)))
	for {
		c, err := l.Accept()
		if err != nil {
			break
		}
		if called++; called == 1 { // the others come soon
			check(t, tcp.SetDeadline(time.Now().Add(4*time.Second)))
		}
		c.Close()
	}
	if most := maxMisses + f.callsAlone(); called == 0 || called > most {
		t.Errorf("somebody at an address that was told is called %d times, want %d at most", called, most)
	}
}
