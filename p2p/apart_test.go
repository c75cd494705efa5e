package p2p

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/protocol/identify"
)

// fill has peers open streams in turns until nobody gets one more, and returns how many each
// address has then, and each peer. A peer is named as its address, a slash and something.
func (c *crowd) fill(peers ...string) map[string]int {
	n := map[string]int{}
	for more := true; more; {
		more = false
		for _, p := range peers {
			address, _, _ := strings.Cut(p, "/")
			if c.enter(peer.ID(p), address) {
				more = true
				n[p]++
				n[address]++
			}
		}
	}
	return n
}

// peers are so many of an address.
func peers(address string, n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprint(address, "/", i))
	}
	return all
}

func TestCrowd_IsSharedByAddressAndPeer(t *testing.T) {
	const most = 2000
	var greedy []string
	for _, address := range []string{"a", "b", "c"} {
		greedy = append(greedy, peers(address, 50)...)
	}
	for _, test := range []struct {
		greedy, come []string
		left         int // for who comes, at least
	}{
		{peers("a", 1), []string{"b/new"}, strangerEach},
		{peers("a", 30), []string{"a/new"}, strangerEach / 2}, // followers behind one address
		{peers("a", connsPerAddress), []string{"a/new"}, 1},
		{peers("a", 500), peers("b", 100), most/8 - 1},
		{greedy, peers("d", 50), most / 16}, // before any of the others has gone
		{greedy, []string{"a/new"}, 1},
	} {
		c := newCrowd(most)
		has := c.fill(test.greedy...)
		for p, n := range has {
			if strings.Contains(p, "/") && n > strangerEach {
				t.Errorf("%s has %d streams", p, n)
			}
		}
		address, _, _ := strings.Cut(test.come[0], "/")
		if n := c.fill(test.come...)[address]; n < test.left {
			t.Errorf("beside %d peers of %d: %d streams for who comes from %s, want %d", len(test.greedy), len(has)-len(test.greedy), n, address, test.left)
		}
		if c.open > most {
			t.Errorf("%d streams, want at most %d", c.open, most)
		}
	}
}

// Whoever came first, and took all that there was to take, those that come from other addresses
// have a stream or two.
func TestCrowd_HasSomeForAllThatCome(t *testing.T) {
	for _, each := range []int{1, 4, 16} {
		var greedy []string
		for i := range 64 {
			greedy = append(greedy, peers(fmt.Sprint("greedy ", i), each)...)
		}
		c := newCrowd(strangerMean * 2 * dataStrangers)
		c.fill(greedy...)
		for i := range 400 {
			if p := fmt.Sprint("honest ", i, "/one"); c.fill(p)[p] < strangerSure {
				t.Fatalf("beside %d greedy peers of 64 addresses, %s has less than it needs", len(greedy), p)
			}
		}
	}
}

func TestCrowd_ForgetsThoseThatLeft(t *testing.T) {
	c := newCrowd(100)
	for p, n := range c.fill(peers("a", 20)...) {
		for range n {
			if strings.Contains(p, "/") {
				c.leave(peer.ID(p), "a")
			}
		}
	}
	if c.open != 0 || len(c.peers)+len(c.addresses) > 0 {
		t.Errorf("%d streams, of %v at %v", c.open, c.peers, c.addresses)
	}
}

