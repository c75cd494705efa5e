package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/pnet"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/feed"
	"github.com/pinfold-cluster/pinfold/p2p"
)

const (
	feedProtocol   protocol.ID = feed.Protocol
	gossipProtocol protocol.ID = "/pinfold/feed/gossip/1"

	floodPace = 5 * time.Millisecond // between two deeds of one kind: the members' cores are ours too
	floodHeld = 400                  // streams or connections that are held at once, of one kind

	floodHands = 4 // with which a guest says hello, without any pace
)

// A flood is one machine's malice, of which all know the link. It has an address of its
// own, which loopback gives to whoever asks for it.
type flood struct {
	link    p2p.Link
	members []peer.AddrInfo
	ctx     context.Context
	done    sync.WaitGroup

	bad map[string]*deeds // by what is done
	// greetings are those of the guests, who say hello as fast as they get answers.
	greetings deeds
	placed    []placed
	began     time.Time
}

// placed is an attacker that has a place.
type placed struct {
	*attacker
	with peer.AddrInfo
}

// deeds counts what is done of one kind.
type deeds struct{ done, refused atomic.Int64 }

var floodFrom = &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}, Timeout: 5 * time.Second}

// startFlood takes all places of the members, and then does all that is bad until the
// returned function is called.
func startFlood(t *testing.T, link string) (*flood, func()) {
	t.Helper()
	l, err := p2p.ParseLink(link)
	if err != nil {
		t.Fatal(err)
	}
	f := &flood{link: l, bad: map[string]*deeds{}, began: time.Now()}
	if f.members, err = l.Peers(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.ctx = ctx
	stop := sync.OnceFunc(func() { // also where the test fails
		cancel()
		f.done.Wait()
	})
	t.Cleanup(stop)
	for _, m := range f.members {
		eventually(t, patience, func() error { return f.takePlaces(m) })
	}
	for _, by := range f.placed {
		for range floodHands {
			f.done.Go(func() { f.insist(by) })
		}
	}
	for what, do := range map[string]func(*attacker, peer.AddrInfo) error{
		"streams without a protocol": (*attacker).nameNothing,
		"hellos":                     (*attacker).greet,
		"questions not read":         (*attacker).doNotRead,
		"streams that say nothing":   (*attacker).sayNothing,
		"huge requests":              (*attacker).askHugely,
		"pages that nobody has":      (*attacker).askForPages,
		"noise in gossip":            (*attacker).gossip,
		"noise to every protocol":    (*attacker).rave,
		"connections without a word": (*attacker).connectOnly,
	} {
		d := &deeds{}
		f.bad[what] = d
		f.done.Go(func() { f.run(do, d) })
	}
	return f, stop
}

// run does one thing again and again to each member in turn. Who is not let in any more
// comes back as somebody else.
func (f *flood) run(do func(*attacker, peer.AddrInfo) error, d *deeds) {
	a := &attacker{flood: f}
	defer a.leave()
	pace := time.NewTicker(floodPace)
	defer pace.Stop()
	for n := 0; ; n++ {
		select {
		case <-f.ctx.Done():
			return
		case <-pace.C:
		}
		err := do(a, f.members[n%len(f.members)])
		d.done.Add(1)
		if err != nil {
			d.refused.Add(1)
			if a.failed++; a.failed%50 == 0 {
				a.leave()
			}
		}
	}
}

// An attacker is one of the identities of a flood, with what it holds.
type attacker struct {
	*flood
	h      host.Host
	held   []io.Closer
	failed int
}

func (a *attacker) leave() {
	for _, c := range a.held {
		c.Close()
	}
	a.held = nil
	if a.h != nil {
		a.h.Close()
	}
	a.h = nil
}

// hold keeps c, and lets go of the first that it held.
func (a *attacker) hold(c io.Closer) {
	if a.held = append(a.held, c); len(a.held) > floodHeld {
		a.held[0].Close()
		a.held = a.held[1:]
	}
}

func (f *flood) newHost() (host.Host, error) {
	from := func(multiaddr.Multiaddr) (tcp.ContextDialer, error) { return floodFrom, nil }
	return libp2p.New(libp2p.PrivateNetwork(pnet.PSK(f.link.Secret)), libp2p.Security(noise.ID, noise.New), libp2p.NoListenAddrs,
		libp2p.Transport(tcp.NewTCPTransport, tcp.DisableReuseport(), tcp.WithDialerForAddr(from)), libp2p.DisableRelay(),
		libp2p.ResourceManager(&network.NullResourceManager{}))
}

func (a *attacker) open(to peer.AddrInfo, p protocol.ID) (network.Stream, error) {
	var err error
	if a.h == nil {
		if a.h, err = a.newHost(); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(a.ctx, 5*time.Second)
	defer cancel()
	if err := a.h.Connect(ctx, to); err != nil {
		return nil, err
	}
	s, err := a.h.NewStream(ctx, to.ID, p)
	if err != nil {
		return nil, err
	}
	return s, s.SetDeadline(time.Now().Add(5 * time.Second))
}

// ask sends a request of the feed, whose form feed/stream.go has, and reads the first
// frame of its answer.
func (a *attacker) ask(to peer.AddrInfo, req map[int]any) (kind byte, answer []byte, err error) {
	s, err := a.open(to, feedProtocol)
	if err != nil {
		return 0, nil, err
	}
	defer s.Reset()
	if err := request(s, req); err != nil {
		return 0, nil, err
	}
	r := bufio.NewReader(s)
	if kind, err = r.ReadByte(); err != nil {
		return 0, nil, err
	}
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return 0, nil, err
	}
	answer = make([]byte, min(n, 1<<20))
	_, err = io.ReadFull(r, answer)
	return kind, answer, err
}

func request(w io.Writer, req map[int]any) error {
	b, err := api.Encode(req)
	if err == nil {
		_, err = w.Write(append(binary.AppendUvarint(nil, uint64(len(b))), b...))
	}
	return err
}

var zeros = make([]byte, 32)

func (a *attacker) greet(to peer.AddrInfo) error {
	kind, answer, err := a.ask(to, map[int]any{1: 1, 2: map[int]any{1: "friend"}})
	if err != nil {
		return err
	}
	if kind != 0 {
		return fmt.Errorf("no hello: %q", answer)
	}
	var h map[int]any
	if err := api.Decode(answer, &h); err != nil {
		return err
	}
	if h[6] != true {
		return errNoPlace
	}
	return nil
}

var errNoPlace = errors.New("no place")

// takePlaces has a new peer take a place and keep it. The error is nil once there is none.
func (f *flood) takePlaces(of peer.AddrInfo) error {
	a := &attacker{flood: f}
	err := a.greet(of)
	if err != nil {
		a.leave()
	} else {
		f.placed = append(f.placed, placed{a, of})
		f.done.Go(func() { <-f.ctx.Done(); a.leave() })
		err = errors.New("there was a place")
	}
	if errors.Is(err, errNoPlace) {
		return nil
	}
	return err
}

// insist says hello again and again, without a pause.
func (f *flood) insist(by placed) {
	for f.ctx.Err() == nil {
		if err := by.greet(by.with); err == nil {
			f.greetings.done.Add(1)
		} else {
			f.greetings.refused.Add(1)
		}
	}
}

func (a *attacker) doNotRead(to peer.AddrInfo) error {
	if err := a.greet(to); err != nil {
		return err
	}
	s, err := a.open(to, feedProtocol)
	if err != nil {
		return err
	}
	a.hold(s)
	return request(s, map[int]any{1: 2, 4: 1, 5: zeros})
}

func (a *attacker) sayNothing(to peer.AddrInfo) error {
	s, err := a.open(to, feedProtocol)
	if err != nil {
		return err
	}
	a.hold(s)
	_, err = s.Write([]byte{0xff}) // a length begins
	return err
}

// nameNothing opens streams below libp2p's handlers, as many as it gets.
func (a *attacker) nameNothing(to peer.AddrInfo) error {
	if a.h == nil {
		return a.greet(to)
	}
	conns := a.h.Network().ConnsToPeer(to.ID)
	if len(conns) == 0 {
		return a.greet(to)
	}
	ctx, cancel := context.WithTimeout(a.ctx, 5*time.Second)
	defer cancel()
	for range 50 {
		s, err := conns[0].NewStream(ctx)
		if err != nil {
			return err
		}
		if err := s.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			return err
		}
		if _, err := s.Write([]byte{19}); err != nil { // the name of a protocol begins
			return err
		}
	}
	return nil
}

