package embedded

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
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

// wantsBlocks is a message that asks for the blocks.
func wantsBlocks(all ...block.Block) message.BitSwapMessage {
	m := message.New(false)
	for _, b := range all {
		m.AddEntry(b.Cid(), 1, pb.Message_Wantlist_Block, true)
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

// A message that is too long ends a guest's stream. One of too many entries does not: who asks
// for very much at once has what it asked for first, and asks again for the rest.
func TestSieve_RefusesWhatIsTooMuch(t *testing.T) {
	guest, member := newHost(t), newHost(t)
	own := withGuests(t, guest)
	openOn(t, own, Options{})
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
	}{
		"more wants":                 {guest, wantsOf(guestEntries + 1)},
		"more of what it has":        {guest, tiny},
		"more wants, but a member's": {member, wantsOf(guestEntries + 1)},
	} {
		s := talk(t, test.from, own.Host)
		if err := test.say.ToNetV1(s); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if ends(t, s, time.Second) {
			t.Errorf("%s: the stream has ended", name)
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
	good := onLine(t, Options{})
	own := withGuests(t, bad, good.host)
	n := openOn(t, own, Options{})
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
	if err := wantsBlocks(b).ToNetV1(small); err != nil {
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

// FuzzSplit holds the parts of a message against what boxo makes of the whole.
func FuzzSplit(f *testing.F) {
	mixed := wantsOf(5)
	mixed.AddBlock(block.NewBlock([]byte("a block")))
	for n := range 3 {
		mixed.AddHave(block.NewBlock([]byte{byte(n)}).Cid())
	}
	full := message.New(true)
	full.Cancel(block.NewBlock([]byte("a block")).Cid())
	for _, m := range []message.BitSwapMessage{wantsOf(1), mixed, full} {
		var b bytes.Buffer
		if err := m.ToNetV1(&b); err != nil {
			f.Fatal(err)
		}
		_, n := binary.Uvarint(b.Bytes())
		f.Add(b.Bytes()[n:], uint8(2))
	}
	f.Fuzz(func(t *testing.T, data []byte, most uint8) {
		most = max(1, most)
		whole, err := decode(data)
		if err != nil {
			return
		}
		parts, err := split(data, int(most))
		if err != nil {
			t.Fatalf("boxo reads what is refused: %v", err)
		}
		got := map[string]bool{}
		i := 0
		for p := range parts {
			m, err := decode(bytes.Join(p.fields, nil))
			if err != nil {
				t.Fatalf("part %d: %v", i, err)
			}
			has := len(m.Wantlist()) + len(m.Blocks()) + len(m.BlockPresences())
			if p.entries < has || p.entries > int(most) {
				t.Errorf("part %d has %d entries, by its count %d of %d", i, has, p.entries, most)
			}
			if i > 0 && m.Full() {
				t.Errorf("part %d says that it has all wants", i)
			}
			if i == 0 && m.Full() != whole.Full() {
				t.Error("the first part says otherwise whether it has all wants")
			}
			maps.Copy(got, contents(m))
			i++
		}
		if want := contents(whole); !maps.Equal(got, want) {
			t.Errorf("the parts have %v, the whole %v", got, want)
		}
	})
}

func decode(m []byte) (message.BitSwapMessage, error) {
	framed := append(binary.AppendUvarint(nil, uint64(len(m))), m...)
	out, _, err := message.FromMsgReader(msgio.NewVarintReaderSize(bytes.NewReader(framed), network.MessageSizeMax))
	return out, err
}

// contents are the CIDs in a message, and whether they are its wants, blocks or presences.
func contents(m message.BitSwapMessage) map[string]bool {
	has := map[string]bool{}
	for _, e := range m.Wantlist() {
		has["want "+e.Cid.KeyString()] = true
	}
	for _, b := range m.Blocks() {
		has["block "+b.Cid().KeyString()] = true
	}
	for _, p := range m.BlockPresences() {
		has["presence "+p.Cid.KeyString()] = true
	}
	return has
}

// A message of many wants is worked at in parts, between which others have their turn; and
// it is as if it had come whole.
func TestSieve_WorksAtLongMessagesInParts(t *testing.T) {
	guest := newHost(t)
	own := &payingHost{hostWithGuests: withGuests(t, guest)}
	n := openOn(t, own, Options{})
	s := talk(t, guest, own.Host)
	const parts = 3
	if err := wantsOf(parts * guestPart).ToNetV1(s); err != nil {
		t.Fatal(err)
	}
	until(t, "all that it wants is known", func() bool {
		of := n.bitswap.serverOf(guest.ID())
		return of != nil && len(of.WantlistForPeer(guest.ID())) == parts*guestPart
	})
	own.mu.Lock()
	defer own.mu.Unlock()
	if len(own.paid) != parts {
		t.Errorf("%d parts are paid for, want %d", len(own.paid), parts)
	}
	if least := guestPart * guestEntryCost; own.paid[0] < least || own.paid[0] > 2*least {
		t.Errorf("the first part costs %v", own.paid[0])
	}
}

// Work that took longer than its entries cost is paid for with the next message.
func TestSieve_HasGuestsPayForLongWork(t *testing.T) {
	tr := &trader{heard: map[peer.ID]*account{"guest": {owes: time.Minute}}}
	if owes := tr.owes("guest"); owes != time.Minute {
		t.Errorf("it owes %v", owes)
	}
	if owes := tr.owes("guest") + tr.owes("another"); owes > 0 {
		t.Errorf("it owes %v once it has paid", owes)
	}
	guest := newHost(t)
	own := &payingHost{hostWithGuests: withGuests(t, guest)}
	n := openOn(t, own, Options{})
	s := talk(t, guest, own.Host)
	send := func(m message.BitSwapMessage) time.Duration {
		t.Helper()
		own.mu.Lock()
		before := len(own.paid)
		own.mu.Unlock()
		if err := m.ToNetV1(s); err != nil {
			t.Fatal(err)
		}
		var paid time.Duration
		until(t, "it has paid", func() bool {
			own.mu.Lock()
			defer own.mu.Unlock()
			if len(own.paid) == before {
				return false
			}
			paid = own.paid[before]
			return true
		})
		return paid
	}
	send(wantsOf(1))
	until(t, "the message is heard", func() bool { // which it is after it has been paid for
		n.bitswap.mu.Lock()
		defer n.bitswap.mu.Unlock()
		return n.bitswap.heard[guest.ID()] != nil
	})
	n.bitswap.charge(guest.ID(), time.Minute)
	if paid := send(wantsOf(1)); paid < time.Minute {
		t.Errorf("who owes a minute pays %v", paid)
	}
}

// payingHost notes what its guests pay.
type payingHost struct {
	hostWithGuests
	mu   sync.Mutex
	paid []time.Duration
}

// Spend implements privateHost.
func (h *payingHost) Spend(_ context.Context, _ peer.ID, work time.Duration) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.paid = append(h.paid, work)
	return nil
}

// Whatever a message has many of counts, also what nobody knows; what is too much is dropped.
func TestSplit_CountsAllFields(t *testing.T) {
	for what, field := range map[string][]byte{"unknown fields": {15 << 3, 0}, "empty lists of wants": {1<<3 | 2, 0}} {
		parts, err := split(bytes.Repeat(field, guestEntries+guestPart), guestPart)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if n := len(slices.Collect(parts)); n != guestEntries/guestPart {
			t.Errorf("%s: %d parts", what, n)
		}
	}
}

// Of a guest one part is worked at at a time, whatever streams it has: the next is admitted
// once that has paid for the last.
func TestSieve_HasStreamsPayInTurn(t *testing.T) {
	guest := newHost(t)
	own := &payingHost{hostWithGuests: withGuests(t, guest)}
	n := openOn(t, own, Options{})
	var owes atomic.Int64
	v := newSieve(n, func(peer.ID) time.Duration { return time.Duration(owes.Swap(0)) })
	s := talk(t, guest, own.Host)
	one, two := v.stream(s), v.stream(s)
	one.from, two.from = guest.ID(), guest.ID()
	if err := one.admit(part{}); err != nil {
		t.Fatal(err)
	}
	admitted := make(chan error)
	go func() { admitted <- two.admit(part{}) }()
	until(t, "the other waits", func() bool {
		v.working.mu.Lock()
		defer v.working.mu.Unlock()
		return v.working.of[guest.ID()].users == 2
	})
	owes.Store(int64(time.Minute))
	one.end()
	if err := <-admitted; err != nil {
		t.Fatal(err)
	}
	two.end()
	own.mu.Lock()
	defer own.mu.Unlock()
	if paid := own.paid[len(own.paid)-1]; paid < time.Minute {
		t.Errorf("the second pays %v of a minute", paid)
	}
}

// For a guest that has hung up nothing is worked, though its turn has come.
func TestSieve_WorksForNobodyWhoHasGone(t *testing.T) {
	guest := newHost(t)
	own := withGuests(t, guest)
	n := openOn(t, own, Options{})
	streams := make(chan network.Stream, 1)
	own.Host.SetStreamHandler("/test", func(s network.Stream) { streams <- s })
	if err := guest.Connect(t.Context(), peer.AddrInfo{ID: own.ID(), Addrs: own.Addrs()}); err != nil {
		t.Fatal(err)
	}
	s, err := guest.NewStream(t.Context(), own.ID(), "/test")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte{0}); err != nil {
		t.Fatal(err)
	}
	v := newSieve(n, func(peer.ID) time.Duration { return 0 })
	one := v.stream(<-streams)
	if err := one.admit(part{}); err != nil {
		t.Errorf("of one that is there: %v", err)
	}
	one.end()
	if err := one.Conn().Close(); err != nil {
		t.Fatal(err)
	}
	if err := one.admit(part{}); err == nil {
		t.Error("of one that has gone it is admitted")
	}
	one.end()
	if len(v.atWork) > 0 {
		t.Errorf("%d messages are worked at", len(v.atWork))
	}
}

// A message that has begun has to come within a while, however small; a stream on which none
// has may stay.
func TestSieve_EndsMessagesThatDoNotCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &Node{host: hostWithGuests{guests: map[peer.ID]bool{"guest": true}}, closing: t.Context()}
		of := newSieve(n, func(peer.ID) time.Duration { return 0 })
		open := func() (*sievedStream, net.Conn) {
			here, there := net.Pipe()
			t.Cleanup(func() { there.Close() })
			return of.stream(pipeStream{of: here}), there
		}
		var whole bytes.Buffer
		if err := wantsOf(1).ToNetV1(&whole); err != nil {
			t.Fatal(err)
		}
		s, there := open()
		go there.Write(whole.Bytes()[:5])
		began := time.Now()
		if _, err := s.Read(make([]byte, 100)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) > 2*guestTime {
			t.Errorf("a message that does not come: %v after %v", err, time.Since(began))
		}
		s, there = open()
		go func() {
			for range 2 {
				time.Sleep(10 * guestTime)
				there.Write(whole.Bytes())
			}
		}()
		if _, err := io.ReadFull(s, make([]byte, 2*whole.Len())); err != nil {
			t.Errorf("messages that come late: %v", err)
		}
		s.end()
	})
}

// pipeStream is a guest's stream that is a pipe.
type pipeStream struct {
	network.Stream
	of net.Conn
}

func (p pipeStream) Read(b []byte) (int, error)        { return p.of.Read(b) }
func (p pipeStream) SetReadDeadline(t time.Time) error { return p.of.SetReadDeadline(t) }
func (pipeStream) Conn() network.Conn                  { return guestConn{} }

type guestConn struct{ network.Conn }

func (guestConn) RemotePeer() peer.ID { return "guest" }
func (guestConn) IsClosed() bool      { return false }
