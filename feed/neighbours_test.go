package feed

import (
	"context"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/pinfold-cluster/pinfold/api"
)

// away is a network on which nobody answers.
type away struct{ Network }

func (away) ID() api.PeerID          { return "self" }
func (away) Connected() []api.PeerID { return nil }
func (away) Connect(ctx context.Context, _ peer.AddrInfo) error {
	<-ctx.Done()
	return ctx.Err()
}

// Of those that a follower knew when it left most may be away when it is back. It tries
// enough of them before it calls a member, which it does in time all the same.
func TestKeeper_WhoIsAloneTriesManyBeforeAMember(t *testing.T) {
	at := []api.Multiaddr{multiaddr.StringCast("/ip4/192.0.2.1/tcp/9096")}
	begin := time.Now()
	b, err := openBook(t.TempDir()+"/"+bookFile, []peer.AddrInfo{{ID: "member", Addrs: at}}, feedLog())
	check(t, err)
	for _, id := range "abcdefghijklmnop" {
		b.learn(peer.AddrInfo{ID: api.PeerID(id), Addrs: at})
	}
	b.refused = begin.Add(-time.Hour)
	st := openState(t, t.TempDir())
	defer st.Close()
	f := &Follower{net: away{}, book: b, o: FollowerOptions{}.withDefaults(), log: feedLog(), st: st, neighbours: map[api.PeerID]Peer{}, words: words{}}
	ctx, cancel := context.WithCancel(t.Context())
	k := newKeeper(f, begin)
	defer k.calls.Wait()
	defer cancel()
	k.look(ctx, begin)
	if n := len(k.busy); n != f.o.Neighbours || k.busy["member"] {
		t.Errorf("%d are called at once, want %d; a member: %t", n, f.o.Neighbours, k.busy["member"])
	}
	k.look(ctx, begin.Add(aloneFor+time.Second))
	if !k.busy["member"] {
		t.Errorf("%v later no member is called: %d others are", aloneFor, len(k.busy))
	}
}
