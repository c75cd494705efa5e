package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pinfold-cluster/pinfold/adder"
	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/proxy"
	"github.com/pinfold-cluster/pinfold/api/rest"
	"github.com/pinfold-cluster/pinfold/api/web"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded"
	"github.com/pinfold-cluster/pinfold/ipfsconn/kubo"
)

// openProxy opens the door that speaks Kubo's RPC API, where there is to be one.
func (p *Daemon) openProxy() error {
	o := p.c.API.Proxy
	if o.Off() {
		return nil
	}
	parts := proxy.Parts{Version: version, Self: p.ids.cluster.ID, Pins: p.pinner, Pinset: pinset{p.state}, Tracker: p.global, Adder: p.adder,
		Hasher: adder.New(p.ids.cluster.ID, nowhere{p.ids.cluster.ID}, nowhere{}, adder.Options{}, p.log), Resolver: p.node, GC: collector{p},
		Room: room{p}, Traffic: p.data.Traffic, PinOptions: rest.PinOptions, Kubo: cmp.Or(o.NodeMultiaddress, p.c.IPFSConnector.Kubo.NodeMultiaddress),
		GatewayAddress: p.c.Embedded.Gateway.ListenMultiaddress, Holders: p.links, Logs: logsOf(p.log)}
	var tree proxy.Tree
	switch node := p.node.(type) {
	case *embedded.Node:
		parts.Node, tree = node, node
	case *kubo.Node:
		p.files = node.Files()
		parts.Files, tree = p.files, p.files
	}
	p.keeper = proxy.NewKeeper(p.ids.cluster.ID, tree, pinset{p.state}, p.pinner, p.component("files"))
	h, err := proxy.New(parts, o, p.component("proxy"))
	if err != nil {
		return err
	}
	if p.proxy, err = web.NewPlain(o.Door(), h, p.component("proxy")); err != nil {
		return err
	}
	p.closes(p.proxy.Close)
	return nil
}

// serveProxy answers the proxy's clients, as serveREST does those of the REST API.
func (p *Daemon) serveProxy(ctx context.Context) error {
	if p.proxy == nil {
		<-ctx.Done()
		return nil
	}
	p.awaitCurrent(ctx)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.proxy.Run(ctx) })
	g.Go(func() error { return p.keeper.Run(ctx) })
	if p.files != nil {
		g.Go(func() error { return p.files.Run(ctx) })
	}
	return g.Wait()
}

// roomTimeout bounds asking a peer for its room.
const roomTimeout = 10 * time.Second

// room asks all peers for the room on their nodes.
type room struct{ p *Daemon }

// RepoStats gives what the peers that answer tell, and an error for the others.
func (r room) RepoStats(ctx context.Context) ([]api.RepoStat, error) {
	members, err := r.p.state.Members()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, roomTimeout)
	defer cancel()
	type answer struct {
		stat api.RepoStat
		err  error
	}
	var all []api.RepoStat
	var errs []error
	for i, a := range parallel(members, func(m api.Member) (a answer) {
		if m.ID == r.p.ids.cluster.ID {
			a.stat, a.err = r.p.node.RepoStat(ctx)
		} else {
			a.stat, a.err = r.p.calls.RepoStat(ctx, m.ID)
		}
		return a
	}) {
		if a.err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", members[i].Name, a.err))
			continue
		}
		all = append(all, a.stat)
	}
	return all, errors.Join(errs...)
}
