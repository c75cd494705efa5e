package p2p

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
)

func TestMakesRoom(t *testing.T) {
	start := time.Now()
	old := start.Add(10 * time.Second)
	// taken are places taken a second after another, "a" by one at a, "A" by one that is kept.
	take := func(taken string) (places []Place[int]) {
		for i, c := range taken {
			if c == '.' {
				continue // this one is free
			}
			address, kept := string(c), c < 'a'
			if kept {
				address = string(c + 'a' - 'A')
			}
			places = append(places, Place[int]{Of: i + 1, Address: address, Since: start.Add(time.Duration(i) * time.Second), Kept: kept})
		}
		return places
	}
	for _, test := range []struct {
		taken, from string
		want        int // whose place, from 1 on; 0: one that is free, -1: none
		of          time.Time
	}{
		{"aaab.", "c", 0, start},         // nobody has to
		{"aaaaa.", "a", -1, start},       // one that has each
		{"aaaaa.", "a", 1, old},          // takes of its own, though there is room
		{"aaab", "c", 1, start},          // however short it is there
		{"baaa", "c", 2, start},          // the oldest of those that have most
		{"Baaa", "b", 2, start},          // what is kept counts
		{"AAab", "c", 3, start},          // but makes no room
		{"AAbb", "c", 3, start},          // of others that have as many
		{"AAAb", "c", -1, start},         // even if nobody is left
		{"AAAb", "c", 4, old},            // but one that has had its time
		{"abcd", "e", -1, start},         // one each
		{"abcd", "e", 1, old},            // have had their time
		{"abcd", "a", 1, old},            // also for its own
		{"aabb", "b", -1, start},         // none has two more than it
		{"bbbbaaa", "a", -1, start},      // nor here
		{"baaaaa", "a", -1, start},       // one that has each
		{"baaaaa", "a", 2, old},          // takes of its own only
		{"baaaaa", "b", 2, start},        // others take of it
		{"", "a", -1, old},               // there is none
		{"abcd", "e", -1, start.Add(-1)}, // older than all
	} {
		got, ok := MakesRoom(take(test.taken), test.from, len(test.taken), 5, test.of)
		if !ok {
			got = -1
		}
		if got != test.want {
			t.Errorf("%q, from %s: place %d, want %d", test.taken, test.from, got, test.want)
		}
	}
}

// Who holds all streams that strangers may have keeps nobody out who comes from elsewhere,
// and ends none of those that have shown a password.
func TestStrangers_MakeRoom(t *testing.T) {
	st := newStrangers(func(id peer.ID) bool { return id == "known" })
	now := time.Now()
	held := map[*strangerStream]bool{}
	for a := range strangerStreams / strangerStreamsEach {
		for i := range strangerStreamsEach {
			s := at(fmt.Sprint("192.0.2.", a))
			if i == 0 {
				s.from = "known"
			}
			if lost, err := st.enter(s, now.Add(time.Duration(i))); lost != nil || err != nil {
				t.Fatalf("stream %d of address %d: %v, %v", i, a, lost, err)
			}
			held[s] = true
		}
	}
	if _, err := st.enter(at("192.0.2.1"), now); err == nil {
		t.Error("one more of an address that has all it may have")
	}
	for i := range strangerStreamsEach / 2 {
		lost, err := st.enter(at("198.51.100.1"), now)
		if err != nil {
			t.Fatalf("stream %d from elsewhere: %v", i, err)
		}
		if lost == nil || !held[lost] || lost.from == "known" {
			t.Fatalf("stream %d from elsewhere has the place of %+v", i, lost)
		}
		delete(held, lost)
		st.leave(lost) // as its end does
	}
	if len(st.open) != strangerStreams || st.by["198.51.100.1"].open != strangerStreamsEach/2 {
		t.Errorf("%d streams are open, %d of them from elsewhere", len(st.open), st.by["198.51.100.1"].open)
	}
}

// from calls from an address of this machine.
func from(ip string) Dialer {
	return (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}).DialContext
}

// visit connects, and has the other let it in: that it may not it hears only later.
func visit(t *testing.T, from, to *Host) {
	t.Helper()
	connect(t, from, to)
	eventually(t, "the visitor is let in", func() bool { return to.h.Network().Connectedness(from.ID()) == network.Connected })
}

// call makes a connection beside those that there are.
func call(t *testing.T, from, to *Host) {
	t.Helper()
	addr := to.h.Addrs()[0]
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := from.h.Network().(*swarm.Swarm).TransportForDialing(addr).Dial(ctx, addr, to.ID())
	if err != nil {
		t.Error(err)
		return
	}
	t.Cleanup(func() { c.Close() })
}

// Visitors that hold all places of visitors keep nobody out who comes from elsewhere, and
// end no request.
func TestHost_VisitorsMakeRoom(t *testing.T) {
	c := newTestCluster(t)
	server := c.member()
	l, err := server.ListenOpen(echoProtocol)
	serveEcho(t, l, err)
	visitor := func(ip string) *Host {
		return c.host(newIdentity(t), &Cluster{Key: c.founder.Key, Incarnation: c.founder.Incarnation}, Options{Dial: from(ip)})
	}
	busy := visitor("127.0.0.2")
	connect(t, busy, server)
	asked, err := busy.Open(t.Context(), server.ID(), echoProtocol)
	if err != nil {
		t.Fatal(err)
	}
	defer asked.Close()
	if _, err := asked.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	const each = strangerConns
	for i := 1; i < maxVisitors/each; i++ {
		v := visitor(fmt.Sprintf("127.0.0.%d", 2+i%2))
		for range each {
			call(t, v, server)
		}
	}
	for range each - 1 {
		call(t, busy, server)
	}
	eventually(t, "all places are taken", func() bool { return len(server.h.Network().Conns()) == maxVisitors })
	for range 3 {
		visit(t, visitor("127.0.0.9"), server)
	}
	if n := len(server.h.Network().Conns()); n > maxVisitors {
		t.Errorf("%d connections", n)
	}
	if err := asked.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := asked.Read(make([]byte, 1)); err != nil {
		t.Errorf("a request was ended: %v", err)
	}
}

