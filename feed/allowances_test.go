package feed

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/api"
)

// A zoned network has all others of one address but for those it is told of.
type zoned struct {
	Network
	apart api.PeerID
}

func (n zoned) Address(id api.PeerID) string {
	if id == n.apart {
		return "elsewhere"
	}
	return "one machine"
}

// counting answers every hello, and counts them.
type counting struct {
	source
	net    Network
	hellos atomic.Int64
}

func (c *counting) hello(_ context.Context, from api.PeerID, _ hello) (hello, error) {
	c.hellos.Add(1)
	return hello{Admitted: c.net.Welcome(from)}, nil
}

// Guests of one address that ask as fast as they can are answered as often as one address
// may be, however many peers they are; those of another wait for nothing.
func TestStreams_OneAddressIsAnsweredSoOften(t *testing.T) {
	w := newWorld(t, 1)
	server, honest := w.intrude(), w.intrude()
	src := &counting{net: server}
	s := newStreams(zoned{server, honest.ID()}, src, 0, feedLog())
	began := time.Now()
	s.allowances.of("one machine", began).asks.AllowN(began, askBurst-20) // they asked so much already
	run(t, s.run)
	honest.greet(t, server.host)
	var busy atomic.Int64
	var g errgroup.Group
	machine := []*intruder{w.intrude(), w.intrude(), w.intrude(), w.intrude()}
	for _, i := range machine {
		i.greet(t, server.host)
	}
	for _, i := range machine {
		for range 8 {
			g.Go(func() error {
				for busy.Load() < 4 && src.hellos.Load() < 2*askBurst {
					_, err := client{i}.hello(t.Context(), server.ID(), hello{})
					if lies(err) {
						return fmt.Errorf("who asks too much is told something else: %w", err)
					}
					if errors.Is(err, errBusy) {
						busy.Add(1)
					}
				}
				return nil
			})
		}
	}
	check(t, g.Wait())
	hellos, most := src.hellos.Load()-1, int64(20+askRate*time.Since(began).Seconds())
	if busy.Load() == 0 || hellos > most {
		t.Errorf("%d hellos of one machine were answered, of at most %d; %d were refused", hellos, most, busy.Load())
	}
	for range 20 {
		_, err := client{honest}.hello(t.Context(), server.ID(), hello{})
		check(t, err)
	}
}

// Only who has asked lately is remembered, and who finds no room has part in what is left
// for all like it.
func TestAllowances_AreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAllowances()
		for n := range 3 * maxAllowances {
			a.of(fmt.Sprint("address ", n), time.Now())
			if len(a.by) > maxAllowances+1 {
				t.Fatalf("%d addresses are remembered", len(a.by))
			}
		}
		rest := a.of("one more", time.Now())
		if rest != a.of("another", time.Now()) || rest == a.of("address 0", time.Now()) {
			t.Error("who finds no room has no part in what is left")
		}
		time.Sleep(allowanceMemory)
		if a.of("one more", time.Now()) == rest || len(a.by) > 2 {
			t.Errorf("%d addresses are remembered after %s", len(a.by), allowanceMemory)
		}
	})
}

// What a hello sets off it does so once in a while, however often a guest says it.
func TestPublisher_HearsAGuestOnceInAWhile(t *testing.T) {
	w := newWorld(t, 1)
	m := w.members[0]
	var met atomic.Int64
	m.pub.o.Met = func(Peer) { met.Add(1) }
	i, began := w.intrude(), time.Now()
	i.greet(t, m.host)
	for range 20 {
		_, err := m.pub.hello(t.Context(), i.ID(), hello{Name: "friend"})
		check(t, err)
	}
	n := met.Load()
	if most := 1 + int64(time.Since(began)/heardEvery); n < 1 || n > most {
		t.Errorf("a guest that said hello 21 times was met %d times, want %d at most", n, most)
	}
	// It may have started anew, with other addresses.
	i.host.Dismiss(m.host.ID())
	eventually(t, "its place is free", func() bool { return len(m.host.Guests()) == 0 })
	i.greet(t, m.host)
	if again := met.Load() - n; again != 1 {
		t.Errorf("it came again and was met %d times more", again)
	}
}

func TestAcquaintances_AreDueAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAcquaintances()
		if !a.due("a") {
			t.Error("who says hello the first time is not heard")
		}
		a.add(Peer{ID: "a"})
		if a.due("a") || !a.due("b") {
			t.Error("who said hello just now is heard again, or another is not")
		}
		time.Sleep(heardEvery)
		if !a.due("a") {
			t.Error("who said hello some time ago is not heard")
		}
	})
}

// A neighbour that has no time for a hello stays one, and hears it later.
func TestKeeper_KeepsABusyNeighbour(t *testing.T) {
	b, err := openBook(filepath.Join(t.TempDir(), bookFile), nil, feedLog())
	check(t, err)
	const id api.PeerID = "busy"
	b.learn(peer.AddrInfo{ID: id})
	again := &backoff{}
	k := &keeper{Follower: &Follower{book: b, neighbours: map[api.PeerID]Peer{id: {ID: id}}}, busy: map[api.PeerID]bool{id: true},
		greet: map[api.PeerID]*backoff{id: again}}
	k.ended(call{id: id, busy: true, again: greetSoon})
	if _, is := k.neighbours[id]; !is || k.busy[id] || k.greet[id] != again || !again.next.After(time.Now()) {
		t.Errorf("neighbours %v, called %v, again at %s", k.neighbours, k.busy, again.next)
	}
}
