//go:build clients

package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// incumbent runs ipfs-cluster-ctl 1.1.6, IPFS Cluster's own command line, against a peer.
type incumbent struct {
	*tally
	host    string   // what --host is to be
	flags   []string // before each command
	environ []string
}

func newIncumbent(t *testing.T, api string) *incumbent {
	t.Helper()
	u, err := url.Parse(api)
	if err != nil {
		t.Fatal(err)
	}
	return &incumbent{tally: newTally(t), host: "/ip4/" + u.Hostname() + "/tcp/" + u.Port()}
}

// run runs a command and gives what it prints on both outputs, and its exit code.
func (c *incumbent) run(args ...string) (out string, code int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool(c.t, "TOOLS", "ipfs-cluster-ctl"), append(append([]string{"--host", c.host}, c.flags...), args...)...)
	cmd.Env = append(os.Environ(), c.environ...)
	text, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		c.t.Fatal(err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}

// exits expects a command to end with that code and to print all of want.
func (c *incumbent) exits(code int, args string, want ...string) string {
	c.t.Helper()
	out, got := c.run(strings.Fields(args)...)
	err := has(out, want...)
	if got != code {
		err = fmt.Errorf("exit code %d, want %d; it said %q", got, code, out)
	}
	c.expect(args, err)
	return out
}

// does is exits with code 0.
func (c *incumbent) does(args string, want ...string) string {
	c.t.Helper()
	return c.exits(0, args, want...)
}

// matches expects a command to print lines that match the pattern, and nothing else.
func (c *incumbent) matches(args, pattern string) {
	c.t.Helper()
	out, code := c.run(strings.Fields(args)...)
	var err error
	if code != 0 || !regexp.MustCompile(`^(?:`+pattern+`\n)+$`).MatchString(out) {
		err = fmt.Errorf("exit code %d, and %q does not match %s", code, out, pattern)
	}
	c.expect(args, err)
}

// objects expects a command with --enc=json to print n objects, and gives them.
func (c *incumbent) objects(n int, args string) []map[string]any {
	c.t.Helper()
	out, code := c.run(append([]string{"--enc=json"}, strings.Fields(args)...)...)
	var all []map[string]any
	dec := json.NewDecoder(strings.NewReader(out))
	var err error
	for {
		var o map[string]any
		if err = dec.Decode(&o); err != nil {
			break
		}
		all = append(all, o)
	}
	switch {
	case !errors.Is(err, io.EOF):
		err = fmt.Errorf("%w: %s", err, out)
	case code != 0 || len(all) != n:
		err = fmt.Errorf("exit code %d and %d objects, want 0 and %d: %s", code, len(all), n, out)
	default:
		err = nil
	}
	c.expect("--enc=json "+args, err)
	if err != nil {
		c.t.FailNow()
	}
	return all
}

const (
	peerLine = `12D3KooW\w+ \| peer\d \| Sees 2 other peers\n  > Addresses:\n(?:    - /ip4/\S+/p2p/12D3KooW\w+\n)+  > IPFS: 12D3KooW\w+(?:\n    - /ip4/\S+/p2p/12D3KooW\w+)*`
	pinLine  = `\w+ \| [^|]* \| PIN(?:-DIRECT)? \| Repl\. Factor: (?:-1|\d--\d) \| Allocations: \[.*\] \| (?:Recursive|Direct) \| Metadata: (?:yes|no) \| Exp: (?:∞|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) \| Added: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d`
	rowLine  = `    > peer\d {16}: [A-Z_]+(?:: .*)? \| \d{4}-\d\d-\d\dT\S+ \| Attempts: \d+ \| Priority: (?:true|false)`
	statLine = `\w+(?: \| [^\n]*)?:\n` + rowLine + `(?:\n` + rowLine + `)*`
)

// tree makes a directory of files, one of them hidden, and gives its path.
func tree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"a.txt": "hello\n", "d/one": "one\n", "d/sub/two": "two\n", "d/.hidden": "h\n"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, dir, name, text)
	}
	return dir
}

