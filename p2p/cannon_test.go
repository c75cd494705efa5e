package p2p

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/record"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"google.golang.org/protobuf/proto"
)

// A victim is somebody who listens and has nothing to do with the cluster.
type victim struct {
	*net.TCPListener
	addr multiaddr.Multiaddr
}

func newVictim(t *testing.T) victim {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	addr, err := manet.FromNetAddr(l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	return victim{l.(*net.TCPListener), addr}
}

// leftAlone fails the test if anybody calls within half a second.
func (v victim) leftAlone(t *testing.T) {
	t.Helper()
	if err := v.SetDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if c, err := v.Accept(); err == nil {
		c.Close()
		t.Error("somebody is called whom a stranger named")
	}
}

// Gossipsub lets who leaves a mesh name others to call instead, at addresses that these
// signed themselves: of as many identities as one makes, and any addresses.
func TestFeed_CallsNobodyWhomAPruneNames(t *testing.T) {
	c := newTestCluster(t)
	id := newIdentity(t)
	server := c.host(id, c.certified(id.ID, newIdentity(t).ID), Options{Guests: 2})
	if err := server.Feed().Join(func(peer.ID, []byte) Verdict { return Forward }); err != nil {
		t.Fatal(err)
	}
	stop, err := server.Feed().Relay()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	guest, v := c.stranger(), newVictim(t)
	answers := make(chan *pb.RPC, 64)
	guest.h.SetStreamHandler(feedGossip, func(s network.Stream) {
		r := bufio.NewReader(s)
		for {
			n, err := binary.ReadUvarint(r)
			if err != nil || n > MaxFeedMessage {
				return
			}
			b := make([]byte, n)
			var rpc pb.RPC
			if _, err := io.ReadFull(r, b); err != nil || proto.Unmarshal(b, &rpc) != nil {
				return
			}
			select {
			case answers <- &rpc:
			default:
			}
		}
	})
	connect(t, guest, server)
	if !server.Welcome(guest.ID()) {
		t.Fatal("no place")
	}
	s, err := guest.h.NewStream(t.Context(), server.ID(), feedGossip)
	if err != nil {
		t.Fatal(err)
	}
	say := func(r *pb.RPC) {
		t.Helper()
		b, err := proto.Marshal(r)
		if err == nil {
			_, err = s.Write(append(binary.AppendUvarint(nil, uint64(len(b))), b...))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	topic := feedTopic
	graft := &pb.ControlMessage{Graft: []*pb.ControlGraft{{TopicID: &topic}}}
	say(&pb.RPC{Subscriptions: []*pb.RPC_SubOpts{{Subscribe: new(true), Topicid: &topic}}, Control: graft})

	named := newIdentity(t)
	signed, err := record.Seal(&peer.PeerRecord{PeerID: named.ID, Addrs: []multiaddr.Multiaddr{v.addr}, Seq: 1}, named.Key)
	if err != nil {
		t.Fatal(err)
	}
	envelope, err := signed.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	say(&pb.RPC{Control: &pb.ControlMessage{Prune: []*pb.ControlPrune{{
		TopicID: &topic, Backoff: new(uint64(60)),
		Peers: []*pb.PeerInfo{{PeerID: []byte(named.ID), SignedPeerRecord: envelope}},
	}}}})
	say(&pb.RPC{Control: graft}) // to be refused: it has just left
	for refused := false; !refused; {
		select {
		case rpc := <-answers:
			refused = len(rpc.GetControl().GetPrune()) > 0
		case <-time.After(60 * time.Second):
			t.Fatal("it is not heard")
		}
	}
	v.leftAlone(t)
}

// A visitor tells its addresses, and goes: to be asked something it would have to be called.
func TestHost_OpenCallsNobody(t *testing.T) {
	c := newTestCluster(t)
	server, visitor, v := c.member(), c.stranger(), newVictim(t)
	connect(t, visitor, server)
	if err := visitor.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is gone", func() bool { return len(server.Connected()) == 0 })
	server.h.Peerstore().AddAddr(visitor.ID(), v.addr, peerstore.RecentlyConnectedAddrTTL)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if s, err := server.Open(ctx, visitor.ID(), echoProtocol); err == nil {
		s.Close()
		t.Error("a stream to who is not there")
	}
	v.leftAlone(t)
}

// Nobody gets a place at a member for nothing: whoever has a member call takes one.
func TestHost_WhoIsCalledByAMemberTakesAPlace(t *testing.T) {
	c := newTestCluster(t)
	id := newIdentity(t)
	server := c.host(id, c.certified(id.ID, newIdentity(t).ID), Options{Guests: 1})
	guest, called := c.stranger(), c.stranger()
	connect(t, guest, server)
	connect(t, server, called)
	if !server.Welcome(guest.ID()) || server.Welcome(called.ID()) {
		t.Errorf("%d guests, where there is one place", len(server.Guests()))
	}
}