// However many streams strangers hold, and wherever they stop, members have as many as on a host
// without strangers, of that protocol too.
func TestApart_MembersKeepTheirs(t *testing.T) {
	isMember := func(id peer.ID) bool { return strings.HasPrefix(string(id), "member") }
	address := func(id peer.ID) string { a, _, _ := strings.Cut(string(id), "/"); return a }
	for _, step := range []struct {
		name    string
		proto   protocol.ID
		service string
	}{
		{"without a protocol", "", ""},
		{"of one protocol", "/ipfs/bitswap/1.2.0", ""},
		{"of one of libp2p's", identify.IDPush, identify.ServiceName},
	} {
		for _, dir := range []network.Direction{network.DirInbound, network.DirOutbound} {
			t.Run(fmt.Sprint(step.name, " ", dir), func(t *testing.T) {
				rm, err := ResourceManager{}.withDefaults().manager(dataStrangers, isMember, address)
				if err != nil {
					t.Fatal(err)
				}
				defer rm.Close()
				open := func(id string, proto protocol.ID, service string) error {
					s, err := rm.OpenStream(peer.ID(id), dir)
					if err == nil && proto != "" {
						err = s.SetProtocol(proto)
					}
					if err == nil && service != "" {
						err = s.SetService(service)
					}
					if err != nil && s != nil {
						s.Done()
					}
					return err
				}
				held := 0
				for i := range 1024 {
					for open(fmt.Sprintf("192.0.2.%d/%d", i%64, i), step.proto, step.service) == nil {
						held++
					}
				}
				if held < strangerMean*dataStrangers {
					t.Errorf("strangers hold %d", held)
				}
				proto := step.proto
				if proto == "" {
					proto = "/ipfs/bitswap/1.2.0"
				}
				for i := range rcmgr.DefaultLimits.ProtocolBaseLimit.StreamsInbound {
					if err := open(fmt.Sprint("member", i%8), proto, step.service); err != nil {
						t.Fatalf("beside %d of strangers, a member's stream %d: %v", held, i, err)
					}
				}
				if err := open("198.51.100.1/new", proto, step.service); err != nil {
					t.Errorf("one of another address: %v", err)
				}
			})
		}
	}
}

// has tells how many streams strangers of an address have with a host.
func has(n network.Network, address string) (in, out int) {
	rm := n.ResourceManager().(*apart)
	of := func(c *crowd) int {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.addresses[address]
	}
	return of(rm.in), of(rm.out)
}

func TestDataHost_CountsStrangersByAddress(t *testing.T) {
	c := newTestCluster(t)
	a, _ := c.data(DataOptions{Public: true})
	stranger := plainHost(t)
	stranger.SetStreamHandler(echoProtocol, func(network.Stream) {})
	if err := stranger.Connect(t.Context(), peer.AddrInfo{ID: a.ID(), Addrs: a.Addrs()}); err != nil {
		t.Fatal(err)
	}
	s, err := stranger.NewStream(t.Context(), a.ID(), echoProtocol)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte{1}); err != nil { // else nothing is said yet
		t.Fatal(err)
	}
	asked, err := a.NewStream(t.Context(), stranger.ID(), echoProtocol)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "both are counted", func() bool { in, out := has(a.Network(), "127.0.0.1"); return in > 0 && out > 0 })
	s.Reset()
	asked.Reset()
	eventually(t, "none is left", func() bool { in, out := has(a.Network(), "127.0.0.1"); return in+out == 0 })
}

// What a stranger sends and nobody has read yet is bounded by what is set aside for it, however
// long its way is made to look: yamux would have more of a stream under way. A member that is
// listed may have more, though it has not shown its certificate.
func TestDataHost_StrangersWindowsDoNotGrow(t *testing.T) {
	c := newTestCluster(t)
	a, _ := c.data(DataOptions{Public: true})
	b, member := c.data(DataOptions{})
	c.list(member, b.ID())
	read := make(chan error, 1)
	a.SetStreamHandler(echoProtocol, func(s network.Stream) {
		for {
			_, err := io.CopyN(io.Discard, s, 8<<20)
			read <- err
			if err != nil {
				return
			}
		}
	})
	grows := func(from host.Host) func() bool {
		if err := from.Connect(t.Context(), peer.AddrInfo{ID: a.ID(), Addrs: a.Addrs()}); err != nil {
			t.Fatal(err)
		}
		s, err := from.NewStream(t.Context(), a.ID(), echoProtocol)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Reset(); <-read })
		return func() bool {
			if _, err := s.Write(make([]byte, 8<<20)); err != nil {
				t.Fatal(err)
			}
			if err := <-read; err != nil {
				t.Fatal(err)
			}
			of := a.Network().ResourceManager().(rcmgr.ResourceManagerState).Stat().Peers[from.ID()]
			return of.Memory > int64(of.NumStreamsInbound+of.NumStreamsOutbound)*streamWindow
		}
	}
	if grows(plainHost(t))() {
		t.Error("a stranger's window has grown")
	}
	eventually(t, "the window of a member grows", grows(b))
}
