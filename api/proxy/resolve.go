package proxy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ipfs/boxo/blockservice"
	bsfetcher "github.com/ipfs/boxo/fetcher/impl/blockservice"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/path"
	"github.com/ipfs/boxo/path/resolver"
	"github.com/ipfs/go-cid"
	format "github.com/ipfs/go-ipld-format"
	"github.com/ipfs/go-unixfsnode"
	dagpb "github.com/ipld/go-codec-dagpb"
	prime "github.com/ipld/go-ipld-prime"
	"github.com/ipld/go-ipld-prime/node/basicnode"
	"github.com/ipld/go-ipld-prime/schema"

	"github.com/pinfold-cluster/pinfold/api"
)

// resolveTimeout bounds finding what a path leads to.
const resolveTimeout = time.Minute

var resolveCommands = []*command{
	{path: "resolve", run: (*call).resolveName, args: []argument{{name: "name", body: true}}, options: []option{
		opt(boolean, "recursive", "r").or(true), opt(integer, "dht-record-count", "dhtrc"), opt(text, "dht-timeout", "dhtt"),
	}},
}

// place is where a path leads: a block, and a path inside it.
type place struct {
	namespace string
	block     cid.Cid
	inside    []string
}

// resolve gives the CID of the block that an argument leads to or into.
func (c *call) resolve(arg string) (cid.Cid, error) {
	p, err := parsePath(arg)
	if err != nil {
		return cid.Undef, err
	}
	if im, ok := plain(p); ok {
		return im, nil
	}
	if c.Node == nil {
		ctx, cancel := context.WithTimeout(c.ctx, resolveTimeout)
		defer cancel()
		x, err := c.Resolver.Resolve(ctx, p.String())
		return x.Cid, err
	}
	at, err := c.lookUp(p)
	return at.block, err
}

// plain gives the CID of a path that is nothing more: it costs nothing to resolve.
func plain(p path.Path) (cid.Cid, bool) {
	if p.Mutable() || len(p.Segments()) != 2 {
		return cid.Undef, false
	}
	c, err := cid.Decode(p.Segments()[1])
	return c, err == nil
}

// lookUp follows a path through the node's blocks.
func (c *call) lookUp(p path.Path) (place, error) {
	if p.Mutable() {
		var err error
		if p, err = c.resolveIPNS(p); err != nil {
			return place{}, err
		}
	}
	if x, ok := plain(p); ok {
		return place{namespace: p.Namespace(), block: x}, nil
	}
	im, err := path.NewImmutablePath(p)
	if err != nil {
		return place{}, api.Invalid.Errorf("%w", err)
	}
	ctx, cancel := context.WithTimeout(c.ctx, resolveTimeout)
	defer cancel()
	x, rest, err := c.resolver(p.Namespace()).ResolveToLastNode(ctx, im)
	if err != nil {
		return place{}, err
	}
	return place{namespace: p.Namespace(), block: x, inside: rest}, nil
}

// at is lookUp of an argument.
func (c *call) at(arg string) (place, error) {
	p, err := parsePath(arg)
	if err != nil {
		return place{}, err
	}
	return c.lookUp(p)
}

func (c *call) resolver(namespace string) resolver.Resolver {
	cfg := bsfetcher.NewFetcherConfig(c.blocks())
	cfg.PrototypeChooser = dagpb.AddSupportToChooser(func(_ prime.Link, lc prime.LinkContext) (prime.NodePrototype, error) {
		if n, ok := lc.LinkNode.(schema.TypedLinkNode); ok {
			return n.LinkTargetNodePrototype(), nil
		}
		return basicnode.Prototype.Any, nil
	})
	if namespace == path.IPLDNamespace {
		return resolver.NewBasicResolver(cfg)
	}
	return resolver.NewBasicResolver(cfg.WithReifier(unixfsnode.Reify))
}

// blocks are those that the request may read: off line the node's own.
func (c *call) blocks() blockservice.BlockService {
	if c.boolean("offline") {
		return c.Node.Reader(false)
	}
	return c.Node.Patient()
}

// dag reads nodes, in one session.
func (c *call) dag() format.NodeGetter { return merkledag.NewReadOnlyDagService(c.session()) }

func (c *call) session() format.NodeGetter {
	return merkledag.NewSession(c.ctx, merkledag.NewDAGService(c.blocks()))
}

// node gets the node at the end of a path.
func (c *call) node(arg string) (format.Node, error) {
	at, err := c.at(arg)
	if err != nil {
		return nil, err
	}
	return c.dag().Get(c.ctx, at.block)
}

func (c *call) resolveName() error {
	name := c.args[0]
	p, err := parsePath(name)
	if err != nil {
		return err
	}
	if p.Mutable() && !c.boolean("recursive") {
		if p, err = c.resolveIPNS(p); err != nil {
			return err
		}
		return c.once(pathOutput{p.String()})
	}
	at, err := c.lookUp(p)
	if err != nil {
		return err
	}
	cids := c.cids
	if !p.Mutable() {
		cids = cids.like(name)
	}
	out := "/" + at.namespace + "/" + cids.encode(at.block)
	if len(at.inside) > 0 {
		out += path.SegmentsToString(at.inside...)
	}
	return c.once(pathOutput{out})
}

type pathOutput struct{ Path string }

var errOffline = errors.New("this action must be run in online mode, try running 'ipfs daemon' first")

// notLink tells that a path leads into a block, which is no place for what is asked.
func notLink(at place) error {
	return fmt.Errorf("found non-link at given path: %s", path.SegmentsToString(at.inside...))
}