// A guest, or a visitor, has few connections: the ones that it uses, or made last.
func TestHost_StrangersHaveFewConnections(t *testing.T) {
	c := newTestCluster(t)
	id := newIdentity(t)
	server, stranger := c.host(id, c.certified(id.ID, newIdentity(t).ID), Options{Guests: 2}), c.stranger()
	l, err := server.ListenOpen(echoProtocol)
	serveEcho(t, l, err)
	visit(t, stranger, server)
	asked, err := stranger.Open(t.Context(), server.ID(), echoProtocol)
	if err != nil {
		t.Fatal(err)
	}
	defer asked.Close()
	answers := func() error {
		if err := asked.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			return err
		}
		if _, err := asked.Write([]byte{1}); err != nil {
			return err
		}
		_, err := asked.Read(make([]byte, 1))
		return err
	}
	for _, what := range []string{"visitor", "guest"} {
		if err := answers(); err != nil {
			t.Fatal(err)
		}
		for range strangerConns + 1 {
			call(t, stranger, server)
		}
		eventually(t, "it has no more connections than it may", func() bool { return len(server.h.Network().ConnsToPeer(stranger.ID())) == strangerConns })
		if err := answers(); err != nil {
			t.Errorf("the one that a %s uses was ended: %v", what, err)
		}
		if !server.Welcome(stranger.ID()) {
			t.Fatal("there is no place")
		}
	}
	guest := c.host(newIdentity(t), &Cluster{Key: c.founder.Key, Incarnation: c.founder.Incarnation}, Options{ResourceManager: ResourceManager{Enabled: new(false)}})
	visit(t, guest, server)
	if !server.Welcome(guest.ID()) {
		t.Fatal("there is no place")
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { call(t, guest, server) }) // at the same moment
	}
	all.Wait()
	run(t, server.Run)
	eventually(t, "none that came at once has more", func() bool { return len(server.h.Network().ConnsToPeer(guest.ID())) == strangerConns })
}

// Nor do visitors of many addresses that all have a request under way.
func TestHost_AskingVisitorsMakeRoom(t *testing.T) {
	c := newTestCluster(t)
	server := c.member()
	l, err := server.ListenOpen(echoProtocol)
	serveEcho(t, l, err)
	const feedProtocol = "/test/feed/1"
	l, err = server.ListenFeed(feedProtocol)
	serveEcho(t, l, err)
	visitor := func(ip string) *Host {
		return c.host(newIdentity(t), &Cluster{Key: c.founder.Key, Incarnation: c.founder.Incarnation}, Options{Dial: from(ip)})
	}
	for i := range maxVisitors {
		v, proto := visitor(fmt.Sprintf("127.0.0.%d", 2+i%(maxVisitors/visitorsKeptEach))), echoProtocol
		if i >= maxVisitors/2 {
			proto = feedProtocol
		}
		connect(t, v, server)
		s, err := v.Open(t.Context(), server.ID(), proto)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		visit(t, visitor("127.0.1.1"), server)
	}
}

// However many visitors leave the question for their certificate unanswered, members are
// called.
func TestHost_MuteVisitorsDelayNoCall(t *testing.T) {
	c := newTestCluster(t)
	server, member, visitor := c.member(), c.member(), c.stranger()
	q := newConnector(server)
	silent := make(chan struct{})
	defer close(silent)
	for q.others.TryGo(func() error { <-silent; return nil }) {
	}
	var asked atomic.Bool
	visitor.h.SetStreamHandler(certificateProtocol, func(s network.Stream) {
		asked.Store(true)
		s.Reset()
	})
	visit(t, visitor, server)
	server.AddKnown(info(member))
	run(t, q.run)
	eventually(t, "the member is called", func() bool { return server.isMember(member.ID()) })
	if asked.Load() {
		t.Error("more visitors are asked than may be")
	}
}

// One that asks for the first time is kept though others ask from many addresses.
func TestKeep_IsSharedByAddress(t *testing.T) {
	var visitors []Place[string]
	now := time.Now()
	come := func(address, what string) {
		visitors = append(visitors, Place[string]{Of: what, Address: address, Since: now.Add(time.Duration(len(visitors)))})
	}
	for range 2 {
		come("idle", "")
	}
	for range visitorsKeptEach + 2 {
		come("first", "question")
	}
	for range visitorsKeptEach {
		for a := range visitorsKept / 2 {
			come(fmt.Sprint(a), "question")
		}
	}
	come("late", "question")
	kept := func() (n map[string]int, all int) {
		keep(visitors, func(what string) bool { return what != "" }, visitorsKept, visitorsKeptEach)
		n = map[string]int{}
		for _, v := range visitors {
			if v.Kept {
				n[v.Address]++
				all++
			}
		}
		return n, all
	}
	if n, all := kept(); all != visitorsKept || n["late"] != 1 || n["first"] > 2 || n["idle"] > 0 {
		t.Errorf("%d are kept: %v", all, n)
	}
	visitors = visitors[:2+visitorsKeptEach+2]
	for i := range visitors {
		visitors[i].Kept = false
	}
	if n, all := kept(); all != visitorsKeptEach || n["first"] != visitorsKeptEach {
		t.Errorf("%d are kept, want %d: %v", all, visitorsKeptEach, n)
	}
}
