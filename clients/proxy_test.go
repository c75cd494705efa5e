//go:build clients

package clients

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	helloCid = "QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN"
	treeCid  = "QmPwsGj9x8K7K3mHDpM21gmvBhrzpwd4C169DcPWqPvrcw"
	// Of "hello\n" inlined, and with mode 0640 and a time of 10^9.
	inlinedCid = "bafyaadqkbqeaeeqgnbswy3dpbimam"
	statCid    = "QmTMA2uXy9RB1eUrrsBcK61wWfT4vD2VGuzzTeYDzhAjA9"
)

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// What a page of the WebUI imports is in the cluster under its name, and goes when it is
// removed there.
func TestProxy_FilesAreKept(t *testing.T) {
	peers := cluster(t)
	c, other := newIPFS(t, peers[0].Proxy), newIPFS(t, peers[1].Proxy)
	file := write(t, t.TempDir(), "a.txt", "hello\n")
	c.says(helloCid, "add", "--pin=false", "-Q", file)
	c.says("", "files", "cp", "/ipfs/"+helloCid, "/imported.txt")
	listed := func() bool {
		out, err := other.run("pin", "ls", "--names", "--type=recursive")
		return err == nil && strings.Contains(out, helloCid+" recursive /imported.txt")
	}
	eventually(t, 3*time.Minute, "the other peer lists the file", listed)
	eventually(t, 3*time.Minute, "the other peer has the file itself", func() bool {
		out, err := other.run("--offline", "cat", helloCid)
		return err == nil && out == "hello"
	})
	c.says("", "files", "rm", "/imported.txt")
	eventually(t, 3*time.Minute, "it is let go", func() bool { return !listed() })
}

// kubo-rpc-client, by the methods that it has.
func TestProxy_KuboRPCClient(t *testing.T) {
	peers := cluster(t, "CLUSTER_PINSVCAPI_BASICAUTHCREDENTIALS="+user+":"+password)
	out, err := run(t, 3*time.Minute, []string{
		"PROXY=" + peers[0].Proxy, "OTHER=" + peers[1].Proxy,
		"PINSVC=" + peers[0].PinSvc, "TOKEN=" + token(t, peers[0].PinSvc),
		"CLIENT=" + filepath.Join(os.Getenv("NODE_MODULES"), "kubo-rpc-client/dist/src/index.js"),
	}, "node", "kuborpc.mjs")
	t.Log(out)
	if err != nil {
		t.Fatal(err)
	}
}

// Pages of other sites cannot do anything, with any client's headers.
func TestProxy_RefusesOtherSites(t *testing.T) {
	peers := cluster(t)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, peers[0].Proxy+"/api/v0/pin/add?arg="+helloCid, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Origin", "https://elsewhere.example")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusForbidden {
		t.Fatalf("got %s, want 403", res.Status)
	}
	var list struct{ Keys map[string]any }
	res, err = http.Post(peers[0].Proxy+"/api/v0/pin/ls?type=recursive", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(res.Body); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(body.Bytes(), &list); err != nil || len(list.Keys) != 0 {
		t.Fatalf("got %s, %v; want no pins", body.String(), err)
	}
}
