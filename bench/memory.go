package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// memory is what is resident of a process, in MiB: all of it, and of that what is its own
// (the rest are pages of files, which the kernel can take back).
type memory struct{ all, own float64 }

func memoryOf(pid int) (m memory, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return m, err
	}
	for line := range strings.Lines(string(text)) {
		var name string
		var kib float64
		if n, _ := fmt.Sscan(line, &name, &kib); n < 2 {
			continue
		}
		switch name {
		case "VmRSS:":
			m.all = kib / 1024
		case "RssAnon:":
			m.own = kib / 1024
		}
	}
	return m, nil
}

// resident is the largest resident memory of the peers, in MiB.
func (c *cluster) resident() (float64, error) {
	var most float64
	for _, p := range c.peers {
		m, err := memoryOf(p.PID)
		if err != nil {
			return 0, err
		}
		most = max(most, m.all)
	}
	return most, nil
}

// sampleEvery is how often a peak looks: a collection of garbage comes twice a second at
// most under the loads here.
const sampleEvery = 50 * time.Millisecond

// A peak is the most that a peer had resident while it was watched, beside what it had
// before.
type peak struct{ before, most memory }

// String tells by how much memory grew, and to what: all of it, and the process's own.
func (p peak) String() string {
	return fmt.Sprintf("%+.0f MiB to %.0f (its own %+.0f to %.0f)", p.most.all-p.before.all, p.most.all, p.most.own-p.before.own, p.most.own)
}

// peaks watches the peers' memory while f runs.
func (c *cluster) peaks(ctx context.Context, f func() error) ([]peak, error) {
	seen := make([]peak, len(c.peers))
	for i, p := range c.peers {
		m, err := memoryOf(p.PID)
		if err != nil {
			return nil, err
		}
		seen[i] = peak{m, m}
	}
	ctx, stop := context.WithCancel(ctx)
	watched := make(chan error, 1)
	go func() {
		for {
			select {
			case <-ctx.Done():
				watched <- nil
				return
			case <-time.After(sampleEvery):
			}
			for i, p := range c.peers {
				m, err := memoryOf(p.PID)
				if err != nil {
					watched <- err
					return
				}
				seen[i].most = memory{max(seen[i].most.all, m.all), max(seen[i].most.own, m.own)}
			}
		}
	}()
	err := f()
	stop()
	return seen, errors.Join(err, <-watched)
}
