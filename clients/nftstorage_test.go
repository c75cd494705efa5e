//go:build clients

package clients

import (
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// @nftstorage/ipfs-cluster, by its methods and their options.
func TestNFTStorageClient(t *testing.T) {
	peers, guarded := cluster(t), newLone(t)
	port := guarded.api[strings.LastIndex(guarded.api, "/")+1:]
	modules := os.Getenv("NODE_MODULES")
	out, err := run(t, 2*time.Minute, []string{
		"API=" + peers[0].API,
		"GUARDED=" + (&url.URL{Scheme: "http", Host: net.JoinHostPort("127.0.0.1", port)}).String(),
		"CREDENTIALS=" + user + ":" + password,
		"MODULES=" + modules,
		"CLIENT=" + filepath.Join(modules, "@nftstorage/ipfs-cluster/src/index.js"),
	}, "node", "nftstorage.mjs")
	t.Log(out)
	if err != nil {
		t.Fatal(err)
	}
}
