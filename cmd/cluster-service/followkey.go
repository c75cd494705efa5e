package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/pinfold-cluster/pinfold/p2p"
)

// renewals is where a follower keeps the renewals of the cluster's key that it goes by.
func (d followed) renewals() string { return d.path("renewals.json") }

type renewalsFile struct {
	Renewals [][]byte `json:"renewals"` // signed, oldest first
}

func (d followed) saveRenewals(list [][]byte) error {
	return writeWhole(d.renewals(), func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(renewalsFile{list})
	})
}

func (d followed) loadRenewals() ([][]byte, error) {
	text, err := os.ReadFile(d.renewals())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var f renewalsFile
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, fmt.Errorf("%s: %w", d.renewals(), err)
	}
	return f.Renewals, nil
}

// believed is the cluster as the link and what others showed since have it. Where the link
// says that the follower has believed another key, the pinset is forgotten: whoever signed
// with that could have written it.
func (d followed) believed(link p2p.Link) (*p2p.Cluster, error) {
	shown, err := d.loadRenewals()
	if err != nil {
		return nil, fmt.Errorf("reading the renewals of the cluster's key: %w", err)
	}
	doubted := link.Cluster()
	doubted.Sure = 0
	var c *p2p.Contradiction
	if _, err := doubted.Follow(shown); errors.As(err, &c) {
		if err := errors.Join(os.RemoveAll(d.state()), os.Remove(d.renewals())); err != nil {
			return nil, fmt.Errorf("forgetting what another key of the cluster signed: %w", err)
		}
		return link.Cluster(), nil
	}
	return link.Cluster().Follow(shown)
}

// keyed is the cluster as a follower knows it now.
type keyed struct {
	mu      sync.Mutex
	cluster *p2p.Cluster
	running bool // what goes by the key is open
}

// learn takes over the cluster's new key, where the renewals lead to one; whoever shows
// them. Where they contradict those that it has, the follower stops.
func (f *Follower) learn(shown [][]byte) {
	f.keyed.mu.Lock()
	defer f.keyed.mu.Unlock()
	if !f.keyed.running {
		return
	}
	next, err := f.keyed.cluster.Follow(shown)
	if next != f.keyed.cluster {
		// First it is on the disk: who forgets what it knew could be told anything.
		if err := f.d.saveRenewals(next.Renewals); err != nil {
			f.log.Error("the cluster's new key cannot be kept", "err", err)
			return
		}
		f.keyed.cluster = next
		f.host.Renew(next)
		f.data.Renew(next)
		f.feed.Renew(next.Key)
		f.log.Warn("the cluster has another key since a peer was removed from it; this follower goes by that", "number", next.Number())
	}
	var c *p2p.Contradiction
	switch {
	case errors.As(err, &c):
		if err := f.feed.StopForKey(c); err != nil {
			f.log.Error("what stops this follower cannot be kept", "err", err)
		}
	case err != nil: // anybody can make up such
		f.log.Debug("what a peer shows of the cluster's key is passed over", "err", err)
	}
}
