package embedded

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	block "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-msgio"

	"github.com/pinfold-cluster/pinfold/ipfsconn/ipfsconntest"
)

// wantsOf is a message that asks for n blocks that nobody has.
func wantsOf(n int) message.BitSwapMessage {
	m := message.New(false)
	for i := range n {
		m.AddEntry(block.NewBlock(fmt.Appendf(nil, "nobody has %d", i)).Cid(), 1, pb.Message_Wantlist_Have, false)
	}
	return m
}

// talk opens a stream of bitswap.
func talk(t *testing.T, from, to host.Host) network.Stream {
	t.Helper()
	if err := from.Connect(t.Context(), peer.AddrInfo{ID: to.ID(), Addrs: to.Addrs()}); err != nil {
		t.Fatal(err)
	}
	s, err := from.NewStream(t.Context(), to.ID(), bsnet.ProtocolBitswap)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Reset() })
	return s
}

// ends tells whether the other end ends the stream within a while.
func ends(t *testing.T, s network.Stream, while time.Duration) bool {
	t.Helper()
	if err := s.SetReadDeadline(time.Now().Add(while)); err != nil {
		t.Fatal(err)
	}
	_, err := s.Read(make([]byte, 1)) // nothing is ever said on it
	var timeout net.Error
	return !errors.As(err, &timeout) || !timeout.Timeout()
}

// What costs boxo more than it is worth ends a guest's stream; members may ask for more.
func TestSieve_RefusesWhatIsTooMuch(t *testing.T) {
	guest, member := newHost(t), newHost(t)
	own := hostWithGuests{newHost(t), map[peer.ID]bool{guest.ID(): true}}
	n, err := New(own, t.TempDir(), Options{}, &holders{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	tiny := message.New(false)
	for i := range guestEntries + 1 {
		c, err := cid.V1Builder{Codec: cid.Raw}.Sum(binary.BigEndian.AppendUint32(nil, uint32(i)))
		if err != nil {
			t.Fatal(err)
		}
		tiny.AddBlockPresence(c, pb.Message_Have)
	}
	for name, test := range map[string]struct {
		from host.Host
		say  message.BitSwapMessage
		ends bool
	}{
		"a guest's wants":            {guest, wantsOf(guestEntries), false},
		"more wants":                 {guest, wantsOf(guestEntries + 1), true},
		"more of what it has":        {guest, tiny, true},
		"more wants, but a member's": {member, wantsOf(guestEntries + 1), false},
	} {
		s := talk(t, test.from, own.Host)
		if err := test.say.ToNetV1(s); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		while := time.Second
		if test.ends {
			while = time.Minute
		}
		if got := ends(t, s, while); got != test.ends {
			t.Errorf("%s: the stream has ended: %t, want %t", name, got, test.ends)
		}
	}
	s := talk(t, guest, own.Host)
	if _, err := s.Write(binary.AppendUvarint(nil, network.MessageSizeMax+1)); err != nil {
		t.Fatal(err)
	}
	if !ends(t, s, time.Minute) {
		t.Error("a message that is too long is waited for")
	}
}

// A guest that begins large messages on many streams, and ends none, has memory set aside
// for one; and holds up neither small ones nor others'.
func TestSieve_ReadsOneLargeMessageOfAGuest(t *testing.T) {
	bad := newHost(t)
	good, err := New(newHost(t), t.TempDir(), Options{}, &holders{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer good.Close()
	own := hostWithGuests{newHost(t), map[peer.ID]bool{bad.ID(): true, good.host.ID(): true}}
	n, err := New(own, t.TempDir(), Options{}, &holders{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	const streams = 8
	half := append(binary.AppendUvarint(nil, network.MessageSizeMax), make([]byte, network.MessageSizeMax-1)...)
	for i := range streams {
		s, while := talk(t, bad, own.Host), time.Minute
		if i > 0 {
			while = 200 * time.Millisecond
		}
		if err := s.SetWriteDeadline(time.Now().Add(while)); err != nil {
			t.Fatal(err)
		}
		if n, err := s.Write(half); (err == nil) != (i == 0) {
			t.Fatalf("stream %d: %d bytes are taken: %v", i, n, err)
		}
	}
	small := talk(t, bad, own.Host)
	b := block.NewBlock([]byte("a block"))
	if err := n.blocks.Put(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	answers := make(chan message.BitSwapMessage, 1)
	bad.SetStreamHandler(bsnet.ProtocolBitswap, func(s network.Stream) {
		defer s.Close()
		if m, _, err := message.FromMsgReader(msgio.NewVarintReaderSize(s, network.MessageSizeMax)); err == nil {
			answers <- m
		}
	})
	want := message.New(false)
	want.AddEntry(b.Cid(), 1, pb.Message_Wantlist_Block, true)
	if err := want.ToNetV1(small); err != nil {
		t.Fatal(err)
	}
	select {
	case m := <-answers:
		if len(m.Blocks()) != 1 {
			t.Errorf("a small message had the answer %v", m)
		}
	case <-time.After(time.Minute):
		t.Error("a small message has no answer")
	}
	file := ipfsconntest.File(t, 1, 4, 64<<10)
	ipfsconntest.Add(t, n, file)
	good.peers.(*holders).infos = []peer.AddrInfo{{ID: own.ID(), Addrs: own.Addrs()}}
	if err := good.Pin(within(t, time.Minute), ipfsconntest.Pin(file.Root), nil); err != nil {
		t.Errorf("a guest waits for another: %v", err)
	}
}

// FuzzCountEntries holds the count against what boxo makes of the same bytes.
func FuzzCountEntries(f *testing.F) {
	var wants bytes.Buffer
	if err := wantsOf(3).ToNetV1(&wants); err != nil {
		f.Fatal(err)
	}
	f.Add(wants.Bytes()[1:])
	mixed := message.New(true)
	mixed.AddBlock(block.NewBlock([]byte("a block")))
	mixed.AddHave(block.NewBlock([]byte("another")).Cid())
	var b bytes.Buffer
	if err := mixed.ToNetV1(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes()[1:])
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := countEntries(data)
		framed := append(binary.AppendUvarint(nil, uint64(len(data))), data...)
		m, _, boxoErr := message.FromMsgReader(msgio.NewVarintReaderSize(io.Reader(bytes.NewReader(framed)), network.MessageSizeMax))
		if boxoErr != nil {
			return
		}
		if err != nil {
			t.Fatalf("boxo reads what is refused: %v", err)
		}
		if has := len(m.Wantlist()) + len(m.Blocks()) + len(m.BlockPresences()); n < has {
			t.Fatalf("%d entries are counted where boxo finds %d", n, has)
		}
	})
}
