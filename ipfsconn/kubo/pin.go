package kubo

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pinfold-cluster/pinfold/api"
)

// Find implements ipfsconn.Connector.
func (n *Node) Find(ctx context.Context, p api.Pin) error {
	if here, err := n.has(ctx, p.Cid); err != nil || here {
		return lost(ctx, err, api.CauseNoProvider)
	}
	n.reach(ctx, p)
	err := n.call(ctx, nil, "block/stat", arg(p.Cid))
	return lost(ctx, err, api.CauseNoProvider)
}

// reach connects to the peers that the pin names. Bitswap looks elsewhere as well, so
// it is no error if they are not there.
func (n *Node) reach(ctx context.Context, p api.Pin) {
	for _, a := range p.Origins {
		info, err := peer.AddrInfoFromP2pAddr(a)
		if err == nil {
			err = n.Connect(ctx, *info)
		}
		if err != nil {
			n.log.Debug("origin not reached", "cid", p.Cid, "address", a, "err", err)
		}
	}
}

// lost gives an error that means that content did not come its kind and cause.
func lost(ctx context.Context, err error, cause api.Cause) error {
	if err == nil {
		return nil
	}
	if why := context.Cause(ctx); why != nil {
		return cause.Wrap(api.Unavailable.Errorf("%w: %w", why, err))
	}
	if c := api.CauseOf(err); c == api.CauseNoProvider {
		return cause.Wrap(api.Unavailable.Errorf("%w", err))
	}
	return err
}

var errStalled = errors.New("no block has arrived")

// Pin implements ipfsconn.Connector. What Kubo has pinned in that mode is not walked
// again: Kubo would drop the pin for the time of the walk.
func (n *Node) Pin(ctx context.Context, p api.Pin, progress func(uint64)) error {
	if progress == nil {
		progress = func(uint64) {}
	}
	mode, pinned, err := n.PinStatus(ctx, p.Cid)
	if err != nil {
		return lost(ctx, err, api.CauseNoProvider)
	}
	if !pinned || mode != p.Mode {
		if err := n.pin(ctx, p, pinned, progress); err != nil {
			return err
		}
	}
	return n.ClearMark(ctx, p.Cid)
}

func (n *Node) pin(ctx context.Context, p api.Pin, pinned bool, progress func(uint64)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(n.o.PinTimeout, func() { cancel(errStalled) })
	defer stall.Stop()

	if err := n.Find(ctx, p); err != nil {
		return err
	}
	stall.Reset(n.o.PinTimeout)
	if pinned && p.Mode == api.PinDirect {
		// Kubo refuses to make a recursive pin a direct one.
		if err := n.unpin(ctx, p.Cid); err != nil {
			return err
		}
	}
	if err := n.pinAdd(ctx, p.Cid, p.Mode, stall, progress); err != nil {
		return lost(ctx, err, api.CauseStalled)
	}
	n.pins.set(p.Cid, p.Mode, true)
	return nil
}

// pinAdd has Kubo pin c, and resets stall whenever it has got on. On an error that came
// after progress began, too, it fails.
func (n *Node) pinAdd(ctx context.Context, c api.Cid, mode api.PinMode, stall *time.Timer, progress func(uint64)) error {
	args := arg(c)
	args.Set("recursive", fmt.Sprint(mode == api.PinRecursive))
	args.Set("progress", "true")
	type line struct {
		Pins     []string
		Progress int    // blocks
		Bytes    uint64 // 0 from a Kubo that does not tell
	}
	var last line
	done := false
	for l, err := range stream[line](ctx, n, "pin/add", args, nil) {
		if err != nil {
			return err
		}
		if l.Progress > last.Progress {
			stall.Reset(n.o.PinTimeout)
			progress(l.Bytes)
			last = l
		}
		done = done || len(l.Pins) > 0
	}
	if !done {
		return api.Unknown.Errorf("pin/add %s: the answer ended early", c)
	}
	return nil
}

// Unpin implements ipfsconn.Connector.
func (n *Node) Unpin(ctx context.Context, c api.Cid) error {
	ctx, cancel := context.WithTimeout(ctx, n.o.UnpinTimeout)
	defer cancel()
	if err := n.unpin(ctx, c); err != nil {
		return err
	}
	return n.ClearMark(ctx, c)
}

func (n *Node) unpin(ctx context.Context, c api.Cid) error {
	// Kubo says "not pinned" of what a pin above it keeps, too.
	if err := n.call(ctx, nil, "pin/rm", arg(c)); err != nil && api.KindOf(err) != api.NotFound {
		return err
	}
	n.pins.set(c, 0, false)
	return nil
}

// PinStatus implements ipfsconn.Connector.
func (n *Node) PinStatus(ctx context.Context, c api.Cid) (api.PinMode, bool, error) {
	for _, mode := range []api.PinMode{api.PinRecursive, api.PinDirect} {
		args := arg(c)
		args.Set("type", mode.String())
		err := n.call(ctx, nil, "pin/ls", args)
		if err == nil {
			return mode, true, nil
		}
		if api.KindOf(err) != api.NotFound {
			return 0, false, err
		}
	}
	return 0, false, nil
}

// list asks Kubo for all its pins of one mode.
func (n *Node) list(ctx context.Context, mode api.PinMode, add func(api.Cid)) error {
	type line struct{ Cid string }
	args := url.Values{"type": {mode.String()}, "stream": {"true"}}
	for l, err := range stream[line](ctx, n, "pin/ls", args, nil) {
		if err != nil {
			return err
		}
		c, err := api.ParseCid(l.Cid)
		if err != nil {
			return fmt.Errorf("pin/ls: %w", err)
		}
		add(c)
	}
	return nil
}
