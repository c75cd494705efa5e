package embedded

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	block "github.com/ipfs/go-block-format"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pinfold-cluster/pinfold/ipfsconn/ipfsconntest"
)

// sends tells whether an answer to a guest is on the way.
func sends(n *Node, guest peer.ID) bool {
	n.bitswap.mu.Lock()
	defer n.bitswap.mu.Unlock()
	a := n.bitswap.heard[guest]
	if a == nil || a.server == nil {
		return false
	}
	if a.server.to.mu.TryLock() {
		a.server.to.mu.Unlock()
		return false
	}
	return true
}

// A guest that takes nothing of what it asked for, be it for long, is waited for by itself.
func TestAnswers_OneThatIsNotTakenHoldsUpNoGuest(t *testing.T) {
	bad := newHost(t)
	bad.SetStreamHandler(bsnet.ProtocolBitswap, func(network.Stream) {}) // which reads nothing
	good := onLine(t, Options{})
	own := withGuests(t, bad, good.host)
	holder := openOn(t, own, Options{})
	good.peers.(*holders).infos = []peer.AddrInfo{{ID: own.ID(), Addrs: own.Addrs()}}
	large := ipfsconntest.File(t, 1, 8, 1<<20)
	ipfsconntest.Add(t, holder, large)
	if err := wantsBlocks(large.Blocks...).ToNetV1(talk(t, bad, own)); err != nil {
		t.Fatal(err)
	}
	until(t, "an answer is on the way", func() bool { return sends(holder, bad.ID()) })
	began := time.Now()
	for seed := uint64(2); time.Since(began) < 15*time.Second; seed++ { // after 10 s boxo thinks of who had nothing
		file := ipfsconntest.File(t, seed, 4, 64<<10)
		ipfsconntest.Add(t, holder, file)
		if err := good.Pin(within(t, time.Minute), ipfsconntest.Pin(file.Root), nil); err != nil {
			t.Fatalf("a guest waits for another since %v: %v", time.Since(began), err)
		}
	}
	until(t, "something waits for the guest", func() bool { return sends(holder, bad.ID()) }) // or nothing was tried
}

