package proxy

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"github.com/multiformats/go-multiaddr"

	"github.com/pinfold-cluster/pinfold/api"
)

// connectTimeout bounds reaching a peer.
const connectTimeout = 30 * time.Second

var swarmCommands = []*command{
	{path: "swarm"},
	{path: "swarm/peers", run: (*call).swarmPeers, options: []option{
		opt(boolean, "verbose", "v"), opt(boolean, "streams"), opt(boolean, "latency"), opt(boolean, "direction"), opt(boolean, "identify"),
	}},
	{path: "swarm/addrs", run: (*call).swarmAddrs},
	{path: "swarm/addrs/local", run: (*call).swarmLocal, options: []option{opt(boolean, "id")}},
	{path: "swarm/addrs/listen", run: (*call).swarmListen},
	{path: "swarm/connect", run: (*call).swarmConnect, args: []argument{{name: "address", many: true, body: true}}},
	{path: "swarm/disconnect", run: (*call).swarmDisconnect, args: []argument{{name: "address", many: true, body: true}}},
	{path: "ping", run: (*call).ping, args: []argument{{name: "peer ID", many: true, body: true}}, options: []option{
		opt(integer, "count", "n").or(int64(10)),
	}},
	{path: "bootstrap", run: (*call).bootstrap},
	{path: "bootstrap/list", run: (*call).bootstrap},
}

type connLine struct {
	Addr, Peer string
	Latency    string            `json:",omitempty"`
	Muxer      string            `json:",omitempty"`
	Direction  network.Direction `json:",omitempty"`
	Streams    []streamLine      `json:",omitempty"`
	Identify   idOutput          `json:",omitempty"`
}

type streamLine struct{ Protocol string }

// host is the node's, or an error off line.
func (c *call) host() (host.Host, error) {
	if h := c.Node.Host(); h != nil {
		return h, nil
	}
	return nil, errOffline
}

func (c *call) swarmPeers() error {
	h, err := c.host()
	if err != nil {
		return err
	}
	var out struct{ Peers []connLine }
	verbose := c.boolean("verbose")
	for _, conn := range h.Network().Conns() {
		id := conn.RemotePeer()
		l := connLine{Addr: conn.RemoteMultiaddr().String(), Peer: id.String()}
		if verbose || c.boolean("direction") {
			l.Direction = conn.Stat().Direction
		}
		if verbose || c.boolean("latency") {
			l.Latency = "n/a"
			if d := h.Peerstore().LatencyEWMA(id); d > 0 {
				l.Latency = d.String()
			}
		}
		if verbose || c.boolean("streams") {
			for _, s := range conn.GetStreams() {
				l.Streams = append(l.Streams, streamLine{string(s.Protocol())})
			}
			slices.SortFunc(l.Streams, func(a, b streamLine) int { return cmp.Compare(a.Protocol, b.Protocol) })
		}
		if verbose || c.boolean("identify") {
			if l.Identify, err = identify(h.Peerstore(), id, h.Peerstore().Addrs(id)); err != nil {
				return err
			}
		}
		out.Peers = append(out.Peers, l)
	}
	slices.SortFunc(out.Peers, func(a, b connLine) int { return cmp.Compare(a.Addr, b.Addr) })
	return c.once(out)
}

func (c *call) swarmAddrs() error {
	h, err := c.host()
	if err != nil {
		return err
	}
	out := struct{ Addrs map[string][]string }{map[string][]string{}}
	for _, id := range h.Peerstore().PeersWithAddrs() {
		if id != h.ID() {
			out.Addrs[id.String()] = addrTexts(h.Peerstore().Addrs(id))
		}
	}
	return c.once(out)
}

type stringList struct{ Strings []string }

func addrTexts(addrs []multiaddr.Multiaddr) []string {
	var all []string
	for _, a := range addrs {
		all = append(all, a.String())
	}
	slices.Sort(all)
	return all
}

func (c *call) swarmLocal() error {
	h, err := c.host()
	if err != nil {
		return err
	}
	all := addrTexts(h.Addrs())
	if c.boolean("id") {
		for i := range all {
			all[i] += "/p2p/" + h.ID().String()
		}
	}
	return c.once(stringList{all})
}

func (c *call) swarmListen() error {
	h, err := c.host()
	if err != nil {
		return err
	}
	addrs, err := h.Network().InterfaceListenAddresses()
	if err != nil {
		return err
	}
	return c.once(stringList{addrTexts(addrs)})
}

