package embedded

import (
	"context"
	"sync"
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

// A turncoat says that it has all it is asked for, gives two blocks, and then none. Asked for
// the bait it says that it has not got that after all, and gives one of those that it owes, in
// one message.
type turncoat struct {
	host.Host
	to   peer.ID
	has  map[cid.Cid]block.Block
	bait cid.Cid

	mu       sync.Mutex
	gave     int
	owes     map[cid.Cid]bool
	owesMany chan struct{} // closed once it does
	turned   bool
}

func (l *turncoat) handle(s network.Stream) {
	r := msgio.NewVarintReaderSize(s, network.MessageSizeMax)
	for {
		m, _, err := message.FromMsgReader(r)
		if err != nil {
			return
		}
		if re := l.answer(m); !re.Empty() {
			l.send(re)
		}
	}
}

func (l *turncoat) answer(m message.BitSwapMessage) message.BitSwapMessage {
	l.mu.Lock()
	defer l.mu.Unlock()
	re := message.New(false)
	for _, e := range m.Wantlist() {
		switch {
		case e.Cancel:
			delete(l.owes, e.Cid)
		case l.turned:
		case e.WantType == pb.Message_Wantlist_Have:
			re.AddHave(e.Cid)
		case l.gave < 2:
			l.gave++
			re.AddBlock(l.has[e.Cid])
		case e.Cid.Equals(l.bait):
			l.turned = true
			re = message.New(false)
			re.AddDontHave(e.Cid)
			for c := range l.owes {
				re.AddBlock(l.has[c])
				break
			}
			return re
		default:
			if l.owes[e.Cid] = true; len(l.owes) == 6 {
				select {
				case <-l.owesMany:
				default:
					close(l.owesMany)
				}
			}
		}
	}
	return re
}

func (l *turncoat) send(m message.BitSwapMessage) {
	s, err := l.NewStream(context.Background(), l.to, bsnet.ProtocolBitswap)
	if err != nil {
		return // the other has gone
	}
	_ = m.ToNetV1(s)
	s.Close()
}

// What a guest owes that is not heard any more is asked of others, though it gives a block
// with the word for which it is not heard.
func TestTrader_AsksOthersForWhatATurncoatOwes(t *testing.T) {
	for end := time.Now().Add(2 * time.Minute); !betrayed(t); {
		if time.Now().After(end) {
			t.Fatal("it is asked for nothing")
		}
	}
}

// betrayed is false where the member has given all before much was asked of the turncoat.
func betrayed(t *testing.T) bool {
	t.Helper()
	member, own, liar := newHost(t), newHost(t), newHost(t)
	holder := openOn(t, member, Options{})
	file, bait := ipfsconntest.File(t, 1, 1000, 16<<10), ipfsconntest.File(t, 2, 20, 16<<10)
	ipfsconntest.Add(t, holder, file)
	l := &turncoat{Host: liar, to: own.ID(), has: map[cid.Cid]block.Block{}, bait: bait.Root.Cid, owes: map[cid.Cid]bool{}, owesMany: make(chan struct{})}
	for _, b := range append(file.Blocks, bait.Blocks...) {
		l.has[b.Cid()] = b
	}
	liar.SetStreamHandler(bsnet.ProtocolBitswap, l.handle)
	n, err := New(hostWithGuests{Host: own, guests: map[peer.ID]bool{liar.ID(): true}}, t.TempDir(), Options{Stall: 25 * time.Second},
		&holders{infos: []peer.AddrInfo{{ID: member.ID(), Addrs: member.Addrs()}}}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if err := liar.Connect(t.Context(), peer.AddrInfo{ID: own.ID(), Addrs: own.Addrs()}); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- n.Pin(within(t, time.Minute), ipfsconntest.Pin(file.Root), nil) }()
	select {
	case <-l.owesMany:
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
		return false
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	lured := make(chan error, 1)
	go func() { lured <- n.Pin(ctx, ipfsconntest.Pin(bait.Root), nil) }()
	if err := <-done; err != nil {
		t.Error(err)
	}
	stop()
	<-lured
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.turned {
		t.Error("it was not asked for the bait")
	}
	return true
}
