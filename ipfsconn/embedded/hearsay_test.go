package embedded

import (
	"context"
	"fmt"
	"slices"
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
	"github.com/multiformats/go-multihash"

	"github.com/pinfold-cluster/pinfold/ipfsconn/ipfsconntest"
)

// liarHost says that it has whatever it is asked for, and gives nothing.
func liarHost(t *testing.T) host.Host {
	h := muteHost(t, make(chan struct{}))
	h.SetStreamHandler(bsnet.ProtocolBitswap, func(s network.Stream) {
		r := msgio.NewVarintReaderSize(s, 4<<20)
		var out network.Stream
		for {
			m, _, err := message.FromMsgReader(r)
			if err != nil {
				return
			}
			re := message.New(false)
			n := 0
			for _, e := range m.Wantlist() {
				if e.Cancel {
					continue
				}
				if e.WantType == pb.Message_Wantlist_Have {
					re.AddHave(e.Cid)
					n++
				}
			}
			if n == 0 {
				continue
			}
			if out == nil {
				if out, err = h.NewStream(context.Background(), s.Conn().RemotePeer(), bsnet.ProtocolBitswap); err != nil {
					return
				}
			}
			if err := re.ToNetV1(out); err != nil {
				return
			}
		}
	})
	return h
}

// Guests that say they have everything, and give nothing, hold up nothing that a member has.
func TestTrader_LiarsHoldUpNoMember(t *testing.T) {
	guests := map[peer.ID]bool{}
	own := hostWithGuests{newHost(t), guests}
	var liars []host.Host
	for range 8 {
		l := liarHost(t)
		guests[l.ID()] = true
		liars = append(liars, l)
	}
	member := newHost(t)
	holder, err := New(member, t.TempDir(), Options{}, &holders{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	n, err := New(own, t.TempDir(), Options{Wary: true}, &holders{infos: []peer.AddrInfo{{ID: member.ID(), Addrs: member.Addrs()}}}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	for _, l := range liars {
		if err := l.Connect(t.Context(), peer.AddrInfo{ID: own.ID(), Addrs: own.Addrs()}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 8 {
		file := ipfsconntest.File(t, uint64(1+i), 64, 64<<10)
		ipfsconntest.Add(t, holder, file)
		if err := n.Pin(within(t, 20*time.Second), ipfsconntest.Pin(file.Root), nil); err != nil {
			t.Fatalf("file %d: %v", i, err)
		}
	}
}

// What a guest alone has comes from it.
func TestTrader_HasFromGuestsWhatMembersLack(t *testing.T) {
	guest, err := New(newHost(t), t.TempDir(), Options{}, &holders{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer guest.Close()
	own := hostWithGuests{newHost(t), map[peer.ID]bool{guest.host.ID(): true}}
	n, err := New(own, t.TempDir(), Options{Wary: true}, &holders{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if err := guest.host.Connect(t.Context(), peer.AddrInfo{ID: own.ID(), Addrs: own.Addrs()}); err != nil {
		t.Fatal(err)
	}
	file := ipfsconntest.File(t, 1, 64, 64<<10)
	ipfsconntest.Add(t, guest, file)
	if err := n.Pin(within(t, 60*time.Second), ipfsconntest.Pin(file.Root), nil); err != nil {
		t.Fatal(err)
	}
}

// What guests say is bounded, in blocks and in bytes.
func TestHearsay_KeepsLittle(t *testing.T) {
	h := &hearsay{young: map[peer.ID][]cid.Cid{}}
	long, err := multihash.Encode(make([]byte, 1<<20), multihash.IDENTITY)
	if err != nil {
		t.Fatal(err)
	}
	m := message.New(false)
	m.AddHave(cid.NewCidV1(cid.Raw, long))
	for n := range 2 * hearsayMost {
		m.AddHave(block.NewBlock(fmt.Append(nil, n)).Cid())
	}
	there := block.NewBlock([]byte("there"))
	m.AddBlock(there)
	lacks := block.NewBlock([]byte("lacks")).Cid()
	m.AddDontHave(lacks)
	rest := h.keep("guest", m)
	if len(rest.Haves()) > 0 || len(rest.Blocks()) != 1 || !slices.Equal(rest.DontHaves(), []cid.Cid{lacks}) {
		t.Errorf("the client hears of %d at once, %d blocks and of %v that are not there", len(rest.Haves()), len(rest.Blocks()), rest.DontHaves())
	}
	bytes := 0
	for _, c := range h.young["guest"] {
		bytes += c.ByteLen()
	}
	if n := len(h.young["guest"]); n != hearsayMost || bytes > hearsayMost*hearsayLong {
		t.Errorf("%d are kept, of %d bytes", n, bytes)
	}
}
