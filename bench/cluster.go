package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// cluster is three real peers started by cluster-service dev.
type cluster struct {
	bin, dir string
	dev      *exec.Cmd
	ended    chan error
	peers    []benchPeer
}

type benchPeer struct {
	Name    string `json:"name"`
	Dir     string `json:"dir"`
	PID     int    `json:"pid"`
	API     string `json:"api"`
	Gateway string `json:"gateway"`
}

// onCluster runs f on a new cluster and removes it.
func onCluster(ctx context.Context, bin string, f func(*cluster) error) error {
	dir, err := os.MkdirTemp("", "pinfold-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c := &cluster{bin: bin, dir: dir}
	if err := c.start(ctx); err != nil {
		return err
	}
	return errors.Join(f(c), c.stop())
}

// start starts dev on the cluster's directory: a new cluster there the first time, the
// same one again later.
func (c *cluster) start(ctx context.Context) error {
	ready := filepath.Join(c.dir, "dev.json")
	if err := os.RemoveAll(ready); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(c.dir, "dev.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	c.dev = exec.Command(filepath.Join(c.bin, "cluster-service"), "dev", "--peers", "3", "--dir", c.dir)
	c.dev.Stdout, c.dev.Stderr = log, log
	c.dev.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.dev.Start(); err != nil {
		return err
	}
	c.ended = make(chan error, 1)
	go func() { c.ended <- c.dev.Wait() }()
	for {
		text, err := os.ReadFile(ready)
		if err == nil && json.Unmarshal(text, &c.peers) == nil {
			return nil
		}
		select {
		case err := <-c.ended:
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("cluster-service dev ended: %v\n%s", err, text)
		case <-ctx.Done():
			return errors.Join(ctx.Err(), c.stop())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (c *cluster) stop() error {
	if err := c.dev.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return <-c.ended
}

// leader gives the index of the leading peer.
func (c *cluster) leader(ctx context.Context) (int, error) {
	for i, p := range c.peers {
		var id struct{ Role string }
		if err := getJSON(ctx, p.API+"/id", &id); err == nil && id.Role == "leader" {
			return i, nil
		}
	}
	return 0, errors.New("no peer leads")
}

func getJSON(ctx context.Context, url string, v any) error {
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
		return fmt.Errorf("GET %s: %s", url, res.Status)
	}
	return json.NewDecoder(res.Body).Decode(v)
}
