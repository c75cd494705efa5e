package proxy

import (
	"cmp"
	"errors"
	"maps"
	"math"
	"runtime"
	"runtime/metrics"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	manet "github.com/multiformats/go-multiaddr/net"
)

var diagCommands = []*command{
	{path: "diag"},
	{path: "diag/healthy", run: func(c *call) error { return c.once("ok") }},
	{path: "diag/sys", run: (*call).system},
	{path: "diag/cmds", run: (*call).listActive, options: []option{verboseOption}},
	{path: "diag/cmds/clear", run: func(*call) error { return nil }}, // those that have ended are not kept
	{path: "swarm/resources", run: (*call).resources},
}

// system tells of the machine, as far as a stranger may know.
func (c *call) system() error {
	addrs, err := manet.InterfaceMultiaddrs()
	if err != nil {
		return err
	}
	room, err := c.Node.RepoStat(c.ctx)
	if err != nil {
		return err
	}
	memory := []metrics.Sample{{Name: "/memory/classes/total:bytes"}}
	metrics.Read(memory)
	return c.once(map[string]any{
		"runtime": map[string]any{"os": runtime.GOOS, "arch": runtime.GOARCH, "compiler": runtime.Compiler, "version": runtime.Version(),
			"numcpu": runtime.NumCPU(), "gomaxprocs": runtime.GOMAXPROCS(0), "numgoroutines": runtime.NumGoroutine()},
		"diskinfo":     map[string]any{"fstype": "", "total_space": room.StorageMax, "free_space": room.Free}, // for blocks
		"environment":  map[string]any{"GOPATH": "", "IPFS_PATH": ""},
		"memory":       map[string]any{"swap": 0, "virt": memory[0].Value.Uint64()},
		"net":          map[string]any{"interface_addresses": addrTexts(addrs), "online": c.Node.Host() != nil},
		"ipfs_version": kuboVersion,
		"ipfs_commit":  "",
	})
}

// active are the requests that are being answered.
type active struct {
	mu   sync.Mutex
	next int
	all  map[int]activeRequest
}

type activeRequest struct {
	StartTime time.Time
	EndTime   time.Time
	Active    bool
	Command   string
	Options   map[string]any
	Args      []string
	ID        int
}

// begin notes a request; end forgets it.
func (a *active) begin(c *call, command string) (end func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	id := a.next
	a.next++
	if a.all == nil {
		a.all = map[int]activeRequest{}
	}
	args := c.args[:min(len(c.args), maxArgsShown)]
	a.all[id] = activeRequest{StartTime: time.Now(), Active: true, Command: command, Options: c.opts, Args: args, ID: id}
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.all, id)
	}
}

// maxArgsShown bounds the arguments that are told of a request.
const maxArgsShown = 10

func (c *call) listActive() error {
	c.active.mu.Lock()
	all := slices.SortedFunc(maps.Values(c.active.all), func(a, b activeRequest) int { return cmp.Compare(a.ID, b.ID) })
	c.active.mu.Unlock()
	return c.once(all)
}

// scope is what one part of the node takes of its connections' resources, and may.
type scope struct {
	Memory               rcmgr.LimitVal64
	MemoryUsage          int64
	FD                   rcmgr.LimitVal
	FDUsage              int
	Conns                rcmgr.LimitVal
	ConnsUsage           int
	ConnsInbound         rcmgr.LimitVal
	ConnsInboundUsage    int
	ConnsOutbound        rcmgr.LimitVal
	ConnsOutboundUsage   int
	Streams              rcmgr.LimitVal
	StreamsUsage         int
	StreamsInbound       rcmgr.LimitVal
	StreamsInboundUsage  int
	StreamsOutbound      rcmgr.LimitVal
	StreamsOutboundUsage int
}

// scopeOf tells what s uses, and may.
func scopeOf(s network.ResourceScope) scope {
	u := s.Stat()
	out := scope{MemoryUsage: u.Memory, FDUsage: u.NumFD, ConnsUsage: u.NumConnsInbound + u.NumConnsOutbound,
		ConnsInboundUsage: u.NumConnsInbound, ConnsOutboundUsage: u.NumConnsOutbound, StreamsUsage: u.NumStreamsInbound + u.NumStreamsOutbound,
		StreamsInboundUsage: u.NumStreamsInbound, StreamsOutboundUsage: u.NumStreamsOutbound}
	limited, ok := s.(rcmgr.ResourceScopeLimiter)
	if !ok {
		return out
	}
	l := limited.Limit()
	out.Memory, out.FD = bound64(l.GetMemoryLimit()), bound(l.GetFDLimit())
	out.Conns, out.ConnsInbound, out.ConnsOutbound = bound(l.GetConnTotalLimit()), bound(l.GetConnLimit(network.DirInbound)), bound(l.GetConnLimit(network.DirOutbound))
	out.Streams, out.StreamsInbound, out.StreamsOutbound = bound(l.GetStreamTotalLimit()), bound(l.GetStreamLimit(network.DirInbound)), bound(l.GetStreamLimit(network.DirOutbound))
	return out
}

// bound and bound64 give a limit as it is written: 0 is nothing at all.
func bound(n int) rcmgr.LimitVal {
	switch n {
	case 0:
		return rcmgr.BlockAllLimit
	case math.MaxInt:
		return rcmgr.Unlimited
	}
	return rcmgr.LimitVal(n)
}

func bound64(n int64) rcmgr.LimitVal64 {
	switch n {
	case 0:
		return rcmgr.BlockAllLimit64
	case math.MaxInt64:
		return rcmgr.Unlimited64
	}
	return rcmgr.LimitVal64(n)
}

type scopes struct {
	System, Transient scope
	Services          map[string]scope `json:",omitempty"`
	Protocols         map[string]scope `json:",omitempty"`
	Peers             map[string]scope `json:",omitempty"`
}

func (c *call) resources() error {
	h, err := c.host()
	if err != nil {
		return err
	}
	manager, ok := h.Network().ResourceManager().(rcmgr.ResourceManagerState)
	if !ok {
		return errNoResources
	}
	out := scopes{Services: map[string]scope{}, Protocols: map[string]scope{}, Peers: map[string]scope{}}
	used, m := manager.Stat(), h.Network().ResourceManager()
	err = errors.Join(m.ViewSystem(func(s network.ResourceScope) error { out.System = scopeOf(s); return nil }),
		m.ViewTransient(func(s network.ResourceScope) error { out.Transient = scopeOf(s); return nil }))
	for name := range used.Services {
		err = errors.Join(err, m.ViewService(name, func(s network.ServiceScope) error { out.Services[name] = scopeOf(s); return nil }))
	}
	for name := range used.Protocols {
		err = errors.Join(err, m.ViewProtocol(name, func(s network.ProtocolScope) error { out.Protocols[string(name)] = scopeOf(s); return nil }))
	}
	for id := range used.Peers {
		err = errors.Join(err, m.ViewPeer(id, func(s network.PeerScope) error { out.Peers[id.String()] = scopeOf(s); return nil }))
	}
	if err != nil {
		return err
	}
	return c.once(out)
}
