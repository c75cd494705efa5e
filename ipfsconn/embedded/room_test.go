package embedded

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ipfs/boxo/bitswap/message"
	block "github.com/ipfs/go-block-format"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-msgio"
)

// held is how many messages of each address have room.
func (r *room) held() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := map[string]int{}
	for p := range r.in {
		n[p.address]++
	}
	return n
}

// Large messages have room for so much together. Where none is left, who comes has it of an
// address that has more; else it waits, unless it goes.
func TestSieve_SharesRoomForLargeMessages(t *testing.T) {
	a, also, b, c, gone := newHost(t), newHost(t), newHost(t), newHost(t), newHost(t)
	own := withGuests(t, a, also, b, c, gone)
	own.addresses = map[peer.ID]string{a.ID(): "a", also.ID(): "a", b.ID(): "b", c.ID(): "c", gone.ID(): "d"}
	v := newSieve(openOn(t, own, Options{}), func(peer.ID) time.Duration { return 0 })
	v.room = newRoom(1 << 20) // for two of them
	read := make(chan peer.ID, 5)
	v.SetStreamHandler("/test", func(s network.Stream) {
		if _, _, err := message.FromMsgReader(msgio.NewVarintReaderSize(s, network.MessageSizeMax)); err == nil {
			read <- s.Conn().RemotePeer()
		}
		s.Reset()
	})
	m := message.New(false)
	m.AddBlock(block.NewBlock(make([]byte, 300<<10)))
	var large bytes.Buffer
	if err := m.ToNetV1(&large); err != nil {
		t.Fatal(err)
	}
	begin := func(from host.Host) network.Stream {
		t.Helper()
		if err := from.Connect(t.Context(), peer.AddrInfo{ID: own.ID(), Addrs: own.Addrs()}); err != nil {
			t.Fatal(err)
		}
		s, err := from.NewStream(t.Context(), own.ID(), "/test")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write(large.Bytes()[:100]); err != nil {
			t.Fatal(err)
		}
		until(t, "its length is read", func() bool {
			v.large.mu.Lock()
			defer v.large.mu.Unlock()
			return v.large.of[from.ID()] != nil
		})
		return s
	}
	has := func(address string, want int) {
		t.Helper()
		until(t, "who should have room has it", func() bool { return v.room.held()[address] == want })
	}

	one, two := begin(a), begin(also)
	has("a", 2)
	ofB := begin(b)
	has("b", 1)
	has("a", 1)
	ofC := begin(c)
	begin(gone)
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "who has gone does not wait any more", func() bool {
		v.large.mu.Lock()
		defer v.large.mu.Unlock()
		return v.large.of[gone.ID()] == nil
	})
	if n := v.room.held(); n["a"] != 1 || n["b"] != 1 || n["c"] != 0 {
		t.Errorf("room is had by %v", n)
	}
	if _, err := ofB.Write(large.Bytes()[100:]); err != nil {
		t.Fatal(err)
	}
	has("c", 1)
	if _, err := ofC.Write(large.Bytes()[100:]); err != nil {
		t.Fatal(err)
	}
	were := map[peer.ID]bool{}
	for range 2 { // in any order: one has its room once all of the other is here
		select {
		case p := <-read:
			were[p] = true
		case <-within(t, time.Minute).Done():
			t.Fatal("who has room is not read")
		}
	}
	if !were[b.ID()] || !were[c.ID()] {
		t.Error("others were read")
	}
	has("a", 1)
	if ends(t, one, time.Second) == ends(t, two, time.Second) {
		t.Error("who lost its room may go on")
	}
}

// Who needs more than any one message has takes the room of several, of an address that has more
// alone: be it one with many names, or many addresses with some.
func TestRoom_IsTakenOfThoseThatHaveMost(t *testing.T) {
	const unit = 1 << 20
	fill := func(r *room, addresses, each, bytes int) {
		for i := range addresses * each {
			if ok, _, _ := r.enter(&place{bytes: bytes, address: fmt.Sprint(i % addresses)}); !ok {
				return
			}
		}
	}
	for name, c := range map[string]struct{ addresses, each, bytes int }{
		"one address":              {1, 64 * 8, unit},
		"one address, small":       {1, 64 * 32, unit / 4},
		"64 addresses, four each":  {64, 8, unit},
		"64 addresses, large":      {64, 8, 4 * unit},
		"64 addresses, small ones": {64, 64, unit / 16},
	} {
		r := newRoom(guestMemory)
		fill(r, c.addresses, c.each, c.bytes)
		honest := &place{bytes: 2 * unit, address: "honest"}
		ok, lost, _ := r.enter(honest)
		for _, s := range lost {
			if again, more, _ := r.enter(honest); again || len(more) > 0 {
				t.Errorf("%s: %d more are lost, as those that are have not gone yet", name, len(more))
			}
			r.leave(s)
		}
		if !ok {
			ok, _, _ = r.enter(honest)
		}
		if !ok {
			t.Errorf("%s: no room for who comes; %d were lost", name, len(lost))
		}
		for range 100 { // who has less than others keeps it
			_, lost, _ := r.enter(&place{bytes: unit / 2, address: "another"})
			if slices.Contains(lost, honest) {
				t.Errorf("%s: who has less than others loses it", name)
			}
			for _, s := range lost {
				r.leave(s)
			}
		}
	}
}
