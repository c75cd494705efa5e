//go:build clients

// Package clients drives programs of other people against a whole cluster of ours, on
// loopback: a file a client. `make clients` builds and installs what they need.
package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The one user of the doors that ask for a password.
const (
	user     = "ann"
	password = "secret"
)

// peer is one of a cluster, as dev.json lists it.
type peer struct {
	Name    string `json:"name"`
	API     string `json:"api"`
	Gateway string `json:"gateway"`
	PinSvc  string `json:"pinsvc"`
	Proxy   string `json:"proxy"`
}

// tool gives the path of a program that the Makefile made, in the directory that the
// variable names.
func tool(t *testing.T, variable, name string) string {
	t.Helper()
	path := filepath.Join(os.Getenv(variable), name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: run these tests by make clients", err)
	}
	return path
}

// cluster starts one of three peers, with these settings beside those of dev, and ends
// it with the test.
func cluster(t *testing.T, settings ...string) []peer {
	t.Helper()
	dir := t.TempDir()
	out := start(t, settings, tool(t, "BIN", "cluster-service"), "dev", "--dir", dir)
	eventually(t, 3*time.Minute, "the cluster is up", func() bool { return strings.Contains(out.text(), "ready:") })
	text, err := os.ReadFile(filepath.Join(dir, "dev.json"))
	if err != nil {
		t.Fatal(err)
	}
	var peers []peer
	if err := json.Unmarshal(text, &peers); err != nil {
		t.Fatal(err)
	}
	return peers
}

// output is what a program says, in a file: it may be read while the program runs.
type output string

func (o output) text() string {
	b, err := os.ReadFile(string(o))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// start runs a program until the test ends.
func start(t *testing.T, environ []string, program string, args ...string) output {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), environ...)
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out := output(f.Name())
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }() // how it ends is told by what it says
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
		f.Close()
		if text := out.text(); t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(program), text[max(0, len(text)-8<<10):])
		}
	})
	return out
}

// run runs a program to its end and gives what it says on its output.
func run(t *testing.T, limit time.Duration, environ []string, program string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), environ...)
	var out, bad bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &bad
	err := cmd.Run()
	if err != nil {
		t.Logf("%s %s: %v\n%s", filepath.Base(program), strings.Join(args, " "), err, bad.String())
	}
	return out.String(), err
}

// eventually waits until done is true.
func eventually(t *testing.T, limit time.Duration, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	end := time.After(limit)
	for !done() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("it did not happen within %s that %s", limit, what)
		}
	}
}

// token asks a door for a bearer token.
func token(t *testing.T, url string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/token", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth(user, password)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var got struct{ Token string }
	if err := json.NewDecoder(res.Body).Decode(&got); err != nil || got.Token == "" {
		t.Fatalf("no token: %s, %v", res.Status, err)
	}
	return got.Token
}
