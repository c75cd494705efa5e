//go:build clients

package clients

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ipfs runs the `ipfs` command line against a peer's proxy.
type ipfs struct {
	t       *testing.T
	environ []string
	api     string
}

func newIPFS(t *testing.T, proxy string) *ipfs {
	t.Helper()
	u, err := url.Parse(proxy)
	if err != nil {
		t.Fatal(err)
	}
	c := &ipfs{t, []string{"IPFS_PATH=" + filepath.Join(t.TempDir(), "ipfs"), "IPFS_TELEMETRY=off"}, "/ip4/" + u.Hostname() + "/tcp/" + u.Port()}
	if _, err := run(t, time.Minute, c.environ, tool(t, "TOOLS", "ipfs"), "init", "--profile", "test"); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *ipfs) run(args ...string) (string, error) {
	c.t.Helper()
	out, err := run(c.t, time.Minute, c.environ, tool(c.t, "TOOLS", "ipfs"), append([]string{"--api", c.api}, args...)...)
	return strings.TrimSpace(out), err
}

// says runs a command and looks for what it is to say.
func (c *ipfs) says(want string, args ...string) string {
	c.t.Helper()
	out, err := c.run(args...)
	if err != nil || !strings.Contains(out, want) {
		c.t.Errorf("ipfs %s: %v, said %q; want %q in it", strings.Join(args, " "), err, out, want)
	}
	return out
}

const (
	helloCid = "QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN"
	treeCid  = "QmPwsGj9x8K7K3mHDpM21gmvBhrzpwd4C169DcPWqPvrcw"
)

// The commands that people use most, on one peer; and what they did, on another.
func TestProxy_CommandLine(t *testing.T) {
	peers := cluster(t)
	c, other := newIPFS(t, peers[0].Proxy), newIPFS(t, peers[1].Proxy)
	dir := t.TempDir()
	for name, text := range map[string]string{"a.txt": "hello\n", "d/one": "one\n", "d/sub/two": "two\n"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file, tree := filepath.Join(dir, "a.txt"), filepath.Join(dir, "d")
	c.says(helloCid+" a.txt", "add", file)
	c.says(treeCid+" d", "add", "-r", tree)
	c.says(helloCid, "add", "-n", "-Q", file)
	c.says("hello", "cat", helloCid)
	c.says("sub/", "ls", treeCid)
	c.says("Saving file", "get", "-o", filepath.Join(dir, "got"), treeCid)
	if b, err := os.ReadFile(filepath.Join(dir, "got/sub/two")); err != nil || string(b) != "two\n" {
		t.Errorf("get: got %q, %v", b, err)
	}
	c.says(helloCid+" recursive", "pin", "ls", "--type=recursive")
	c.says("pinned", "pin", "add", "--name", "named", helloCid)
	c.says("named", "pin", "ls", "--names", "--type=recursive")
	c.says("pinned "+helloCid, "pin", "add", "--progress", helloCid)
	eventually(t, time.Minute, "the other peer has it", func() bool {
		out, err := other.run("cat", helloCid)
		return err == nil && out == "hello"
	})
	eventually(t, time.Minute, "the other peer lists it", func() bool {
		out, err := other.run("pin", "ls", "--names", "--type=recursive")
		return err == nil && strings.Contains(out, "named")
	})
	c.says("", "pin", "verify")
	c.says("unpinned", "pin", "rm", helloCid)
	if out, err := c.run("pin", "rm", helloCid); err == nil {
		t.Errorf("unpinned twice: %q", out)
	}
	c.says("QmapoNeQhJxjMDWstx27etyxMNLU4MtkDk8BMfyHRao8P8", "refs", "-r", treeCid)
	c.says("bafk", "refs", "local")
	c.says("/ipfs/QmapoNeQhJxjMDWstx27etyxMNLU4MtkDk8BMfyHRao8P8", "resolve", "/ipfs/"+treeCid+"/sub/two")
	block := c.says("bafk", "block", "put", file)
	c.says("Size: 6", "block", "stat", block)
	c.says("hello", "block", "get", block)
	node := c.says("bafy", "dag", "put", "--input-codec=dag-json", write(t, dir, "n.json", `{"a":1}`))
	c.says("1", "dag", "get", node+"/a")
	c.says("\"Links\"", "dag", "get", treeCid)
	c.says(treeCid, "dag", "stat", treeCid)
	exported, err := c.run("dag", "export", treeCid)
	if err != nil {
		t.Fatal(err)
	}
	c.says(treeCid, "dag", "import", write(t, dir, "d.car", exported))
	c.says("", "files", "mkdir", "-p", "/docs/deep")
	c.says("", "files", "cp", "/ipfs/"+treeCid, "/docs/tree")
	c.says("", "files", "write", "--create", "/docs/w", file)
	c.says("hello", "files", "read", "/docs/w")
	c.says("tree", "files", "ls", "-l", "/docs")
	c.says("Type: directory", "files", "stat", "/docs/tree")
	c.says("", "files", "mv", "/docs/w", "/docs/deep/w")
	c.says("", "files", "rm", "-r", "/docs/deep")
	c.says("RepoSize", "repo", "stat")
	c.says("", "repo", "gc")
	c.says("verify complete", "repo", "verify")
	c.says("pinfold/", "id")
	c.says("0.42.0", "version")
	c.says("/p2p/", "swarm", "peers")
	c.says("/ip4/", "swarm", "addrs", "local")
	c.says("TotalIn", "stats", "bw")
	c.says("bitswap status", "stats", "bitswap")
	c.says("k51", "key", "gen", "k1")
	c.says("self", "key", "list")
	c.says("Published", "name", "publish", "--key=k1", "--allow-offline", treeCid)
	c.says("PeerID", "config", "show")
	c.says("ipfs pin ls", "commands")
	if out, err := c.run("pubsub", "ls"); err == nil {
		t.Errorf("pubsub: %q, want the error of a command that is not there", out)
	}
}

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
	eventually(t, time.Minute, "the other peer lists the file", listed)
	eventually(t, time.Minute, "the other peer has the file itself", func() bool {
		out, err := other.run("--offline", "cat", helloCid)
		return err == nil && out == "hello"
	})
	c.says("", "files", "rm", "/imported.txt")
	eventually(t, time.Minute, "it is let go", func() bool { return !listed() })
}

// kubo-rpc-client, by the methods that it has.
func TestProxy_KuboRPCClient(t *testing.T) {
	peers := cluster(t)
	modules := os.Getenv("NODE_MODULES")
	script, err := filepath.Abs("kuborpc.mjs")
	if err != nil {
		t.Fatal(err)
	}
	out, err := run(t, 3*time.Minute, []string{"NODE_PATH=" + modules, "PROXY=" + peers[0].Proxy, "CLIENT=" + filepath.Join(modules, "kubo-rpc-client/dist/src/index.js")},
		"node", script)
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
