// Command demo shows what Pinfold is for, on real processes: three peers take a
// directory and a file, hold two copies of each, one holder is killed, the cluster
// makes a new copy, and the peer that had none gives the file back unchanged.
//
// It uses the built binaries as a person would and needs nothing else. It exits 1 at
// the first step that fails.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

const (
	fileSize   = 64 << 20
	demoLimit  = 3 * time.Minute // for everything, on a slow machine
	pollPeriod = 100 * time.Millisecond
)

func main() {
	bin := flag.String("bin", "bin", "directory of the built binaries")
	keep := flag.Bool("keep", false, "leave the cluster running")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), demoLimit)
	defer cancel()
	d := &demo{bin: *bin, keep: *keep, start: time.Now()}
	err := d.run(ctx)
	if err != nil {
		fmt.Fprintf(os.Stderr, "\ndemo failed: %v\n", err)
	}
	if err = errors.Join(err, d.stop(err != nil)); err != nil {
		os.Exit(1)
	}
}

type demo struct {
	bin, dir string
	keep     bool
	start    time.Time
	cluster  *exec.Cmd
	peers    []peer
	names    map[string]string // peer ID to name
	laps     []lap
}

// peer is one line of the dev.json that cluster-service dev writes.
type peer struct {
	Name    string `json:"name"`
	Dir     string `json:"dir"`
	PID     int    `json:"pid"`
	API     string `json:"api"`
	Gateway string `json:"gateway"`
}

type lap struct {
	what string
	took time.Duration
}

// run is the demo, a step a call.
func (d *demo) run(ctx context.Context) error {
	var err error
	if d.dir, err = os.MkdirTemp("", "pinfold-demo-"); err != nil {
		return err
	}
	var file, tree string
	var sum [sha256.Size]byte
	var dirCid, fileCid string
	var victim, newcomer peer

	steps := []struct {
		title string
		do    func() error
	}{
		{"make a 64 MiB file and a directory", func() (err error) { file, tree, sum, err = d.material(); return }},
		{"start three peers, a process each", func() error { return d.startCluster(ctx) }},
		{"who is there", func() error { return d.ctl(ctx, d.peers[0], "--enc=table", "peers", "ls") }},
		{"add the directory, two copies", func() (err error) {
			dirCid, err = d.add(ctx, "directory", "-r", tree)
			return
		}},
		{"add the file, two copies", func() (err error) {
			fileCid, err = d.add(ctx, "file", file)
			return
		}},
		{"who shall hold what", func() error { return d.ctl(ctx, d.peers[0], "--enc=table", "pin", "ls") }},
		{"who holds what", func() error { return d.ctl(ctx, d.peers[0], "--enc=table", "status") }},
		{"kill a holder of the file", func() (err error) { victim, newcomer, err = d.killHolder(ctx, fileCid); return }},
		{"repair to two live copies", func() error { return d.waitRepair(ctx, newcomer, victim, dirCid, fileCid) }},
		{"who holds what now", func() error { return d.ctl(ctx, newcomer, "--enc=table", "status") }},
		{"read the file from the peer that had no copy", func() error { return d.readBack(ctx, newcomer, fileCid, sum) }},
	}
	for _, s := range steps {
		fmt.Printf("\n== %s\n", s.title)
		began := time.Now()
		if err := s.do(); err != nil {
			return fmt.Errorf("%s: %w", s.title, err)
		}
		d.laps = append(d.laps, lap{s.title, time.Since(began)})
	}
	d.printTimes()
	return nil
}

// material writes what will be added: random bytes, and a tree with real files.
func (d *demo) material() (file, tree string, sum [sha256.Size]byte, err error) {
	file, tree = filepath.Join(d.dir, "file.bin"), filepath.Join(d.dir, "tree")
	data := make([]byte, fileSize)
	_, _ = rand.NewChaCha8([32]byte{'p', 'i', 'n', byte(time.Now().UnixNano())}).Read(data) // never fails
	sum = sha256.Sum256(data)
	if err = os.WriteFile(file, data, 0o600); err != nil {
		return
	}
	err = os.CopyFS(tree, os.DirFS("api")) // this repository's own sources
	fmt.Printf("%s (sha256 %x…), %s\n", file, sum[:8], tree)
	return
}

func (d *demo) startCluster(ctx context.Context) error {
	home := filepath.Join(d.dir, "cluster")
	d.cluster = exec.Command(filepath.Join(d.bin, "cluster-service"), "--loglevel", "error", "dev", "--peers", "3", "--dir", home)
	d.cluster.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	log, err := os.Create(filepath.Join(d.dir, "dev.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	d.cluster.Stdout, d.cluster.Stderr = log, log
	if err := d.cluster.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- d.cluster.Wait() }()
	for {
		text, err := os.ReadFile(filepath.Join(home, "dev.json"))
		if err == nil && json.Unmarshal(text, &d.peers) == nil {
			break
		}
		select {
		case err := <-ended:
			d.cluster = nil
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("cluster-service dev ended: %v\n%s", err, text)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollPeriod):
		}
	}
	d.names = map[string]string{}
	for _, p := range d.peers {
		ids, err := ctlJSON[struct{ ID string }](ctx, d, p, "id")
		if err != nil || len(ids) != 1 {
			return fmt.Errorf("asking %s who it is: %v", p.Name, err)
		}
		d.names[ids[0].ID] = p.Name
		fmt.Printf("%s: pid %d, API %s, gateway %s\n", p.Name, p.PID, p.API, p.Gateway)
	}
	return nil
}

