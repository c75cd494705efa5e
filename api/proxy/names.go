package proxy

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ipfs/boxo/ipns"
	"github.com/ipfs/boxo/path"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pinfold-cluster/pinfold/api"
)

var nameCommands = []*command{
	{path: "name"},
	{path: "name/publish", run: (*call).namePublish, args: []argument{{name: "ipfs-path", body: true}}, options: []option{
		opt(text, "key", "k").or(self), opt(boolean, "resolve").or(true), opt(text, "lifetime", "t").or("48h0m0s"), opt(text, "ttl").or("5m0s"),
		opt(boolean, "quieter", "Q"), opt(boolean, "v1compat").or(true), opt(boolean, "allow-offline"), opt(boolean, "allow-delegated"),
		opt(long, "sequence"), ipnsBase,
	}},
	{path: "name/resolve", run: (*call).nameResolve, args: []argument{{name: "name", optional: true, body: true}}, options: []option{
		opt(boolean, "recursive", "r").or(true), opt(boolean, "nocache", "n"), opt(unsigned, "dht-record-count", "dhtrc"),
		opt(text, "dht-timeout", "dhtt"), opt(boolean, "stream", "s"),
	}},
}

// maxNames bounds names that lead to names.
const maxNames = 32

// maxLifetime bounds a record's validity.
const maxLifetime = 10 * 365 * 24 * time.Hour

// namePublish signs a record and keeps it on this node: it is not spread.
func (c *call) namePublish() error {
	lifetime, err := time.ParseDuration(c.text("lifetime"))
	if err != nil || lifetime <= 0 || lifetime > maxLifetime {
		return api.Invalid.Errorf("error parsing lifetime option: %q is no duration up to %s", c.text("lifetime"), maxLifetime)
	}
	ttl, err := time.ParseDuration(c.text("ttl"))
	if err != nil || ttl < 0 {
		return api.Invalid.Errorf("option ttl is no duration such as 5m: %q", c.text("ttl"))
	}
	p, err := parsePath(c.args[0])
	if err != nil {
		return err
	}
	if c.boolean("resolve") {
		if _, err := c.node(c.args[0]); err != nil {
			return err
		}
	}
	k, err := c.keyFor(c.text("key"))
	if err != nil {
		return err
	}
	id, err := peer.IDFromPrivateKey(k)
	if err != nil {
		return err
	}
	if err := c.publish(k, id, p, lifetime, ttl); err != nil {
		return err
	}
	write, err := idWriter(c.text("ipns-base"))
	if err != nil {
		return err
	}
	return c.once(struct{ Name, Value string }{write(id), p.String()})
}

// publish keeps a record that follows the last one.
func (c *call) publish(k crypto.PrivKey, id peer.ID, p path.Path, lifetime, ttl time.Duration) error {
	next := uint64(0)
	last, err := c.record(ipns.NameFromPeer(id))
	if err == nil {
		seq, err := last.Sequence()
		if err != nil {
			return err
		}
		next = seq + 1
	} else if !errors.Is(err, errNoName) {
		return err
	}
	if n, ok := c.number("sequence"); ok {
		if n < 0 || uint64(n) < next {
			return api.Invalid.Errorf("sequence number must be greater than the current record sequence: %d", next)
		}
		next = uint64(n)
	}
	rec, err := ipns.NewRecord(k, p, next, time.Now().Add(lifetime), ttl, ipns.WithV1Compatibility(c.boolean("v1compat")))
	if err != nil {
		return err
	}
	raw, err := ipns.MarshalRecord(rec)
	if err != nil {
		return err
	}
	return c.Node.PutName(id, raw)
}

var errNoName = api.NotFound.Errorf("could not resolve name")

// record gives the valid record of a name, or errNoName.
func (c *call) record(n ipns.Name) (*ipns.Record, error) {
	raw, err := c.Node.GetName(n.Peer())
	if errors.Is(err, api.NotFound) {
		return nil, errNoName
	}
	if err != nil {
		return nil, err
	}
	rec, err := ipns.UnmarshalRecord(raw)
	if err != nil {
		return nil, err
	}
	if err := ipns.ValidateWithName(rec, n); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoName, err)
	}
	return rec, nil
}

func (c *call) nameResolve() error {
	name := ""
	if len(c.args) > 0 {
		name = c.args[0]
	} else {
		h, err := c.host()
		if err != nil {
			return err
		}
		name = ipns.NameFromPeer(h.ID()).String()
	}
	p, err := path.NewPath("/ipns/" + strings.TrimPrefix(name, "/ipns/"))
	if err != nil {
		return api.Invalid.Errorf("%w", err)
	}
	if p, err = c.resolveIPNS(p); err != nil {
		return err
	}
	if c.boolean("stream") {
		return c.emit(pathOutput{p.String()})
	}
	return c.once(pathOutput{p.String()})
}

// resolveIPNS follows names until a path without one, or once where the request says
// so. Names that this node has no record of are not found: DNS is not asked.
func (c *call) resolveIPNS(p path.Path) (path.Path, error) {
	for range maxNames {
		segments := p.Segments()
		n, err := ipns.NameFromString(segments[1])
		if err != nil {
			return nil, errNoName
		}
		rec, err := c.record(n)
		if err != nil {
			return nil, err
		}
		value, err := rec.Value()
		if err != nil {
			return nil, err
		}
		if p, err = path.Join(value, segments[2:]...); err != nil {
			return nil, err
		}
		if !p.Mutable() || c.opts["recursive"] == false {
			return p, nil
		}
	}
	return nil, api.Invalid.Errorf("could not resolve name (recursion limit exceeded)")
}
