package proxy

import (
	"context"
	"errors"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/pinfold-cluster/pinfold/api"
)

// changeTimeout bounds a change of the pinset: without a majority of the peers it would
// wait for one for ever.
const changeTimeout = 30 * time.Second

// maxPinName bounds a pin's name, in bytes.
const maxPinName = 255

var pinCommands = []*command{
	{path: "pin"},
	{path: "pin/add", run: (*call).pinAdd, endless: true, args: []argument{{name: "ipfs-path", many: true, body: true}}, options: []option{
		opt(boolean, "recursive", "r").or(true), opt(text, "name", "n"), opt(boolean, "progress"),
		opt(boolean, "fast-provide-root"), opt(boolean, "fast-provide-dag"), opt(boolean, "fast-provide-wait"),
		opt(text, "type"), // IPFS Cluster's: direct or recursive
	}},
	{path: "pin/rm", run: (*call).pinRm, args: []argument{{name: "ipfs-path", many: true, body: true}}, options: []option{
		opt(boolean, "recursive", "r").or(true),
	}},
	{path: "pin/update", run: (*call).pinUpdate, args: []argument{{name: "from-path"}, {name: "to-path"}}, options: []option{
		opt(boolean, "unpin").or(true),
		opt(boolean, "fast-provide-root"), opt(boolean, "fast-provide-dag"), opt(boolean, "fast-provide-wait"),
	}},
	{path: "pin/ls", run: (*call).pinLs, endless: true, args: []argument{{name: "ipfs-path", optional: true, many: true}}, options: []option{
		opt(text, "type", "t").or("all"), opt(boolean, "quiet", "q"), opt(text, "name", "n"), opt(boolean, "stream", "s"),
		opt(boolean, "names"),
	}},
}

// pinsOutput answers what changes pins.
type pinsOutput struct {
	Pins     []string `json:",omitempty"`
	Progress int      `json:",omitempty"` // blocks
	Bytes    uint64   `json:",omitempty"`
}

func (c *call) pinAdd() error {
	name := c.text("name")
	if err := checkPinName(name); err != nil {
		return err
	}
	mode := api.PinRecursive
	if !c.boolean("recursive") || c.text("type") == "direct" {
		mode = api.PinDirect
	}
	cids, err := c.resolveAll()
	if err != nil {
		return err
	}
	for _, x := range cids {
		if err := c.pin(x, mode, name); err != nil {
			return errPin(err)
		}
	}
	if !c.boolean("progress") {
		return c.once(pinsOutput{Pins: c.texts(cids)})
	}
	if err := c.begin(); err != nil {
		return err
	}
	for _, x := range cids {
		if err := c.waitPinned(x); err != nil {
			return errPin(err)
		}
	}
	return c.emit(pinsOutput{Pins: c.texts(cids)})
}

func checkPinName(name string) error {
	if len(name) > maxPinName {
		return api.Invalid.Errorf("pin name is %d bytes (max %d bytes)", len(name), maxPinName)
	}
	return nil
}

func errPin(err error) error { return api.KindOf(err).Errorf("pin: %w", err) }

// pin pins x in the cluster. What an earlier pin says beyond mode and name stays.
func (c *call) pin(x cid.Cid, mode api.PinMode, name string, holders ...api.PeerID) error {
	ctx, cancel := context.WithTimeout(c.ctx, changeTimeout)
	defer cancel()
	var o api.PinOptions
	old, err := c.Pinset.Get(ctx, api.Cid{Cid: x})
	switch {
	case err == nil && old.Mode == api.PinRecursive && mode == api.PinDirect:
		return api.Conflict.Errorf("%s already pinned recursively", x)
	case err == nil:
		o = old.PinOptions
		o.PinUpdate = api.CidUndef
	case !errors.Is(err, api.NotFound):
		return err
	}
	o.Mode = mode
	if name != "" {
		o.Name = name
	}
	p := api.NewPin(api.Cid{Cid: x}, o, time.Now())
	p.Allocations = holders
	return lagging(c.Pins.Pin(ctx, p))
}

// lagging takes it for done what is committed and only not to be seen on this peer yet.
func lagging(_ api.Pin, _ uint64, err error) error {
	if errors.Is(err, api.Lagging) {
		return nil
	}
	return err
}

