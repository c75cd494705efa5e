package feed

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pinfold-cluster/pinfold/api"
)

// oldRoot says that no batches lead on, and gives a root that a member signed long ago, with
// its pages.
type oldRoot struct {
	source
	net    Network
	signed []byte
	pages  *Publisher
	asked  chan struct{}
}

func (o *oldRoot) hello(_ context.Context, from api.PeerID, _ hello) (hello, error) {
	return hello{Admitted: o.net.Welcome(from)}, nil
}

func (o *oldRoot) root(context.Context) ([]byte, error) {
	select {
	case o.asked <- struct{}{}:
	default:
	}
	return o.signed, nil
}

func (o *oldRoot) page(ctx context.Context, h []byte) ([]byte, error) { return o.pages.page(ctx, h) }

func (o *oldRoot) since(context.Context, uint64, [32]byte, func([]byte) error) error {
	return api.NotFound.Errorf("what came after is not here any more")
}

// A neighbour that shows what the pinset was, as a member signed it, does not have a
// follower go back to that; nor does it keep it from going on.
func TestFollower_DoesNotGoBack(t *testing.T) {
	w := newWorld(t, 1)
	w.pin(0, 20)
	m := w.members[0]
	signed, err := m.pub.root(t.Context())
	check(t, err)
	f := w.follow(FollowerOptions{Patience: 200 * time.Millisecond})
	w.same(f)
	w.pin(20, 60)
	w.same(f)
	was := f.st.Digest()
	f.stop()
	check(t, os.Remove(filepath.Join(f.dir, bookFile)))
	i := w.intrude()
	old := &oldRoot{net: i, signed: signed, pages: m.pub, asked: make(chan struct{})}
	run(t, newStreams(i, old, 0, feedLog()).run)
	members := f.o.Members
	f.o.Members = []peer.AddrInfo{info(i.host)}
	f.start()
	for range 2 { // the first has been looked at by then
		select {
		case <-old.asked:
		case <-time.After(time.Minute):
			t.Fatal("it is not asked for its root")
		}
	}
	if now := f.st.Digest(); now != was {
		t.Fatalf("the follower stood at %d, and stands at %d", was.Index, now.Index)
	}
	f.stop()
	f.o.Members = members
	w.pin(60, 80)
	f.start()
	w.same(f)
}
