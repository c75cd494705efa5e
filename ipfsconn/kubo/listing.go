package kubo

import (
	"bytes"
	"cmp"
	"context"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/pinfold-cluster/pinfold/api"
)

// listFor is how long a listing of the pins is used, kept up with this process's own
// changes: pages of a long list are not asked of Kubo one by one.
const listFor = 10 * time.Second

// listing is Kubo's pins in order of the CIDs' bytes. Kubo has no such order, and no
// pages.
type listing struct {
	mu   sync.Mutex // held while Kubo lists, so that changes come after it
	at   time.Time  // when Kubo was asked; zero: not yet
	pins []listed
}

type listed struct {
	key  string // the CID's bytes
	mode api.PinMode
}

func byKey(a listed, key string) int { return cmp.Compare(a.key, key) }

// set notes a change that this process has made.
func (l *listing) set(c api.Cid, mode api.PinMode, pinned bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.at.IsZero() {
		return
	}
	i, found := slices.BinarySearchFunc(l.pins, c.KeyString(), byKey)
	switch {
	case found && pinned:
		l.pins[i].mode = mode
	case found:
		l.pins = slices.Delete(l.pins, i, i+1)
	case pinned:
		l.pins = slices.Insert(l.pins, i, listed{c.KeyString(), mode})
	}
}

// page is how many pins are yielded without a look for changes.
const page = 512

// after returns the next pins after c, at most page of them.
func (l *listing) after(ctx context.Context, n *Node, c api.Cid) ([]listed, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.at.IsZero() || time.Since(l.at) > listFor {
		if err := l.fill(ctx, n); err != nil {
			return nil, err
		}
	}
	i := 0
	if c.Defined() {
		var found bool
		if i, found = slices.BinarySearchFunc(l.pins, c.KeyString(), byKey); found {
			i++
		}
	}
	return slices.Clone(l.pins[i:min(len(l.pins), i+page)]), nil
}

// fill asks Kubo. Each type is a request of its own, and only a whole answer counts.
func (l *listing) fill(ctx context.Context, n *Node) error {
	at, pins := time.Now(), []listed(nil)
	for _, mode := range []api.PinMode{api.PinRecursive, api.PinDirect} {
		err := n.list(ctx, mode, func(c api.Cid) { pins = append(pins, listed{c.KeyString(), mode}) })
		if err != nil {
			return err
		}
	}
	slices.SortFunc(pins, func(a, b listed) int { return strings.Compare(a.key, b.key) })
	// Recursive wins where a pin changed between the two requests.
	l.pins = slices.CompactFunc(pins, func(a, b listed) bool { return a.key == b.key })
	l.at = at
	return nil
}

// Pinned implements ipfsconn.Connector. It keeps all the node's pins in memory, some
// 64 bytes each. A pin that somebody else makes or removes shows after at most 10 s.
func (n *Node) Pinned(ctx context.Context, after api.Cid) iter.Seq2[api.PinnedCid, error] {
	return func(yield func(api.PinnedCid, error) bool) {
		for {
			pins, err := n.pins.after(ctx, n, after)
			if err != nil {
				yield(api.PinnedCid{}, err)
				return
			}
			for _, p := range pins {
				_, c, err := cid.CidFromReader(bytes.NewReader([]byte(p.key)))
				after = api.Cid{Cid: c}
				if !yield(api.PinnedCid{Cid: after, Mode: p.mode}, err) || err != nil {
					return
				}
			}
			if len(pins) == 0 {
				return
			}
		}
	}
}
