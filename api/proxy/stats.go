package proxy

import (
	"time"

	"github.com/libp2p/go-libp2p/core/metrics"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/pinfold-cluster/pinfold/api"
)

var statsCommands = []*command{
	{path: "stats/bw", run: (*call).statsBandwidth, endless: true, options: []option{
		opt(text, "peer", "p"), opt(text, "proto", "t"), opt(boolean, "poll"), opt(text, "interval", "i").or("1s"),
	}},
	{path: "stats/bitswap", run: (*call).statsBitswap, options: bitswapOptions},
	{path: "bitswap"},
	{path: "bitswap/stat", run: (*call).statsBitswap, options: bitswapOptions},
	{path: "bitswap/ledger", run: (*call).ledger, args: []argument{{name: "peer"}}},
	{path: "bitswap/wantlist", run: (*call).wantlist, options: []option{opt(text, "peer", "p")}},
}

var bitswapOptions = []option{opt(boolean, "verbose", "v"), opt(boolean, "human")}

// minInterval bounds how often a polling request is told the traffic.
const minInterval = 100 * time.Millisecond

func (c *call) statsBandwidth() error {
	read, err := c.traffic()
	if err != nil {
		return err
	}
	every, err := time.ParseDuration(c.text("interval"))
	if err != nil {
		return api.Invalid.Errorf("%w", err)
	}
	if !c.boolean("poll") {
		return c.emit(read())
	}
	tick := time.NewTicker(max(every, minInterval))
	defer tick.Stop()
	for {
		if err := c.emit(read()); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-c.ctx.Done():
			return nil
		}
	}
}

// traffic gives what counts the traffic that the request asks for.
func (c *call) traffic() (func() metrics.Stats, error) {
	id, proto := c.text("peer"), c.text("proto")
	switch {
	case c.Traffic == nil:
		return nil, errOffline
	case id != "" && proto != "":
		return nil, api.Invalid.Errorf("please only specify peer OR protocol")
	case id != "":
		p, err := peer.Decode(id)
		if err != nil {
			return nil, api.Invalid.Errorf("%w", err)
		}
		return func() metrics.Stats { return c.Traffic.GetBandwidthForPeer(p) }, nil
	case proto != "":
		return func() metrics.Stats { return c.Traffic.GetBandwidthForProtocol(protocol.ID(proto)) }, nil
	}
	return c.Traffic.GetBandwidthTotals, nil
}

type bitswapStat struct {
	Wantlist                         []*link
	Peers                            []string
	BlocksReceived, DataReceived     uint64
	DupBlksReceived, DupDataReceived uint64
	MessagesReceived                 uint64
	BlocksSent, DataSent             uint64
}

func (c *call) statsBitswap() error {
	x, err := c.Node.Exchanged()
	if err != nil {
		return err
	}
	out := bitswapStat{Wantlist: links(x.Wantlist), Peers: []string{}, BlocksReceived: x.BlocksReceived, DataReceived: x.DataReceived,
		MessagesReceived: x.Messages, BlocksSent: x.BlocksSent, DataSent: x.DataSent}
	for _, p := range x.Peers {
		out.Peers = append(out.Peers, p.String())
	}
	return c.once(out)
}

func (c *call) wantlist() error {
	x, err := c.Node.Exchanged()
	if err != nil {
		return err
	}
	return c.once(struct{ Keys []*link }{links(x.Wantlist)})
}

// ledger tells what was traded with one peer.
func (c *call) ledger() error {
	id, err := peer.Decode(c.args[0])
	if err != nil {
		return api.Invalid.Errorf("%w", err)
	}
	r, err := c.Node.Ledger(id)
	if err != nil {
		return err
	}
	return c.once(r)
}

func links(cids []api.Cid) []*link {
	all := []*link{}
	for _, x := range cids {
		all = append(all, linkTo(x.Cid))
	}
	return all
}
