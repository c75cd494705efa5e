// Package kubotest runs a real Kubo 0.42 for tests that compare with it or need one.
package kubotest

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Daemon runs Kubo off line, on free ports of loopback, until the test ends, and returns
// its RPC's address.
func Daemon(t testing.TB) string {
	t.Helper()
	return start(t, "--offline")
}

// Online is Daemon for one that exchanges blocks with those that it is connected with,
// on loopback. It knows nobody at its start.
func Online(t testing.TB) string {
	t.Helper()
	return start(t)
}

func start(t testing.TB, flags ...string) string {
	t.Helper()
	bin := Find(t)
	repo := t.TempDir()
	env := append(os.Environ(), "IPFS_PATH="+repo, "IPFS_TELEMETRY=off")
	run := func(args ...string) {
		cmd := exec.CommandContext(t.Context(), bin, args...)
		cmd.Env = env
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("ipfs %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	run("init", "--profile=test")
	run("config", "Addresses.API", "/ip4/127.0.0.1/tcp/0")
	run("config", "Addresses.Gateway", "/ip4/127.0.0.1/tcp/0")
	cmd := exec.Command(bin, append([]string{"daemon"}, flags...)...)
	cmd.Env = env
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	ready := make(chan bool, 1)
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(ready)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			fmt.Fprintln(&said, lines.Text())
			if strings.Contains(lines.Text(), "Daemon is ready") {
				ready <- true
			}
		}
	})
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("stop ipfs: %v", err)
		}
		kill := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		reading.Wait()
		_ = cmd.Wait() // its status is that of the signal
		if t.Failed() {
			t.Logf("ipfs said:\n%s", said.String())
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	select {
	case ok := <-ready:
		if !ok {
			t.Fatal("ipfs ended at its start")
		}
	case <-ctx.Done():
		t.Fatal("ipfs is not ready after 2 min")
	}
	addr, err := os.ReadFile(filepath.Join(repo, "api"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(addr))
}

// Find looks for the program where make kubo puts it, unless PINFOLD_IPFS or PATH has it.
func Find(t testing.TB) string {
	t.Helper()
	bin := os.Getenv("PINFOLD_IPFS")
	if bin == "" {
		bin, _ = exec.LookPath("ipfs")
	}
	if bin == "" {
		bin = filepath.Join(moduleRoot(t), ".bin", "ipfs")
	}
	out, err := exec.CommandContext(t.Context(), bin, "version", "--number").Output()
	if err != nil {
		t.Fatalf("Kubo 0.42 is missing: %v; install it with \"make kubo\" or name it in PINFOLD_IPFS", err)
	}
	if v := strings.TrimSpace(string(out)); !strings.HasPrefix(v, "0.42.") {
		t.Fatalf("%s is Kubo %s, not 0.42: install that with \"make kubo\" or name it in PINFOLD_IPFS", bin, v)
	}
	return bin
}

// moduleRoot is the directory of go.mod: tests run in that of their package.
func moduleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no go.mod above the tests")
		}
		dir = up
	}
}