// eachPeer calls f with the peers of the arguments and answers with a line for each.
func (c *call) eachPeer(verb string, f func(context.Context, peer.AddrInfo) error) error {
	var infos []peer.AddrInfo
	for _, arg := range c.args {
		m, err := multiaddr.NewMultiaddr(arg)
		if err != nil {
			return api.Invalid.Errorf("invalid peer address: %w", err)
		}
		info, err := peer.AddrInfoFromP2pAddr(m)
		if err != nil {
			return api.Invalid.Errorf("invalid peer address: %w", err)
		}
		infos = append(infos, *info)
	}
	var out stringList
	for _, info := range infos {
		ctx, cancel := context.WithTimeout(c.ctx, connectTimeout)
		err := f(ctx, info)
		cancel()
		if err != nil {
			return fmt.Errorf("%s %s failure: %w", verb, info.ID, err)
		}
		out.Strings = append(out.Strings, fmt.Sprintf("%s %s success", verb, info.ID))
	}
	return c.once(out)
}

func (c *call) swarmConnect() error {
	h, err := c.host()
	if err != nil {
		return err
	}
	return c.eachPeer("connect", h.Connect)
}

func (c *call) swarmDisconnect() error {
	h, err := c.host()
	if err != nil {
		return err
	}
	return c.eachPeer("disconnect", func(_ context.Context, info peer.AddrInfo) error {
		if h.Network().Connectedness(info.ID) != network.Connected {
			return api.NotFound.Errorf("not connected")
		}
		return h.Network().ClosePeer(info.ID)
	})
}

func (c *call) bootstrap() error {
	return c.once(struct{ Peers []string }{[]string{}}) // the cluster's peers are known otherwise
}

type pingLine struct {
	Success bool
	Time    time.Duration
	Text    string
}

// maxPings bounds one request.
const maxPings = 1000

func (c *call) ping() error {
	h, err := c.host()
	if err != nil {
		return err
	}
	if len(c.args) > 1 {
		return api.Invalid.Errorf("only one peer can be pinged at a time")
	}
	id, addrs, err := pingTarget(c.args[0])
	if err != nil {
		return api.Invalid.Errorf("failed to parse peer address '%s': %w", c.args[0], err)
	}
	n, _ := c.number("count")
	switch {
	case id == h.ID():
		return api.Invalid.Errorf("error: can't ping self")
	case n <= 0 || n > maxPings:
		return api.Invalid.Errorf("ping count must be greater than 0, and at most %d", maxPings)
	}
	if err := c.emit(pingLine{Success: true, Text: fmt.Sprintf("PING %s.", id)}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.ctx, connectTimeout)
	defer cancel()
	if err := h.Connect(ctx, peer.AddrInfo{ID: id, Addrs: addrs}); err != nil {
		return err
	}
	return c.pings(h, id, int(n))
}

func pingTarget(arg string) (peer.ID, []multiaddr.Multiaddr, error) {
	if m, err := multiaddr.NewMultiaddr(arg); err == nil {
		info, err := peer.AddrInfoFromP2pAddr(m)
		if err != nil {
			return "", nil, err
		}
		return info.ID, info.Addrs, nil
	}
	id, err := peer.Decode(arg)
	return id, nil, err
}

// pings sends n pings, one a second, and tells of each and of their mean.
func (c *call) pings(h host.Host, id peer.ID, n int) error {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	results := ping.Ping(ctx, h, id)
	var sum time.Duration
	got := 0
	next := time.NewTicker(time.Second)
	defer next.Stop()
	for i := range n {
		if i > 0 {
			select {
			case <-next.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		r, ok := <-results
		if !ok {
			break
		}
		line := pingLine{Success: r.Error == nil, Time: r.RTT}
		if r.Error != nil {
			line.Text = fmt.Sprintf("Ping error: %s", r.Error)
		} else {
			got++
			sum += r.RTT
		}
		if err := c.emit(line); err != nil {
			return err
		}
	}
	if got == 0 {
		return api.Unavailable.Errorf("ping failed")
	}
	mean := float64(sum) / float64(got) / float64(time.Millisecond)
	return c.emit(pingLine{Success: true, Text: fmt.Sprintf("Average latency: %.2fms", mean)})
}
