package embedded

import (
	"testing"
	"time"

	"github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pinfold-cluster/pinfold/ipfsconn/ipfsconntest"
)

// hostWithGuests lets some in who are no members.
type hostWithGuests struct {
	host.Host
	guests map[peer.ID]bool
}

func (hostWithGuests) Expect(peer.ID)             {}
func (hostWithGuests) Forget(peer.ID)             {}
func (hostWithGuests) MayFetch(peer.ID) bool      { return true }
func (h hostWithGuests) IsMember(id peer.ID) bool { return !h.guests[id] }

// Guests that ask for much and read nothing take nothing from members, and are not waited
// for at the end.
func TestTrader_MutesHoldUpNoMember(t *testing.T) {
	guests := []host.Host{newHost(t), newHost(t), newHost(t)}
	own := hostWithGuests{newHost(t), map[peer.ID]bool{}}
	for _, g := range guests {
		own.guests[g.ID()] = true
	}
	holder, err := New(own, t.TempDir(), Options{}, &holders{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	large, small := ipfsconntest.File(t, 1, 64, 1<<20), ipfsconntest.File(t, 2, 4, 256<<10)
	ipfsconntest.Add(t, holder, large)
	ipfsconntest.Add(t, holder, small)
	wants := message.New(true)
	for _, b := range large.Blocks {
		wants.AddEntry(b.Cid(), 1, pb.Message_Wantlist_Block, true)
	}
	for _, g := range guests {
		sent := make(chan network.Stream, 1000)
		g.SetStreamHandler(bsnet.ProtocolBitswap, func(s network.Stream) { sent <- s }) // and reads nothing
		if err := g.Connect(t.Context(), peer.AddrInfo{ID: holder.host.ID(), Addrs: holder.host.Addrs()}); err != nil {
			t.Fatal(err)
		}
		s, err := g.NewStream(t.Context(), holder.host.ID(), bsnet.ProtocolBitswap)
		if err != nil {
			t.Fatal(err)
		}
		if err := wants.ToNetV1(s); err != nil {
			t.Fatal(err)
		}
		select {
		case <-sent:
		case <-within(t, 20*time.Second).Done():
			t.Fatal("a guest waits for another")
		}
	}

	member := onLine(t, Options{}, holder)
	if err := member.Pin(within(t, 20*time.Second), ipfsconntest.Pin(small.Root), nil); err != nil {
		t.Errorf("a member waits for a guest: %v", err)
	}
	closed := make(chan error, 1)
	go func() { closed <- holder.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(8 * time.Second): // boxo sends for ten at least
		t.Error("the node waits for the guest")
		<-closed
	}
}
