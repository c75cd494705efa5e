//go:build clients

package clients

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// kubo is a node of somebody else, with the `ipfs` command line.
type kubo struct {
	t       *testing.T
	environ []string
}

// newKubo starts one that knows nobody.
func newKubo(t *testing.T) *kubo {
	k := &kubo{t, []string{"IPFS_PATH=" + filepath.Join(t.TempDir(), "ipfs"), "IPFS_TELEMETRY=off"}}
	k.must("init", "--profile", "test") // free loopback ports, no bootstrap peers, no mDNS
	daemon := start(t, k.environ, tool(t, "TOOLS", "ipfs"), "daemon")
	eventually(t, 3*time.Minute, "Kubo is up", func() bool { return strings.Contains(daemon.text(), "Daemon is ready") })
	return k
}

func (k *kubo) run(args ...string) (string, error) {
	k.t.Helper()
	out, err := run(k.t, time.Minute, k.environ, tool(k.t, "TOOLS", "ipfs"), args...)
	return strings.TrimSpace(out), err
}

func (k *kubo) must(args ...string) string {
	k.t.Helper()
	out, err := k.run(args...)
	if err != nil {
		k.t.Fatalf("ipfs %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// pinRemote runs a command of `ipfs pin remote` with the service named ours.
func (k *kubo) pinRemote(args ...string) string {
	k.t.Helper()
	return k.must(append([]string{"pin", "remote", args[0], "--service=ours"}, args[1:]...)...)
}

// add adds n random bytes and gives them with their CID.
func (k *kubo) add(n int) (content []byte, cid string) {
	k.t.Helper()
	content = make([]byte, n)
	rand.Read(content)
	name := filepath.Join(k.t.TempDir(), "content")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		k.t.Fatal(err)
	}
	return content, k.must("add", "-Q", name)
}

// names are the last words of the lines of `pin remote ls`, sorted.
func names(out string) string {
	var list []string
	for line := range strings.Lines(out) {
		if words := strings.Fields(line); len(words) > 0 {
			list = append(list, words[len(words)-1])
		}
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// `ipfs pin remote` of Kubo 0.42: what it has and asks us to keep is fetched from it,
// stays when it is gone, and goes with the last request.
func TestIPFSPinRemote(t *testing.T) {
	peers := cluster(t, "CLUSTER_PINSVCAPI_BASICAUTHCREDENTIALS="+user+":"+password)
	k := newKubo(t)
	content, cid := k.add(3 << 20)
	k.must("pin", "remote", "service", "add", "ours", peers[0].PinSvc, token(t, peers[0].PinSvc))

	if out := k.pinRemote("add", "--name=first", cid); !strings.Contains(out, "pinned") {
		t.Fatalf("add: %s", out)
	}
	for _, p := range peers {
		if got := fetch(t, p.Gateway+"/ipfs/"+cid); !bytes.Equal(got, content) {
			t.Fatalf("%s serves %d bytes that differ from the %d added", p.Name, len(got), len(content))
		}
	}
	if out := k.must("pin", "remote", "service", "ls", "--stat"); !strings.HasSuffix(out, " 0/0/1/0") {
		t.Errorf("service ls --stat: %s", out)
	}

	// The same CID again, through another peer.
	k.must("pin", "remote", "service", "add", "other", peers[1].PinSvc, token(t, peers[1].PinSvc))
	k.must("pin", "remote", "add", "--service=other", "--name=second", "--background", cid)
	for want, args := range map[string][]string{
		"first second": {"ls"},
		"second":       {"ls", "--name=second"},
		"":             {"ls", "--name=third"},
	} {
		if got := names(k.pinRemote(args...)); got != want {
			t.Errorf("pin remote %v: got %q, want %q", args, got, want)
		}
	}
	if got := names(k.pinRemote("ls", "--cid="+cid, "--status=queued,pinning,pinned,failed")); got != "first second" {
		t.Errorf("ls --cid: %q", got)
	}
	if out, err := k.run("pin", "remote", "rm", "--service=ours", "--cid="+cid); err == nil {
		t.Errorf("rm of two at once without --force: %s", out)
	}
	k.pinRemote("rm", "--name=first")
	if got := names(k.pinRemote("ls")); got != "second" {
		t.Errorf("after one was removed: %q", got)
	}

	// What nobody has waits, and is not pinned.
	absent := "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
	k.pinRemote("add", "--background", "--name=absent", absent)
	if got := names(k.pinRemote("ls", "--status=queued,pinning,failed")); got != "absent" {
		t.Errorf("unfinished: %q", got)
	}
	k.pinRemote("rm", "--status=queued,pinning,failed", "--name=absent")

	// More than a page.
	for i := range 24 {
		k.pinRemote("add", "--background", fmt.Sprintf("--name=n%02d", i), cid)
	}
	if got := len(strings.Fields(names(k.pinRemote("ls")))); got != 25 {
		t.Errorf("ls of 25 requests gives %d", got)
	}
	k.pinRemote("rm", "--cid="+cid, "--force")
	if got := k.pinRemote("ls", "--status=queued,pinning,pinned,failed"); got != "" {
		t.Errorf("after all are gone: %s", got)
	}
	eventually(t, 3*time.Minute, "the pin is gone from the cluster", func() bool {
		res, err := http.Get(peers[2].API + "/allocations/" + cid)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		return res.StatusCode == http.StatusNotFound
	})
}

func fetch(t *testing.T, url string) []byte {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, res.Status, err)
	}
	return body
}
