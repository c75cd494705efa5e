package kubo

import (
	"log/slog"
	"net/url"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn"
	"github.com/pinfold-cluster/pinfold/ipfsconn/ipfsconntest"
	"github.com/pinfold-cluster/pinfold/ipfsconn/kubo/kubotest"
)

var quiet = slog.New(slog.DiscardHandler)

// TestSuite runs against a real Kubo 0.42: make kubo installs it.
func TestSuite(t *testing.T) {
	addr := kubotest.Daemon(t)
	ipfsconntest.Run(t, func(t *testing.T) ipfsconn.Connector {
		n, err := New(Options{NodeMultiaddress: addr, PinTimeout: 5 * time.Second}, quiet)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := n.Close(); err != nil {
				t.Error(err)
			}
		})
		empty(t, n)
		return n
	})
}

// empty takes everything off the node.
func empty(t *testing.T, n *Node) {
	t.Helper()
	for p, err := range n.Pinned(t.Context(), api.CidUndef) {
		if err == nil {
			err = n.unpin(t.Context(), p.Cid)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	err := n.call(t.Context(), nil, "files/rm", url.Values{"arg": {"/pinfold"}, "recursive": {"true"}, "force": {"true"}})
	if err != nil && api.KindOf(err) != api.NotFound {
		t.Fatal(err)
	}
	ipfsconntest.Collect(t, n)
}
