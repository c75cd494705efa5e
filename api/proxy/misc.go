package proxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/pinfold-cluster/pinfold/api"
)

// miscCommands are what clients ask to learn what the node is and can do.
var miscCommands = []*command{
	{path: "commands", run: (*call).listCommands, options: []option{opt(boolean, "flags", "f")}},
	{path: "config", run: (*call).config, args: []argument{{name: "key"}, {name: "value", optional: true}}, options: []option{
		opt(boolean, "bool"), opt(boolean, "json"), opt(boolean, "expand-auto"),
	}},
	{path: "config/replace", run: (*call).configReplace, args: []argument{{name: "file", file: true}}},
	{path: "config/show", run: (*call).configShow, options: []option{opt(boolean, "expand-auto")}},
	{path: "version/deps", run: (*call).versionDeps},
}

type commandTree struct {
	Name        string
	Subcommands []commandTree
	Options     []commandOption
}

type commandOption struct{ Names []string }

// listCommands gives the tree of what is offered.
func (c *call) listCommands() error { return c.once(c.tree("ipfs", "", globals)) }

func (c *call) tree(name, path string, options []option) commandTree {
	t := commandTree{Name: name, Subcommands: []commandTree{}, Options: []commandOption{}}
	for _, o := range options {
		t.Options = append(t.Options, commandOption{o.names})
	}
	var below []string
	for p := range c.commands {
		dir, last := "", p
		if i := strings.LastIndexByte(p, '/'); i >= 0 {
			dir, last = p[:i], p[i+1:]
		}
		if dir == path {
			below = append(below, last)
		}
	}
	slices.Sort(below)
	for _, last := range below {
		p := strings.TrimPrefix(path+"/"+last, "/")
		t.Subcommands = append(t.Subcommands, c.tree(last, p, c.commands[p].options))
	}
	return t
}

// settings are the node's, in the form of Kubo's configuration: what clients look for.
func (c *call) settings() map[string]any {
	identity, swarm := map[string]any{"PeerID": ""}, []string{}
	if h := c.Node.Host(); h != nil {
		identity["PeerID"] = h.ID().String()
		if addrs, err := h.Network().InterfaceListenAddresses(); err == nil {
			swarm = append(swarm, addrTexts(addrs)...)
		}
	}
	return map[string]any{
		"Identity":  identity,
		"Addresses": map[string]any{"API": c.o.ListenMultiaddress[0], "Gateway": c.GatewayAddress, "Swarm": swarm, "Announce": []string{}, "NoAnnounce": []string{}},
		"Bootstrap": []string{},
		"Peering":   map[string]any{"Peers": []string{}},
		"API":       map[string]any{"HTTPHeaders": map[string]any{}},
		"Pinning":   map[string]any{"RemoteServices": map[string]any{}},
		"Routing":   map[string]any{"Type": "none"},
		"Datastore": map[string]any{"StorageMax": ""},
	}
}

func (c *call) configShow() error { return c.once(c.settings()) }

// config reads one of the settings, or is given the value that it has: they are changed in
// the peer's own file.
func (c *call) config() error {
	v, err := c.setting(c.args[0])
	if len(c.args) > 1 {
		if err != nil || !sameJSON(v, c.newValue()) {
			return errNoSettings
		}
	}
	if err != nil {
		return err
	}
	return c.once(struct {
		Key   string
		Value any
	}{c.args[0], v})
}

// newValue is the value that a setting is to get.
func (c *call) newValue() any {
	var v any = c.args[1]
	if c.boolean("bool") {
		v = c.args[1] == "true"
	}
	if c.boolean("json") && json.Unmarshal([]byte(c.args[1]), &v) != nil {
		return nil
	}
	return v
}

// configReplace takes the settings that there are.
func (c *call) configReplace() error {
	data, err := c.upload(maxText)
	if err != nil {
		return err
	}
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		return api.Invalid.Errorf("failed to decode file as config: %w", err)
	}
	if !sameJSON(c.settings(), v) {
		return errNoSettings
	}
	return nil
}

// sameJSON tells whether a and b are written alike.
func sameJSON(a, b any) bool {
	x, err := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err == nil && err2 == nil && bytes.Equal(x, y)
}

func (c *call) setting(name string) (any, error) {
	var v any = c.settings()
	way := ""
	for key := range strings.SplitSeq(name, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil, api.NotFound.Errorf("failed to get config value: %q", way+" key is not a map")
		}
		way = strings.TrimPrefix(way+"."+key, ".")
		if v, ok = m[key]; !ok {
			return nil, api.NotFound.Errorf("failed to get config value: %q", way+" not found")
		}
	}
	return v, nil
}

// versionDeps lists the modules that this program is made of.
func (c *call) versionDeps() error {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return errors.New("no embedded dependency information")
	}
	for _, m := range append([]*debug.Module{&info.Main}, info.Deps...) {
		if err := c.emit(moduleOf(m)); err != nil {
			return err
		}
	}
	return nil
}

type module struct{ Path, Version, ReplacedBy, Sum string }

func moduleOf(m *debug.Module) module {
	out := module{Path: m.Path, Version: m.Version, Sum: m.Sum}
	if m.Replace != nil {
		out.ReplacedBy = m.Replace.Path + "@" + m.Replace.Version
	}
	return out
}
