package events

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// trackers tell the hub what the test says.
type trackers struct {
	told     func(api.PinInfo)
	followed atomic.Int32
}

func (f *trackers) Follow(g func(api.PinInfo)) func() {
	f.told = g
	f.followed.Add(1)
	return func() { f.followed.Add(-1) }
}

func TestHub_CutsSlowClientsAndTellsGaps(t *testing.T) {
	h := New(5, &trackers{})
	slow, err := h.Open(0, false)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	for i := range kept + 1 {
		h.Track(api.Pin{Revision: uint64(6 + i)})
	}
	if _, err := slow.Next(t.Context()); api.KindOf(err) != api.Unavailable {
		t.Errorf("a slow client: got %v, want Unavailable", err)
	}
	for after, gap := range map[uint64]bool{6: true, 7: false, kept: false, 0: true} {
		s, err := h.Open(after, true)
		if err != nil {
			t.Fatal(err)
		}
		some, err := s.Next(t.Context())
		if err != nil || (some[0].Type == api.EventGap) != gap {
			t.Errorf("after %d: got %v %v, want a gap: %v", after, some[0], err, gap)
		}
		if !gap && some[0].Index != after {
			t.Errorf("after %d: it goes on at %d", after, some[0].Index)
		}
		s.Close()
	}
}

func TestHub_AsksThePeersWhileSomebodyListens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &trackers{}
		h := New(0, f)
		for range 2 {
			s, err := h.Open(0, false)
			if err != nil {
				t.Fatal(err)
			}
			if f.followed.Load() != 1 {
				t.Fatalf("followed %d times", f.followed.Load())
			}
			s.Close()
			time.Sleep(linger / 2)
			if f.followed.Load() != 1 {
				t.Error("it did not wait for the client to come back")
			}
		}
		time.Sleep(2 * linger)
		synctest.Wait()
		if f.followed.Load() != 0 {
			t.Error("it follows without clients")
		}
	})
}

// The first answer of a peer has nothing before it; another hole is told.
func TestHub_TellsHolesOfPeers(t *testing.T) {
	f := &trackers{}
	h := New(0, f)
	s, err := h.Open(0, false)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	f.told(api.PinInfo{Peer: "a"})
	f.told(api.PinInfo{Peer: "a"})
	h.Peer("b", false)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	some, err := s.Next(ctx)
	if err != nil || len(some) != 2 || some[0].Type != api.EventGap || some[0].Peer != "a" || some[1].Type != api.EventPeerDown {
		t.Errorf("got %+v, %v", some, err)
	}
	cancel()
	if some, err := s.Next(ctx); err != nil || len(some) != 0 {
		t.Errorf("after the end: %+v, %v", some, err)
	}
}

func TestHub_BoundsStreams(t *testing.T) {
	h := New(0, &trackers{})
	var all []*Stream
	for range maxStreams {
		s, err := h.Open(0, false)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	if _, err := h.Open(0, false); api.KindOf(err) != api.Unavailable {
		t.Errorf("one more: got %v, want Unavailable", err)
	}
	for _, s := range all {
		s.Close()
	}
}