// Every command of IPFS Cluster's own command line, and its flags.
func TestIncumbent(t *testing.T) {
	peers := cluster(t)
	c := newIncumbent(t, peers[0].API)
	c.known = map[string]string{"add --nocopy a.txt": "content is always copied: a node that refers to a URL would lose it with the site"}
	dir := tree(t)
	file := filepath.Join(dir, "a.txt")

	c.matches("id", peerLine)
	c.matches("peers ls", peerLine)
	c.matches("version", `\d+\.\d+\.\d+`)
	me := c.objects(1, "id")[0]["id"].(string)
	c.objects(3, "peers ls")
	c.objects(1, "version")
	c.does("pin ls")
	c.does("status")
	c.does("recover")
	c.does("--timeout 5 --debug id", me)
	c.does("commands", "ipfs-cluster-ctl pin update", "ipfs-cluster-ctl health bandwidth")

	c.adds(dir, me)
	c.pins(file, me)
	c.lists(file)
	c.cares()
	c.refuses(dir)

	// Last, as it ends a peer.
	var last string
	for _, p := range c.objects(3, "peers ls") {
		if p["peername"] == "peer3" {
			last = p["id"].(string)
		}
	}
	c.does("peers rm " + last)
	eventually(t, 3*time.Minute, "two peers are left", func() bool {
		out, code := c.run("peers", "ls")
		return code == 0 && strings.Count(out, "Sees 1 other peers") == 2
	})
	c.report("ipfs-cluster-ctl", 123)
}

// adds are add's flags; CIDs are those of Kubo's own add.
func (c *incumbent) adds(dir, me string) {
	c.t.Helper()
	k := &ipfs{t: c.t, environ: []string{"IPFS_PATH=" + filepath.Join(c.t.TempDir(), "ipfs"), "IPFS_TELEMETRY=off"}}
	k.offline("init", "--profile", "test")
	file, folder := filepath.Join(dir, "a.txt"), filepath.Join(dir, "d")
	big := write(c.t, dir, "big", strings.Repeat("0123456789abcdef", 1<<16))

	c.does("add "+file, "added "+helloCid+" a.txt")
	c.matches("add -q "+file, helloCid)
	for _, flags := range []string{"", "-w", "--raw-leaves", "--raw-leaves -w", "--cid-version 1", "--hash sha3-512", "--hash blake3", "--layout trickle", "--chunker size-1000", "-s rabin-1024-2048-4096", "-s buzhash"} {
		theirs := strings.Replace(flags, "--layout trickle", "--trickle", 1)
		c.matches("add -Q "+flags+" "+big, k.offline(append([]string{"add", "-n", "-Q"}, append(strings.Fields(theirs), big)...)...))
	}
	c.does("add -r "+folder, "added "+treeCid+" d", " d/one", " d/sub\n")
	c.matches("add -Q -r --hidden "+folder, k.offline("add", "-n", "-Q", "-r", "-H", folder))
	c.matches("add -Q -r -w "+folder, k.offline("add", "-n", "-Q", "-r", "-w", folder))
	c.does("add "+file+" "+big, " a.txt", " big", " \n")
	c.objects(1, "add "+file)
	c.does("--enc=json add --no-stream -r "+folder, "[\n", `"name": "d/one"`)
	c.does("add --no-stream -q "+file, helloCid)
	c.does("add -Q --local "+file, helloCid)
	c.does("add -Q --name mine --rmin 1 --rmax 2 --metadata a=b --metadata c=d --expire-in 24h "+big, "Qm")
	pin := c.objects(1, "pin ls "+c.does("add -Q --name given --replication-min 2 --replication-max 2 --metadata a=b --expire-in 24h --allocations "+me+" --wait --wt 30s "+big, "Qm"))[0]
	c.expect("the flags of add are those of its pin", has(fmt.Sprint(pin), "name:given", "replication_factor_min:2", "metadata:map[a:b]", me))
	c.expect("--expire-in is kept", has(fmt.Sprint(pin["expire_at"]), time.Now().Add(24*time.Hour).UTC().Format("2006-01")))
	unpinned := strings.TrimSpace(c.does("add -Q --no-pin --chunker size-777 "+big, "Qm"))
	c.exits(2, "pin ls "+unpinned, "Code: 404", "pin is not part of the pinset")

	car := filepath.Join(dir, "tree.car")
	k.offline("add", "-Q", "-r", folder)
	if err := os.WriteFile(car, []byte(k.offline("dag", "export", treeCid)), 0o600); err != nil {
		c.t.Fatal(err)
	}
	c.does("add --format car "+car, "added "+treeCid+" tree.car")
	c.matches("add --format car -Q "+car, treeCid)
	c.exits(1, "add --format car -w "+car, "only a single CAR file")

	site := httptest.NewServer(http.FileServer(http.Dir(dir)))
	c.t.Cleanup(site.Close)
	c.matches("add -Q "+site.URL+"/a.txt", helloCid)
	c.does("add --nocopy "+site.URL+"/a.txt", "added ")
}

