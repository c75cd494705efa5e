package proxy

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/routing"

	"github.com/pinfold-cluster/pinfold/api"
)

// routingCommands find what the cluster knows: the pinset says who holds what, the
// members' records where they are. Nobody else is asked or told.
var routingCommands = []*command{
	{path: "routing"},
	{path: "routing/findprovs", run: (*call).findProviders, args: []argument{{name: "key", many: true}}, options: []option{
		verboseOption, opt(integer, "num-providers", "n").or(int64(20)),
	}},
	{path: "routing/findpeer", run: (*call).findPeer, args: []argument{{name: "peerID", many: true}}, options: []option{verboseOption}},
	{path: "routing/provide", run: (*call).provide, args: []argument{{name: "key", many: true, body: true}}, options: []option{
		verboseOption, opt(boolean, "recursive", "r"),
	}},
	{path: "provide/once", run: (*call).provideOnce, args: []argument{{name: "cid", many: true, body: true}}, options: []option{opt(boolean, "recursive", "r")}},
	{path: "provide/stat", run: (*call).provideStat},
	{path: "stats/provide", run: (*call).provideStat},
	{path: "stats/reprovide", run: (*call).provideStat},
	{path: "dht/query", run: (*call).dhtQuery, args: []argument{{name: "peerID", many: true}}, options: []option{verboseOption}},
	{path: "routing/get", run: (*call).routingGet, args: []argument{{name: "key"}}},
	{path: "routing/put", run: (*call).routingPut, args: []argument{{name: "key"}, {name: "value-file", file: true}}, options: []option{opt(boolean, "allow-offline")}},
}

var verboseOption = opt(boolean, "verbose", "v")

// findProviders tells who holds a CID: this node, and those whom the pinset names. What
// is only below a pin is told of this node alone.
func (c *call) findProviders() error {
	most, _ := c.number("num-providers")
	if most < 1 {
		return api.Invalid.Errorf("number of providers must be greater than 0")
	}
	x, err := cid.Decode(c.args[0])
	if err != nil {
		return api.Invalid.Errorf("%w", err)
	}
	h, err := c.host()
	if err != nil {
		return err
	}
	if err := c.begin(); err != nil {
		return err
	}
	found := []peer.AddrInfo{}
	here, err := c.Node.Reader(false).Blockstore().Has(c.ctx, x)
	if err != nil {
		return err
	}
	if here {
		found = append(found, *host.InfoFromHost(h))
	}
	_, err = c.Pinset.Get(c.ctx, api.Cid{Cid: x})
	switch {
	case err == nil:
		found = append(found, c.Holders.Holders(c.ctx, api.Cid{Cid: x})...)
	case !errors.Is(err, api.NotFound):
		return err
	}
	for _, p := range found[:min(int64(len(found)), most)] {
		if err := c.emit(&routing.QueryEvent{Type: routing.Provider, Responses: []*peer.AddrInfo{&p}}); err != nil {
			return err
		}
	}
	return nil
}

// findPeer tells where a member's node, or another peer that this one knows, can be
// reached.
func (c *call) findPeer() error {
	id, err := peer.Decode(c.args[0])
	if err != nil {
		return api.Invalid.Errorf("%w", err)
	}
	h, err := c.host()
	if err != nil {
		return err
	}
	if id == h.ID() {
		return errors.New("finding your own node in the DHT is currently not supported")
	}
	addrs := h.Peerstore().Addrs(id)
	if len(addrs) == 0 {
		return api.NotFound.Errorf("routing: not found")
	}
	return c.emit(&routing.QueryEvent{Type: routing.FinalPeer, Responses: []*peer.AddrInfo{{ID: id, Addrs: addrs}}})
}

// held reads the arguments as CIDs of blocks that are here: only those can be provided.
func (c *call) held() ([]cid.Cid, error) {
	cids := make([]cid.Cid, len(c.args))
	for i, arg := range c.args {
		x, err := cid.Decode(arg)
		if err != nil {
			return nil, api.Invalid.Errorf("%w", err)
		}
		here, err := c.Node.Reader(false).Blockstore().Has(c.ctx, x)
		if err != nil {
			return nil, err
		}
		if !here {
			return nil, api.NotFound.Errorf("block %s not found locally, cannot provide", x)
		}
		cids[i] = x
	}
	return cids, nil
}

// provide has nothing to do: any member that looks for a block asks the others.
func (c *call) provide() error {
	if _, err := c.held(); err != nil {
		return err
	}
	return c.begin()
}

func (c *call) provideOnce() error {
	cids, err := c.held()
	if err != nil {
		return err
	}
	for _, x := range cids {
		if err := c.emit(struct{ Queued string }{x.String()}); err != nil {
			return err
		}
	}
	return nil
}

func (c *call) routingGet() error {
	kind, name, ok := strings.Cut(strings.TrimPrefix(c.args[0], "/"), "/")
	if !ok || name == "" || c.args[0][0] != '/' {
		return api.Invalid.Errorf("invalid key")
	}
	if kind != "ipns" {
		return api.NotFound.Errorf("routing: not found")
	}
	n, err := parseName(name)
	if err != nil {
		return err
	}
	raw, err := c.rawRecord(n)
	if err != nil {
		return err
	}
	return c.emit(&routing.QueryEvent{Type: routing.Value, Extra: base64.StdEncoding.EncodeToString(raw)})
}

func (c *call) routingPut() error {
	n, err := parseName(c.args[0])
	if err != nil {
		return err
	}
	data, err := c.upload(maxText)
	if err != nil {
		return err
	}
	if _, err := c.putRecord(n, data); err != nil {
		return fmt.Errorf("routing: %w", err)
	}
	return c.emit(&routing.QueryEvent{Type: routing.Value, ID: n.Peer()})
}

// provideStat tells, in the form of Kubo's provider, that there is none at work: who holds
// what is known from the pinset.
func (c *call) provideStat() error {
	type sweep struct {
		Closed bool `json:"closed"`
	}
	return c.emit(struct {
		Sweep  *sweep
		Legacy *struct{}
		FullRT bool
	}{Sweep: &sweep{Closed: true}})
}

// dhtQuery finds nobody: the table of a DHT that there is not is empty.
func (c *call) dhtQuery() error {
	if _, err := peer.Decode(c.args[0]); err != nil {
		return api.Invalid.Errorf("%w", err)
	}
	return c.emit(&routing.QueryEvent{Type: routing.QueryError, Extra: "failed to find any peer in table"})
}