// ctl runs cluster-ctl against p and shows the command and what it prints.
func (d *demo) ctl(ctx context.Context, p peer, args ...string) error {
	fmt.Printf("$ cluster-ctl --host %s %s\n", p.API, strings.Join(args, " "))
	cmd := exec.CommandContext(ctx, filepath.Join(d.bin, "cluster-ctl"), append([]string{"--host", p.API}, args...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

// ctlJSON runs cluster-ctl with --enc=json and decodes the objects it prints.
func ctlJSON[T any](ctx context.Context, d *demo, p peer, args ...string) ([]T, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(d.bin, "cluster-ctl"), append([]string{"--host", p.API, "--enc=json"}, args...)...)
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("cluster-ctl %s: %w: %s", strings.Join(args, " "), err, text)
	}
	var all []T
	for dec := json.NewDecoder(bytes.NewReader(text)); ; {
		var v T
		err := dec.Decode(&v)
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading what cluster-ctl %s printed: %w", strings.Join(args, " "), err)
		}
		all = append(all, v)
	}
}

// add adds a path through the first peer under a name and returns the root's CID.
func (d *demo) add(ctx context.Context, name string, args ...string) (string, error) {
	args = append([]string{"add", "--replication", "2", "--name", name}, args...)
	if err := d.ctl(ctx, d.peers[0], args...); err != nil {
		return "", err
	}
	type pin struct{ Cid, Name string }
	pins, err := ctlJSON[pin](ctx, d, d.peers[0], "pin", "ls")
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(pins, func(p pin) bool { return p.Name == name })
	if i < 0 {
		return "", fmt.Errorf("the pinset has no pin named %q", name)
	}
	return pins[i].Cid, nil
}

// status is what the demo reads of a GlobalPinInfo.
type status struct {
	Allocations []string                           `json:"allocations"`
	PeerMap     map[string]struct{ Status string } `json:"peer_map"`
}

// holders asks p which allocated peers have the content, by name.
func (d *demo) holders(ctx context.Context, p peer, c string) ([]string, error) {
	all, err := ctlJSON[status](ctx, d, p, "status", c)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, s := range all {
		for _, id := range s.Allocations {
			if s.PeerMap[id].Status == "pinned" {
				names = append(names, d.names[id])
			}
		}
	}
	slices.Sort(names)
	return names, nil
}

// killHolder kills one of the two holders of c, as a power cut would, and tells which
// peer had no copy.
func (d *demo) killHolder(ctx context.Context, c string) (victim, newcomer peer, err error) {
	var holders []string
	for {
		if holders, err = d.holders(ctx, d.peers[0], c); err != nil {
			return
		}
		if len(holders) == 2 {
			break
		}
		if err = pause(ctx); err != nil {
			return
		}
	}
	for _, p := range d.peers {
		if !slices.Contains(holders, p.Name) {
			newcomer = p
		} else {
			victim = p
		}
	}
	fmt.Printf("%s are the holders; SIGKILL to %s (pid %d); %s has no copy\n", strings.Join(holders, " and "), victim.Name, victim.PID, newcomer.Name)
	err = syscall.Kill(victim.PID, syscall.SIGKILL)
	return
}

// waitRepair returns once each CID has two copies on peers other than the dead one.
func (d *demo) waitRepair(ctx context.Context, ask, dead peer, cids ...string) error {
	for _, c := range cids {
		for {
			names, err := d.holders(ctx, ask, c)
			live := slices.DeleteFunc(names, func(n string) bool { return n == dead.Name })
			if err == nil && len(live) == 2 {
				fmt.Printf("%s: %s\n", c, strings.Join(live, ", "))
				break
			}
			if perr := pause(ctx); perr != nil {
				return errors.Join(perr, err)
			}
		}
	}
	return nil
}

func (d *demo) readBack(ctx context.Context, p peer, c string, want [sha256.Size]byte) error {
	url := p.Gateway + "/ipfs/" + c
	fmt.Printf("GET %s\n", url)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the gateway answered %s", res.Status)
	}
	h := sha256.New()
	n, err := io.Copy(h, res.Body)
	if err != nil {
		return err
	}
	if got := [sha256.Size]byte(h.Sum(nil)); got != want || n != fileSize {
		return fmt.Errorf("the bytes differ: %d bytes with sha256 %x, want %d with %x", n, got, fileSize, want)
	}
	fmt.Printf("%d bytes, sha256 %x…: the same as were added\n", n, want[:8])
	return nil
}

func (d *demo) printTimes() {
	fmt.Println("\n== what took how long")
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	for _, l := range d.laps {
		fmt.Fprintf(w, "%s\t%.2f s\t\n", l.what, l.took.Seconds())
	}
	fmt.Fprintf(w, "all\t%.2f s\t\n", time.Since(d.start).Seconds())
	w.Flush()
}

// stop ends the cluster and removes its files, unless they were asked to stay or the
// demo failed and somebody may want to look.
func (d *demo) stop(failed bool) error {
	if d.cluster != nil && d.keep && !failed {
		fmt.Printf("\nStill running in %s:\n", d.dir)
		for _, p := range d.peers {
			fmt.Printf("  %s  API %s  gateway %s  pid %d\n", p.Name, p.API, p.Gateway, p.PID)
		}
		fmt.Printf("End it with: kill %d\n", d.cluster.Process.Pid)
		return nil
	}
	if d.cluster != nil {
		if err := d.cluster.Process.Signal(syscall.SIGTERM); err != nil {
			return fmt.Errorf("stopping the cluster: %w", err)
		}
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(pollPeriod) {
			if d.cluster.Process.Signal(syscall.Signal(0)) != nil {
				break
			}
		}
	}
	if failed {
		fmt.Fprintf(os.Stderr, "logs and data are left in %s\n", d.dir)
		return nil
	}
	return os.RemoveAll(d.dir)
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(pollPeriod):
		return nil
	}
}
