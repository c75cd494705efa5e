package embedded

import (
	"log/slog"
	"testing"

	"github.com/pinfold-cluster/pinfold/ipfsconn"
	"github.com/pinfold-cluster/pinfold/ipfsconn/ipfsconntest"
)

var quiet = slog.New(slog.DiscardHandler)

func TestSuiteOffLine(t *testing.T) {
	ipfsconntest.Run(t, func(t *testing.T) ipfsconn.Connector { return offLine(t, Options{}) })
}

// offLine opens a node without a host.
func offLine(t *testing.T, o Options) *Node {
	t.Helper()
	n, err := New(nil, t.TempDir(), o, nil, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}
