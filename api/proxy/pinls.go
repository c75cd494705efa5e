package proxy

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/ipfs/go-cid"

	"github.com/pinfold-cluster/pinfold/api"
)

// pinLine is a pin in a stream.
type pinLine struct {
	Cid  string `json:",omitempty"`
	Name string `json:",omitempty"`
	Type string `json:",omitempty"`
}

// pinEntry is a pin under its CID.
type pinEntry struct {
	Type string
	Name string
}

// pinLs lists the pinset, and what is below it on this node. Every CID comes once, as
// the strongest of recursive, direct and indirect.
func (c *call) pinLs() error {
	kind, name := c.text("type"), c.text("name")
	if err := checkPinName(name); err != nil {
		return err
	}
	switch kind {
	case "all", "recursive", "direct", "indirect":
	default:
		return api.Invalid.Errorf("invalid type '%s', must be one of {direct, indirect, recursive, all}", kind)
	}
	names := c.boolean("names") || name != ""
	out := &pinList{c: c, stream: c.boolean("stream")}
	if len(c.args) > 0 {
		return c.pinLsArgs(kind, names, out)
	}
	for p, err := range c.Pinset.All(c.ctx) {
		if err != nil {
			return err
		}
		if p.Type != api.PinData || !strings.Contains(p.Name, name) || kind != "all" && kind != p.Mode.String() {
			continue
		}
		line := pinLine{Cid: c.cid(p.Cid.Cid), Type: p.Mode.String()}
		if names {
			line.Name = p.Name
		}
		if err := out.add(line); err != nil {
			return err
		}
	}
	// What is only below other pins has no name.
	if c.Node != nil && name == "" && (kind == "all" || kind == "indirect") {
		done, err := c.walk()
		if err != nil {
			return err
		}
		defer done()
		for k, err := range c.Node.Below(c.ctx, true) {
			if err != nil {
				return err
			}
			if _, err := c.Pinset.Get(c.ctx, k.Cid); !errors.Is(err, api.NotFound) {
				if err != nil {
					return err
				}
				continue // it was listed
			}
			if err := out.add(pinLine{Cid: c.cid(k.Cid.Cid), Type: "indirect"}); err != nil {
				return err
			}
		}
	}
	return out.end()
}

// pinLsArgs tells how each of the arguments is pinned.
func (c *call) pinLsArgs(kind string, names bool, out *pinList) error {
	cids, err := c.resolveAll()
	if err != nil {
		return err
	}
	for i, x := range cids {
		p, err := c.Pinset.Get(c.ctx, api.Cid{Cid: x})
		if err != nil && !errors.Is(err, api.NotFound) {
			return err
		}
		line := pinLine{Cid: c.cid(x)}
		switch {
		case err == nil && p.Type == api.PinData && (kind == "all" || kind == p.Mode.String()):
			line.Type = p.Mode.String()
			if names {
				line.Name = p.Name
			}
		case c.Node != nil && (kind == "all" || kind == "indirect"):
			via, err := c.pinnedThrough(x)
			if err != nil {
				return err
			}
			if via.Defined() {
				line.Type = "indirect through " + c.cid(via)
			}
		}
		if line.Type == "" {
			return api.NotFound.Errorf("path '%s' is not pinned", c.args[i])
		}
		if err := out.add(line); err != nil {
			return err
		}
	}
	return out.end()
}

// pinList writes pins as lines, or as one object as they come: neither needs the whole
// list in memory. An object that breaks off is no JSON.
type pinList struct {
	c      *call
	stream bool
	held   []byte // of an object: what is not written yet
	some   bool
}

// pinListBuffer is how much of an object is held back, so that an error may still be
// the answer.
const pinListBuffer = 64 << 10

func (l *pinList) add(p pinLine) error {
	if l.stream {
		return l.c.emit(p)
	}
	key, err := json.Marshal(p.Cid)
	if err != nil {
		return err
	}
	value, err := json.Marshal(pinEntry{Type: p.Type, Name: p.Name})
	if err != nil {
		return err
	}
	if l.some {
		l.held = append(l.held, ',')
	} else {
		l.held = append(l.held, `{"Keys":{`...)
	}
	l.some = true
	l.held = append(append(append(l.held, key...), ':'), value...)
	if len(l.held) < pinListBuffer {
		return nil
	}
	return l.write()
}

func (l *pinList) write() error {
	a := l.c.answer
	if !a.begun {
		a.begun = true
		a.header().Set("Content-Type", "application/json")
		a.w.WriteHeader(http.StatusOK)
	}
	_, err := a.w.Write(l.held)
	l.held = l.held[:0]
	return err
}

func (l *pinList) end() error {
	switch {
	case l.stream:
		return nil
	case !l.some:
		return l.c.once(struct{}{})
	}
	l.held = append(l.held, "}}\n"...)
	return l.write()
}

// resolveAll turns the arguments into the CIDs that they lead to.
func (c *call) resolveAll() ([]cid.Cid, error) {
	cids := make([]cid.Cid, len(c.args))
	for i, a := range c.args {
		x, err := c.resolve(a)
		if err != nil {
			return nil, err
		}
		cids[i] = x
	}
	return cids, nil
}

// pinnedThrough finds a pin of the node that x is below, undefined without one.
func (c *call) pinnedThrough(x cid.Cid) (cid.Cid, error) {
	done, err := c.walk()
	if err != nil {
		return cid.Undef, err
	}
	defer done()
	for k, err := range c.Node.Below(c.ctx, false) {
		if err != nil {
			return cid.Undef, err
		}
		if k.Cid.Cid.Equals(x) {
			return k.Pin.Cid, nil
		}
	}
	return cid.Undef, nil
}