func (a *attacker) askHugely(to peer.AddrInfo) error {
	s, err := a.open(to, feedProtocol)
	if err != nil {
		return err
	}
	defer s.Reset()
	_, err = s.Write(append(binary.AppendUvarint(nil, 1<<62), make([]byte, 128<<10)...))
	return err
}

func (a *attacker) askForPages(to peer.AddrInfo) error {
	if kind, _, err := a.ask(to, map[int]any{1: 3}); err != nil || kind != 0 {
		return fmt.Errorf("a root: answer of kind %d, %v", kind, err)
	}
	_, _, err := a.ask(to, map[int]any{1: 4, 6: randomBytes(32)})
	return err
}

func (a *attacker) gossip(to peer.AddrInfo) error {
	if err := a.greet(to); err != nil {
		return err
	}
	s, err := a.open(to, gossipProtocol)
	if err != nil {
		return err
	}
	a.hold(s)
	for range 4 { // messages of the topic (pubsub's rpc.proto: 2 publish, in it 2 data, 4 topic), and no statements
		topic := "pinfold/feed/1"
		m := append([]byte{2<<3 | 2}, binary.AppendUvarint(nil, 200<<10)...)
		m = append(append(m, randomBytes(200<<10)...), 4<<3|2, byte(len(topic)))
		m = append(m, topic...)
		rpc := append(append([]byte{2<<3 | 2}, binary.AppendUvarint(nil, uint64(len(m)))...), m...)
		if _, err := s.Write(append(binary.AppendUvarint(nil, uint64(len(rpc))), rpc...)); err != nil {
			return err
		}
	}
	return nil
}

func (a *attacker) rave(to peer.AddrInfo) error {
	for p := range clusterProtocols {
		s, err := a.open(to, p)
		if err != nil {
			return err
		}
		a.hold(s)
		if _, err := s.Write(randomBytes(1 << 10)); err != nil {
			return err
		}
	}
	return nil
}

func (a *attacker) connectOnly(to peer.AddrInfo) error {
	address, err := manet.ToNetAddr(to.Addrs[0])
	if err != nil {
		return err
	}
	c, err := floodFrom.DialContext(a.ctx, "tcp", address.String())
	if err != nil {
		return err
	}
	a.hold(c)
	return nil
}
