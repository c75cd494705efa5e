package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pinfold-cluster/pinfold/config"
)

// service runs a command line for the peer of dir, and wants its exit code and a text.
func service(t *testing.T, dir string, code int, args, want string) {
	t.Helper()
	var out, errw bytes.Buffer
	if got := execute(t.Context(), append([]string{"-c", dir}, strings.Fields(args)...), &out, &errw); got != code || !strings.Contains(out.String()+errw.String(), want) {
		t.Errorf("%s: exit code %d, want %d, and %q in\n%s%s", args, got, code, want, out.String(), errw.String())
	}
}

func TestInit_FlagsOfTheIncumbent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "peer")
	for args, want := range map[string]string{
		"init --consensus crdt":                     "reading --consensus: \"crdt\" is not raft",
		"init --datastore leveldb":                  "reading --datastore",
		"init --peers /ip4/1.2.3.4/tcp/9096/p2p/Qm": "peers join with a token",
		"init http://127.0.0.1:1/service.json":      "settings cannot be fetched",
		"state crdt info":                           "peers agree by Raft",
		"state crdt dot --file x":                   "peers agree by Raft",
		"state cleanup -f":                          "holds none",
		"state import --rmin 3 --rmax 2 x":          "reading --rmin: 3 is more than --rmax, 2",
		"state import --allocations nonsense x":     "reading --allocations",
	} {
		service(t, dir, exitFailed, args, want)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("what was refused made a directory: %v", err)
	}
	service(t, dir, 0, "init --consensus raft --datastore pebble --randomports -f", "configuration written to")
	text, err := os.ReadFile(filepath.Join(dir, "service.json"))
	if err != nil || strings.Contains(string(text), "/tcp/9094") || strings.Count(string(text), "/ip4/127.0.0.1/tcp/") != 5 || strings.Count(string(text), "/ip4/0.0.0.0/tcp/") != 2 {
		t.Errorf("%v, the settings are\n%s", err, text)
	}
}

// A Kubo daemon has its own gateway: no address is made up for one of the peer's, which
// each start would warn of.
func TestInit_RandomPortsWithKubo(t *testing.T) {
	t.Setenv("CLUSTER_IPFSHTTP_NODEMULTIADDRESS", "/ip4/127.0.0.1/tcp/5001")
	dir := filepath.Join(t.TempDir(), "peer")
	service(t, dir, 0, "init --randomports", "configuration written to")
	c, warnings, err := config.Load(dir, nil)
	if err != nil || len(warnings) > 0 || c.IPFSConnector.Kubo.NodeMultiaddress == "" {
		t.Errorf("%v, warnings %q, node %q", err, warnings, c.IPFSConnector.Kubo.NodeMultiaddress)
	}
}

// What is put aside is whole, and the directory free for another cluster.
func TestStateCleanup(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "peer")
	service(t, dir, 0, "init", "new identity")
	identity, err := os.ReadFile(filepath.Join(dir, "identity.json"))
	if err != nil {
		t.Fatal(err)
	}
	service(t, dir, exitFailed, "state cleanup", "not confirmed; nothing was changed")
	for n, aside := range []string{"old.0", "old.1"} {
		service(t, dir, 0, "state cleanup -f", filepath.Join(dir, aside))
		for _, name := range []string{"service.json", "cluster.json", "raft"} {
			if _, err := os.Stat(filepath.Join(dir, aside, name)); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is still there: %v", name, err)
			}
		}
		if n == 0 {
			service(t, dir, 0, "init", "configuration written")
		}
	}
	if now, err := os.ReadFile(filepath.Join(dir, "identity.json")); err != nil || !bytes.Equal(now, identity) {
		t.Errorf("the identity changed: %v", err)
	}
}
