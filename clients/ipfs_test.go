//go:build clients

package clients

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
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

func (c *ipfs) must(args ...string) string {
	c.t.Helper()
	out, err := c.run(args...)
	if err != nil {
		c.t.Fatalf("ipfs %s: %v", strings.Join(args, " "), err)
	}
	return out
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

// A command is one command line of `ipfs` and what it is to say, on either output. Words
// in braces stand for what earlier commands said under that name, or for files.
type command struct {
	args string
	want string
	save string // the name for the last word of what it says
}

// commands are what people run with --api. One that begins with a ! is to fail.
var commands = []command{
	{args: "add {a.txt}", want: helloCid + " a.txt"},
	{args: "add -r {d}", want: treeCid + " d"},
	{args: "add -q {a.txt}", want: helloCid},
	{args: "add -Q {a.txt}", want: helloCid},
	{args: "add --progress=false {a.txt}", want: "added " + helloCid},
	{args: "add -n -Q {a.txt}", want: helloCid},
	{args: "add -w -Q {a.txt}", want: "QmRL7MpyuT5GhpLr8asWP6hgWpCkhKm8ENYa4TykfAcj7E"},
	{args: "add -Q --cid-version 1 {a.txt}", want: "bafkrei", save: "raw"},
	{args: "add -Q --raw-leaves {a.txt}", want: "bafkrei"},
	{args: "add -Q --hash blake3 {a.txt}", want: "bafkr4i"},
	{args: "add -Q --chunker size-2 {a.txt}", want: "Qm", save: "chunked"},
	{args: "add -Q --chunker rabin-16-32-64 {a.txt}", want: "Qm"},
	{args: "add -Q --trickle {a.txt}", want: "Qm"},
	{args: "add -Q --pin=false --chunker size-3 {a.txt}", want: "Qm", save: "loose"},
	{args: "add -Q --pin-name called {a.txt}", want: helloCid},
	{args: "add -Q -r --hidden {d}", want: "Qm"},
	{args: "add -Q -r --ignore one {d}", want: "Qm"},
	{args: "add -Q --inline {a.txt}", want: inlinedCid},
	{args: "cat " + inlinedCid, want: "hello"},
	{args: "pin ls --type=recursive " + inlinedCid, want: inlinedCid + " recursive"},
	{args: "add -Q --inline --inline-limit 4 --cid-version 1 {a.txt}", want: "bafkrei"},
	{args: "!add -Q --inline --inline-limit 129 {a.txt}", want: "exceeds maximum allowed size of 128 bytes"},
	{args: "add -Q --to-files /tofiles {a.txt}", want: helloCid},
	{args: "add -Q --preserve-mode --preserve-mtime {a.txt}", want: "Qm", save: "kept"},
	{args: "files stat /ipfs/{kept}", want: "Mode: -rw-"},
	{args: "add -Q --mode 0640 --mtime 1000000000 {a.txt}", want: statCid},
	{args: "files stat /ipfs/" + statCid, want: "Mode: -rw-r----- (0640)\nMtime: 9 Sep 2001, 01:46:40 UTC"},
	{args: "add -Q -w --mode 0640 --mtime 1000000000 {a.txt}", want: "Qm", save: "kept-in"},
	{args: "ls -l {kept-in}", want: "-rw-r----- " + statCid + " 6 Sep 09  2001 a.txt"},
	{args: "!add --mode 0640 --raw-leaves {a.txt}", want: "raw-leaves can't be used with UnixFS metadata"},
	{args: "!add {none}", want: "no such file"},
	{args: "cat " + helloCid, want: "hello"},
	{args: "cat --offset 1 --length 3 " + helloCid, want: "ell"},
	{args: "cat /ipfs/" + treeCid + "/sub/two", want: "two"},
	{args: "cat {loose}", want: "hello"},
	{args: "!cat " + treeCid, want: "this dag node is a directory"},
	{args: "!cat " + treeCid + "/none", want: "no link named"},
	{args: "get -o {got} " + treeCid, want: "Saving file"},
	{args: "get -o {got2} -a -C " + treeCid, want: "Saving archive"},
	{args: "ls " + treeCid, want: "sub/"},
	{args: "ls -s=false --resolve-type=false " + treeCid, want: "one"},
	{args: "ls --stream " + treeCid, want: "sub"},
	{args: "ls -v " + treeCid, want: "Hash"},
	{args: "refs " + treeCid, want: "QmaGhKbLSDZ1AQXn37fjwCLfMmMqNUVbMGmpDLTwdwaRGr"},
	{args: "refs -r " + treeCid, want: "QmapoNeQhJxjMDWstx27etyxMNLU4MtkDk8BMfyHRao8P8"},
	{args: "refs -r -u --max-depth 1 " + treeCid, want: "Qm"},
	{args: "refs -e " + treeCid, want: treeCid + " -> "},
	{args: "refs --format=<linkname> " + treeCid, want: "sub"},
	{args: "refs local", want: "bafk"},
	{args: "resolve /ipfs/" + treeCid + "/sub/two", want: "/ipfs/QmapoNeQhJxjMDWstx27etyxMNLU4MtkDk8BMfyHRao8P8"},
	{args: "resolve -r /ipfs/" + treeCid, want: "/ipfs/" + treeCid},

	{args: "pin ls --type=recursive", want: helloCid + " recursive"},
	{args: "pin ls -q", want: helloCid},
	{args: "pin ls " + treeCid, want: "recursive"},
	{args: "pin ls --type=all", want: "indirect"},
	{args: "pin ls --type=indirect", want: "indirect"},
	{args: "pin ls --type=direct"},
	{args: "pin ls --stream", want: treeCid},
	{args: "!pin ls {loose}", want: "is not pinned"},
	{args: "!pin ls --type=nonsense", want: "nvalid type"},
	{args: "pin add --name named " + helloCid, want: "pinned " + helloCid + " recursively"},
	{args: "pin ls --names", want: "named"},
	{args: "pin ls --name named", want: helloCid},
	{args: "pin add --progress " + helloCid, want: "pinned " + helloCid},
	{args: "pin add {loose} {chunked}", want: "pinned"},
	{args: "pin add /ipfs/" + treeCid + "/sub/two", want: "pinned"},
	{args: "!pin add nonsense", want: "invalid"},
	{args: "pin rm {loose}", want: "unpinned"},
	{args: "pin rm {chunked} /ipfs/" + treeCid + "/sub/two", want: "unpinned"},
	{args: "!pin rm {loose}", want: "not pinned or pinned indirectly"},
	{args: "pin update {raw} {loose}", want: "updated"},
	{args: "pin update --unpin=false {loose} {chunked}", want: "updated"},
	{args: "!pin update {raw} " + treeCid, want: "not recursively pinned"},
	{args: "pin add --recursive=false --name direct {chunkless}", want: "pinned {chunkless} directly"},
	{args: "pin ls --type=direct --names", want: "direct"},
	{args: "pin verify"},
	{args: "pin verify --verbose", want: treeCid},
	{args: "pin remote service ls"},
	{args: "pin remote service add svc {pinsvc} {token}"},
	{args: "pin remote service ls --stat", want: "svc"},
	{args: "pin remote add --service=svc --name=far --background " + treeCid, want: "far"},
	{args: "pin remote ls --service=svc --status=queued,pinning,pinned", want: "far"},
	{args: "pin remote rm --service=svc --name=far --status=queued,pinning,pinned"},
	{args: "pin remote service rm svc"},

	{args: "block put {a.txt}", want: "bafkrei", save: "block"},
	{args: "block put --cid-codec dag-cbor --mhtype sha2-512 {cbor}", want: "bafyrgq"},
	{args: "block put --format=v0 {pb}", want: "Qm"},
	{args: "block put --pin {pinnable}", want: "bafkrei", save: "pinnedblock"},
	{args: "pin ls {pinnedblock}", want: "recursive"},
	{args: "block stat {block}", want: "Size: 6"},
	{args: "block get {block}", want: "hello"},
	{args: "!block rm " + helloCid, want: "pinned"},
	{args: "block put {other}", want: "bafkrei", save: "gone"},
	{args: "block rm {gone}", want: "removed {gone}"},
	{args: "block rm -f {gone}"},
	{args: "dag put --input-codec=dag-json {json}", want: "bafyrei", save: "node"},
	{args: "dag put --store-codec=dag-json --input-codec=dag-json {json}", want: "baguqeera"},
	{args: "dag put --pin {json}", want: "{node}"},
	{args: "dag get {node}", want: `{"a":{"b":1}}`},
	{args: "dag get {node}/a/b", want: "1"},
	{args: "dag get --output-codec=dag-cbor {node}", want: "ab"},
	{args: "dag get " + treeCid, want: `"Links"`},
	{args: "dag resolve {node}/a", want: "{node}/a"},
	{args: "dag stat " + treeCid, want: treeCid},
	{args: "dag stat --progress=false " + treeCid + " " + helloCid, want: "Summary"},
	{args: "dag export --progress=false " + helloCid, want: "hello"},
	{args: "dag import {car}", want: "Pinned root"},
	{args: "dag import --pin-roots=false --stats {car}", want: "Imported"},
	{args: "!dag import {a.txt}", want: "unexpected EOF"},

	{args: "files mkdir /docs"},
	{args: "files mkdir -p /docs/deep/er"},
	{args: "!files mkdir /docs", want: "already"},
	{args: "files cp /ipfs/" + treeCid + " /docs/tree"},
	{args: "files cp -p /ipfs/" + helloCid + " /docs/new/hello"},
	{args: "files write --create /docs/w {a.txt}"},
	{args: "files write --create --parents --truncate /docs/x/y/w {a.txt}"},
	{args: "files write --offset 1 /docs/w {other}"},
	{args: "files read /docs/w", want: "hother"},
	{args: "files read --offset 1 --count 3 /docs/w", want: "oth"},
	{args: "files ls /docs", want: "tree"},
	{args: "files ls -l /docs", want: "tree"},
	{args: "files ls", want: "docs"},
	{args: "files stat /docs/tree", want: "Type: directory"},
	{args: "files stat --hash /docs/tree", want: treeCid},
	{args: "files stat --size /docs/w", want: "7"},
	{args: "files stat --with-local /docs/tree", want: "Local:"},
	{args: "files stat /ipfs/" + treeCid, want: "Type: directory"},
	{args: "!files stat /none", want: "file does not exist"},
	{args: "files mv /docs/w /docs/deep/w"},
	{args: "files flush /docs", want: "Qm"},
	{args: "files chcid --cid-version=1 /docs/deep"},
	{args: "files stat --hash /docs/deep", want: "bafybei"},
	{args: "files touch /docs/deep/w"},
	{args: "files chmod 0644 /docs/deep/w"},
	{args: "!files rm /docs", want: "is a directory"},
	{args: "files rm -r /docs"},
	{args: "files rm --force /none"},

	{args: "repo stat", want: "RepoSize"},
	{args: "repo stat --human", want: "RepoSize"},
	{args: "repo stat --size-only", want: "StorageMax"},
	{args: "repo version", want: "ipfs repo version"},
	{args: "repo version -q", want: "18"},
	{args: "repo ls", want: "bafk"},
	{args: "repo gc", want: "removed"},
	{args: "repo gc -q"},
	{args: "repo verify", want: "verify complete"},
	{args: "stats repo", want: "RepoSize"},
	{args: "stats bw", want: "TotalIn"},
	{args: "stats bw --proto /ipfs/bitswap/1.2.0", want: "TotalIn"},
	{args: "stats bitswap", want: "bitswap status"},
	{args: "stats provide"},
	{args: "provide stat"},
	{args: "bitswap stat", want: "bitswap status"},
	{args: "bitswap wantlist"},
	{args: "bitswap ledger {other-id}", want: "Ledger for"},
	{args: "id", want: "AgentVersion"},
	{args: "id -f <id>", want: "12D3KooW"},
	{args: "id {other-id}", want: "{other-id}"},
	{args: "version", want: "0.42.0"},
	{args: "version -n", want: "0.42.0"},
	{args: "version --all", want: "Repo version: 18"},
	{args: "swarm peers", want: "/p2p/"},
	{args: "swarm peers -v", want: "/p2p/"},
	{args: "swarm addrs", want: "12D3KooW"},
	{args: "swarm addrs local", want: "/ip4/"},
	{args: "swarm addrs listen", want: "/ip4/"},
	{args: "swarm disconnect /p2p/{other-id}", want: "success"},
	{args: "swarm connect {other-addr}", want: "success"},
	{args: "!swarm connect /ip4/127.0.0.1/tcp/1/p2p/12D3KooWEqnTdgqHnkkwarSrJjeMP2ZJiADWLYADaNvUb6SQNyPF", want: "failure"},
	{args: "swarm filters"},
	{args: "swarm peering ls"},
	{args: "swarm resources", want: "system"},
	{args: "bootstrap list"},
	{args: "bootstrap add /ip4/127.0.0.1/tcp/1/p2p/12D3KooWEqnTdgqHnkkwarSrJjeMP2ZJiADWLYADaNvUb6SQNyPF", want: "added"},
	{args: "bootstrap rm --all"},
	{args: "ping -n 1 {other-id}", want: "Pong received"},
	{args: "routing findpeer {other-id}", want: "/ip4/"},
	{args: "routing findprovs -n 1 " + treeCid, want: "12D3KooW"},
	{args: "routing provide " + treeCid},
	{args: "key gen k1", want: "k51", save: "k1"},
	{args: "key gen --type=rsa --size=2048 k2", want: "k2k4"},
	{args: "key list", want: "self"},
	{args: "key list -l", want: "{k1} k1"},
	{args: "key rename k2 k3", want: "k3"},
	{args: "key rm k3", want: "k3"},
	{args: "key sign --key=k1 {a.txt}", want: "Signature"},
	{args: "name publish --key=k1 --allow-offline " + treeCid, want: "Published"},
	{args: "name publish -Q --allow-offline " + helloCid, want: "k51", save: "self"},
	{args: "name resolve {k1}", want: "/ipfs/" + treeCid},
	{args: "name resolve", want: "/ipfs/" + helloCid},
	{args: "cat /ipns/{self}", want: "hello"},
	{args: "config show", want: "PeerID"},
	{args: "config Addresses.API", want: "/ip4/"},
	{args: "config Datastore.GCPeriod 2h"},
	{args: "config --json Datastore.NoSync false"},
	{args: "config profile apply lowpower"},
	{args: "!config No.Such.Key", want: "not found"},
	{args: "log ls", want: "\n"},
	{args: "log level all error", want: "Changed log level"},
	{args: "commands", want: "ipfs pin ls"},
	{args: "diag sys", want: "diskinfo"},
	{args: "diag cmds", want: "Command"},
	{args: "object patch add-link " + treeCid + " more " + helloCid, want: "Qm"},
	{args: "object patch rm-link " + treeCid + " one", want: "Qm"},
	{args: "!filestore ls", want: "filestore is not enabled"},
	{args: "multibase list", want: "base58btc"},
	{args: "!pubsub ls", want: "experimental pubsub feature not enabled"},
	{args: "!name pubsub subs", want: "IPNS pubsub subsystem is not enabled"},
	{args: "!p2p ls", want: "libp2p stream mounting not enabled"},
}

// The `ipfs` command line on one peer, and what it did on another.
func TestProxy_CommandLine(t *testing.T) {
	peers := cluster(t, "CLUSTER_PINSVCAPI_BASICAUTHCREDENTIALS="+user+":"+password)
	c, other := newIPFS(t, peers[0].Proxy), newIPFS(t, peers[1].Proxy)
	s := newTally(t)
	const settings = "the settings of a peer are its operator's: they stand in service.json"
	s.known = map[string]string{
		"bootstrap add 12D3KooWEqnTdgqHnkkwarSrJjeMP2ZJiADWLYADaNvUb6SQNyPF": settings,
		"bootstrap rm --all":                   settings,
		"config Datastore.GCPeriod 2h":         settings,
		"config --json Datastore.NoSync false": settings,
		"config profile apply lowpower":        settings,
	}
	words := files(t)
	words["pinsvc"], words["token"] = peers[0].PinSvc, token(t, peers[0].PinSvc)
	words["other-id"] = other.must("id", "-f", "<id>")
	words["other-addr"] = strings.Fields(other.must("id", "-f", "<addrs>"))[0]
	for _, cmd := range commands {
		s.expect(cmd.args, c.command(cmd, words))
	}
	s.report("ipfs "+c.must("version", "-n"), len(commands))

	eventually(t, 3*time.Minute, "the other peer has it", func() bool {
		out, err := other.run("cat", treeCid+"/one")
		return err == nil && out == "one"
	})
	eventually(t, 3*time.Minute, "the other peer lists it", func() bool {
		out, err := other.run("pin", "ls", "--names", "--type=recursive")
		return err == nil && strings.Contains(out, "named")
	})
}

// files makes what the commands read, and gives their paths by name.
func files(t *testing.T) map[string]string {
	t.Helper()
	dir := tree(t)
	words := map[string]string{"d": filepath.Join(dir, "d"), "none": filepath.Join(dir, "none"), "got": filepath.Join(dir, "got"), "got2": filepath.Join(dir, "got.tar.gz")}
	for name, text := range map[string]string{"a.txt": "hello\n", "other": "other\n", "pinnable": "to be pinned\n", "json": `{"a":{"b":1}}`,
		"cbor": "\xa1\x61a\x01", "pb": "\x0a\x04\x08\x02\x18\x00"} {
		words[name] = write(t, dir, name, text)
	}
	words["car"] = filepath.Join(dir, "tree.car")
	k := &ipfs{t: t, environ: []string{"IPFS_PATH=" + filepath.Join(t.TempDir(), "ipfs"), "IPFS_TELEMETRY=off"}}
	k.offline("init", "--profile", "test")
	k.offline("add", "-Q", "-r", words["d"])
	write(t, dir, "tree.car", k.offline("dag", "export", treeCid))
	words["chunkless"] = "QmUB9Nr7RpqNYQpyh4W9r3RQNttiPQ6BQ9iQLkw9LztJFz" // d/one
	return words
}

// command runs one, and tells how it is not what it should be.
func (c *ipfs) command(cmd command, words map[string]string) error {
	c.t.Helper()
	args, fails := strings.CutPrefix(cmd.args, "!")
	want := cmd.want
	for name, text := range words {
		args, want = strings.ReplaceAll(args, "{"+name+"}", text), strings.ReplaceAll(want, "{"+name+"}", text)
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	program := exec.CommandContext(ctx, tool(c.t, "TOOLS", "ipfs"), append([]string{"--api", c.api}, strings.Fields(args)...)...)
	program.Env = append(os.Environ(), c.environ...)
	text, err := program.CombinedOutput()
	out := string(text)
	if (err != nil) != fails {
		return fmt.Errorf("%v: %s", err, out)
	}
	if last := strings.Fields(out); cmd.save != "" && len(last) > 0 {
		words[cmd.save] = last[len(last)-1]
	}
	return has(out, want)
}