// offline runs `ipfs` on a repository of its own.
func (c *ipfs) offline(args ...string) string {
	c.t.Helper()
	out, err := run(c.t, time.Minute, c.environ, tool(c.t, "TOOLS", "ipfs"), append([]string{"--offline"}, args...)...)
	if err != nil {
		c.t.Fatalf("ipfs %v: %v", args, err)
	}
	if bytes.HasSuffix([]byte(out), []byte("\n")) && args[0] != "dag" {
		out = strings.TrimSpace(out)
	}
	return out
}

// pins are pin add, update and rm.
func (c *incumbent) pins(file, me string) {
	c.t.Helper()
	direct := strings.TrimSpace(c.does("add -Q --no-pin -w --chunker size-2 "+file, "Qm"))
	c.matches("pin add "+helloCid, statLine)
	c.matches("pin add --no-status --name n1 "+helloCid, pinLine)
	c.does("pin add --ns -r 2 --metadata k=v --metadata l=w --expire-in 48h "+helloCid, "Repl. Factor: 2--2", "Metadata: yes", "Exp: 20")
	c.does("pin add --ns --rmin 1 --rmax 2 "+helloCid, "Repl. Factor: 1--2")
	c.does("pin add --ns --replication-min 1 --replication-max 3 "+helloCid, "Repl. Factor: 1--3")
	c.does("pin add --ns --replication -1 "+helloCid, "Repl. Factor: -1 | Allocations: [everywhere]")
	c.does("pin add --ns --mode direct "+direct, "PIN-DIRECT", "Direct")
	c.does("pin rm --ns "+direct, "PIN-DIRECT")
	c.does("pin add --ns --allocations "+me+" -r 1 "+direct, "Allocations: ["+me+"]")
	c.does("pin add --wait "+treeCid, treeCid, "PINNED")
	c.does("pin add --wait --wait-limit 2 --wait-timeout 20s -n waited "+treeCid, "| waited:", "PINNED")
	c.does("pin add -w --wl 1 --wt 20s --ns -n source "+treeCid, treeCid, "PIN")
	c.does("pin add --ns /ipfs/"+treeCid+"/sub/two", "QmapoNeQhJxjMDWstx27etyxMNLU4MtkDk8BMfyHRao8P8")
	c.does("pin rm --ns /ipfs/"+treeCid+"/sub/two", "QmapoNeQhJxjMDWstx27etyxMNLU4MtkDk8BMfyHRao8P8")
	c.matches("pin update "+treeCid+" "+direct, statLine)
	c.does("pin update --ns --name updated --expire-in 36h "+treeCid+" "+direct, direct+" | updated |", "Exp: 20")
	c.does("pin update -w --wt 20s "+treeCid+" "+helloCid, "| source:", "PINNED")
	c.does("pin rm --wait --wait-timeout 20s "+direct, "UNPINNED")
	c.exits(2, "pin rm "+direct, "An error occurred:\n  Code: 404\n  Message: pin is not part of the pinset")
	c.exits(2, "--enc=json pin rm "+direct, "{\n    \"code\": 404,\n    \"message\": \"pin is not part of the pinset\"\n}")
	c.exits(2, "pin add --rmin 3 --rmax 2 "+helloCid, "Code: 400")
	c.exits(2, "pin add --rmin 9 --rmax 9 "+helloCid, "not enough peers")
	c.exits(2, "pin add --mode direct "+helloCid, "cannot repin a CID which is already pinned in recursive mode")
	c.exits(2, "pin update "+direct+" "+helloCid, "Code: 404")
	c.exits(1, "pin add --metadata nonsense "+helloCid, "key=value")
	c.exits(1, "pin add notacid", "invalid")
}