// waitPinned tells of the progress of a pin until some peer has it and no other is
// still getting it, or all have failed.
func (c *call) waitPinned(x cid.Cid) error {
	tick := time.NewTimer(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return c.ctx.Err()
		case <-tick.C:
		}
		info, err := c.Tracker.Status(c.ctx, api.Cid{Cid: x})
		if err != nil {
			return err
		}
		bytes, done, err := progressOf(info)
		if err != nil {
			return err
		}
		if err := c.emit(pinsOutput{Progress: 1, Bytes: bytes}); done || err != nil {
			return err
		}
		tick.Reset(500 * time.Millisecond)
	}
}

// progressOf tells the bytes on the peer that has most, and whether that is the end.
func progressOf(info api.GlobalPinInfo) (bytes uint64, done bool, err error) {
	pinned, busy := false, false
	for _, p := range info.PeerMap {
		bytes = max(bytes, p.Bytes)
		switch {
		case p.Status == api.StatusPinned:
			pinned = true
		case p.Status.Match(api.StatusPinning | api.StatusPinQueued | api.StatusUnexpectedlyUnpinned):
			busy = true
		case p.Status.Match(api.StatusError) && p.Error != "":
			err = api.Unavailable.Errorf("%s", p.Error)
		}
	}
	if pinned || busy || err == nil {
		return bytes, pinned && !busy, nil
	}
	return bytes, false, err
}

func (c *call) pinRm() error {
	cids, err := c.resolveAll()
	if err != nil {
		return err
	}
	for _, x := range cids {
		if err := c.unpin(x); err != nil {
			return err
		}
	}
	return c.once(pinsOutput{Pins: c.texts(cids)})
}

func (c *call) unpin(x cid.Cid) error {
	ctx, cancel := context.WithTimeout(c.ctx, changeTimeout)
	defer cancel()
	p, err := c.Pinset.Get(ctx, api.Cid{Cid: x})
	if errors.Is(err, api.NotFound) {
		return errNotPinned
	}
	if err == nil && p.Mode == api.PinRecursive && !c.boolean("recursive") {
		return api.Conflict.Errorf("%s is pinned recursively", x)
	}
	if err == nil {
		err = lagging(c.Pins.Unpin(ctx, api.Cid{Cid: x}))
	}
	if errors.Is(err, api.NotFound) {
		return errNotPinned
	}
	return err
}

var errNotPinned = api.NotFound.Errorf("not pinned or pinned indirectly")

func (c *call) pinUpdate() error {
	cids, err := c.resolveAll()
	if err != nil {
		return err
	}
	from, to := cids[0], cids[1]
	ctx, cancel := context.WithTimeout(c.ctx, changeTimeout)
	defer cancel()
	old, err := c.Pinset.Get(ctx, api.Cid{Cid: from})
	if errors.Is(err, api.NotFound) || err == nil && old.Mode != api.PinRecursive {
		return api.Conflict.Errorf("'from' cid was not recursively pinned already")
	}
	if err != nil {
		return err
	}
	out := pinsOutput{Pins: c.texts(cids[:2])}
	if from == to {
		return c.once(out)
	}
	switch there, err := c.Pinset.Get(ctx, api.Cid{Cid: to}); {
	case err == nil && there.Mode == api.PinRecursive:
		return api.Conflict.Errorf("'to' cid was already recursively pinned")
	case err != nil && !errors.Is(err, api.NotFound):
		return err
	}
	o := old.PinOptions
	o.PinUpdate = api.Cid{Cid: from}
	if err := lagging(c.Pins.Pin(ctx, api.NewPin(api.Cid{Cid: to}, o, time.Now()))); err != nil {
		return err
	}
	if c.boolean("unpin") {
		if err := lagging(c.Pins.Unpin(ctx, api.Cid{Cid: from})); err != nil && !errors.Is(err, api.NotFound) {
			return err
		}
	}
	return c.once(out)
}

// texts gives the texts of CIDs as the request wants them.
func (c *call) texts(cids []cid.Cid) []string {
	all := make([]string, len(cids))
	for i, x := range cids {
		all[i] = c.cid(x)
	}
	return all
}