// Answers to one guest come on one stream: were each on its own, one that does not answer for
// it could keep any number open.
func TestAnswers_OneStreamForEachGuest(t *testing.T) {
	bad := newHost(t)
	own := withGuests(t, bad)
	holder := openOn(t, own, Options{})
	last := block.NewBlock([]byte("the last that is asked for"))
	if err := holder.blocks.Put(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	bad.SetStreamHandler(bsnet.ProtocolBitswap, func(network.Stream) {}) // it is known to speak it
	s := talk(t, bad, own)
	until(t, "the other knows what is spoken", func() bool {
		spoken, err := own.Peerstore().SupportsProtocols(bad.ID(), bsnet.ProtocolBitswap)
		return err == nil && len(spoken) > 0
	})
	var streams atomic.Int32
	came := make(chan struct{}, 1)
	bad.Network().SetStreamHandler(func(s network.Stream) { // below the handshake: it stays unanswered
		streams.Add(1)
		var read []byte
		for b := make([]byte, 1024); !bytes.Contains(read, last.RawData()); {
			n, err := s.Read(b)
			if err != nil {
				return
			}
			read = append(read, b[:n]...)
		}
		came <- struct{}{}
	})
	for i := range 200 {
		wants := message.New(false)
		wants.AddEntry(block.NewBlock(fmt.Appendf(nil, "nobody has %d", i)).Cid(), 1, pb.Message_Wantlist_Have, true)
		if err := wants.ToNetV1(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := wantsBlocks(last).ToNetV1(s); err != nil {
		t.Fatal(err)
	}
	select {
	case <-came:
	case <-within(t, time.Minute).Done():
		t.Fatal("no answer came")
	}
	if n := streams.Load(); n > 2 { // of the server, and of the client, which asks guests too
		t.Errorf("%d streams for the answers to one guest", n)
	}
	if err := bad.Network().ClosePeer(own.ID()); err != nil {
		t.Fatal(err)
	}
	until(t, "who has gone is forgotten", func() bool { return holder.bitswap.serverOf(bad.ID()) == nil })
}

// A guest that has ended the stream on which its answers come has the next on another.
func TestAnswers_GoOnAnotherStream(t *testing.T) {
	guest := newHost(t)
	own := withGuests(t, guest)
	holder := openOn(t, own, Options{})
	came := make(chan string, 10)
	guest.SetStreamHandler(bsnet.ProtocolBitswap, func(s network.Stream) {
		m, _, err := message.FromNet(s)
		if err != nil {
			return
		}
		for _, b := range m.Blocks() {
			came <- string(b.RawData())
		}
		s.Reset()
	})
	s, deadline := talk(t, guest, own), within(t, time.Minute)
	for i := range 3 {
		b := block.NewBlock(fmt.Appendf(nil, "block %d", i))
		if err := holder.blocks.Put(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		for got := ""; got != string(b.RawData()); { // what came as the stream ended is lost: it is asked for again
			if err := wantsBlocks(b).ToNetV1(s); err != nil {
				t.Fatal(err)
			}
			select {
			case got = <-came:
			case <-time.After(time.Second):
			case <-deadline.Done():
				t.Fatal("no answer came")
			}
		}
	}
}

// Large answers share the room of large messages. Where guests that take nothing have it, one of
// the address that has most is cut off for who comes.
func TestAnswers_ShareTheRoom(t *testing.T) {
	one, two, other := newHost(t), newHost(t), newHost(t)
	good := onLine(t, Options{})
	own := withGuests(t, one, two, other, good.host)
	own.addresses = map[peer.ID]string{one.ID(): "a", two.ID(): "a", other.ID(): "b", good.host.ID(): "c"}
	holder := openOn(t, own, Options{})
	holder.bitswap.room.all = 7 << 20 // for three blocks of a megabyte, encoded too, not for a fourth
	good.peers.(*holders).infos = []peer.AddrInfo{{ID: own.ID(), Addrs: own.Addrs()}}
	file := ipfsconntest.File(t, 1, 8, 1<<20)
	ipfsconntest.Add(t, holder, file)
	for _, bad := range []host.Host{one, two, other} {
		bad.SetStreamHandler(bsnet.ProtocolBitswap, func(network.Stream) {}) // which reads nothing
		if err := wantsBlocks(file.Blocks...).ToNetV1(talk(t, bad, own)); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "none is left", func() bool { n := holder.bitswap.room.held(); return n["a"] == 2 && n["b"] == 1 })
	if err := good.Pin(within(t, time.Minute), ipfsconntest.Pin(file.Root), nil); err != nil {
		t.Fatalf("there is no room for who takes what it asked for: %v", err)
	}
	until(t, "one of the address that had most is cut off", func() bool {
		return len(own.Network().ConnsToPeer(one.ID()))+len(own.Network().ConnsToPeer(two.ID())) == 1
	})
	if len(own.Network().ConnsToPeer(other.ID())) == 0 {
		t.Error("one is cut off whose address had less")
	}
}

// A guest pays for what was read for it and it did not take.
func TestAnswers_ThatAreNotTakenArePaidFor(t *testing.T) {
	guest := newHost(t) // which is not there
	n := openOn(t, withGuests(t, guest), Options{})
	defer n.bitswap.hears(guest.ID())()
	m := message.New(false)
	m.AddBlock(block.NewBlock(make([]byte, 1<<20)))
	if err := n.bitswap.serverFor(guest.ID()).to.SendMessage(t.Context(), guest.ID(), m); err == nil {
		t.Fatal("it took the answer")
	}
	if owes := n.bitswap.owes(guest.ID()); owes != guestByteCost<<20 {
		t.Errorf("it owes %v for a megabyte", owes)
	}
}