// lists are pin ls, status and recover.
func (c *incumbent) lists(file string) {
	c.t.Helper()
	c.matches("pin ls", pinLine)
	c.matches("pin ls --filter pin", pinLine)
	c.does("pin ls --filter all", helloCid)
	c.matches("pin ls "+helloCid, pinLine)
	if out, code := c.run("pin", "ls", "--filter", "meta-pin,shard-pin"); code != 0 || out != "" {
		c.expect("pin ls --filter meta-pin,shard-pin", fmt.Errorf("exit code %d, %q", code, out))
	} else {
		c.expect("pin ls --filter meta-pin,shard-pin", nil)
	}
	pin := c.objects(1, "pin ls "+helloCid)[0]
	var missing error
	for _, key := range strings.Fields("replication_factor_min replication_factor_max name mode shard_size user_allocations expire_at metadata pin_update origins cid type allocations max_depth reference timestamp") {
		if _, ok := pin[key]; !ok {
			missing = fmt.Errorf("no %s in %v", key, pin)
		}
	}
	c.expect("a pin has all keys", missing)
	c.matches("status", statLine)
	c.matches("status "+helloCid, statLine)
	c.does("status "+helloCid+" "+treeCid, helloCid, treeCid)
	c.does("status --local "+helloCid, "peer1")
	c.does("status --local", helloCid)
	c.does("status --filter pinned", helloCid)
	c.does("status --filter pinned,queued --local", helloCid)
	c.does("status --filter error")
	c.objects(1, "status "+helloCid)
	c.objects(2, "status "+helloCid+" "+treeCid)
	c.exits(1, "status --filter nonsense", "invalid filter name")
	c.exits(1, "status notacid", "parsing cid")
	c.exits(1, "pin ls notacid", "parsing cid")
	c.matches("recover "+helloCid, statLine)
	c.does("recover --local "+helloCid, "peer1")
	c.does("recover --local")
	c.objects(1, "recover "+helloCid)
}

// cares are health and ipfs.
func (c *incumbent) cares() {
	c.t.Helper()
	c.does("health graph", "digraph cluster {", "/* The cluster-service peers */", " -> I0")
	drawing := filepath.Join(c.t.TempDir(), "graph.dot")
	c.does("health graph --all-ipfs-peers --file " + drawing)
	text, err := os.ReadFile(drawing)
	if err == nil {
		err = has(string(text), "digraph cluster {", "peer3")
	}
	c.expect("the graph is in the file", err)
	c.does("health metrics", "ping\n", "freespace\n")
	c.matches("health metrics freespace", `12D3KooW\w+ \| freespace: [\d.]+ [KMGT]B \| Expires in: (?:\d+ seconds? from now|now)`)
	c.does("health metrics ping", "peer_name")
	c.does("--enc=json health metrics freespace", "[\n", `"partitionable": false`)
	c.does("health alerts")
	c.does("--enc=json health alerts", "[]")
	c.does("health bandwidth", "RateIn: ", "/pinfold/")
	c.does("--enc=json health bandwidth", `"total_in"`)
	c.does("ipfs gc --local", "peer1", "  > CIDs:")
	c.does("ipfs gc", "peer1", "peer2", "peer3")
	c.objects(1, "ipfs gc")
}

// refuses are errors and their exit codes.
func (c *incumbent) refuses(dir string) {
	c.t.Helper()
	c.exits(3, "frobnicate", "No help topic for 'frobnicate'")
	c.exits(1, "--enc=yaml id", "unsupported encoding")
	c.exits(1, "add "+dir, "Recursive option is not set")
	c.exits(1, "add "+dir+"/none", "no such file")
	c.exits(2, "add --chunker nonsense "+dir+"/a.txt", "Code: 400")
	c.exits(2, "add --hash nonsense "+dir+"/a.txt", "Code: 400")
	c.exits(2, "add --layout nonsense "+dir+"/a.txt", "Code: 400")
	c.exits(2, "add --rmin 9 --rmax 9 "+dir+"/a.txt", "not enough peers")
	c.exits(2, "add --format car "+dir+"/a.txt", "Code: 400")
	c.exits(1, "peers rm nonsense", "parsing peer ID")
	c.exits(1, "--host /ip4/127.0.0.1/tcp/1 id", "connection refused")
	c.does("--host /ip4/127.0.0.1/tcp/1,"+c.host+" version", "0.")
}
