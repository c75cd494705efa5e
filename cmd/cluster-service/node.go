package main

import (
	"context"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/gateway"
	"github.com/pinfold-cluster/pinfold/config"
	"github.com/pinfold-cluster/pinfold/ipfsconn/embedded"
	"github.com/pinfold-cluster/pinfold/ipfsconn/kubo"
)

// openNode opens the IPFS node: an external Kubo daemon where one is named, else the
// embedded one.
func (p *Daemon) openNode(d directory) error {
	if p.external() {
		node, err := kubo.New(p.c.IPFSConnector.Kubo, p.component("kubo"))
		if err != nil {
			return err
		}
		p.node = node
		p.closes(node.Close)
		p.log.Info("this peer serves no gateway: its node is a Kubo daemon, which has its own")
		return nil
	}
	options := nodeOptions(p.c.Embedded, p.c.PinTracker)
	options.Wary = true
	node, err := embedded.New(p.data, d.ipfs(), options, p.links, p.component("ipfs"))
	if err != nil {
		return err
	}
	p.node = node
	p.closes(node.Close)
	return p.openGateway(node)
}

// nodeOptions are the embedded node's, fit to what the tracker has it do at once.
func nodeOptions(e config.Embedded, t config.PinTracker) embedded.Options {
	o := e.Node
	t.Stateless.Rate = e.Data.MaxBandwidth
	o.FetchRate = t.Stateless.FetchRate()
	return o
}

// counted is the node, whose pins and adds count.
func (p *Daemon) counted() counted { return counted{p.node, &p.traded} }

// openGateway opens the door to the embedded node's content, where there is to be one.
func (p *Daemon) openGateway(node *embedded.Node) (err error) {
	o := p.c.Embedded.Gateway
	if o.ListenMultiaddress == gateway.Off {
		return nil
	}
	if p.gateway, err = gateway.New(o, p.c.Embedded.Node.RetrievalTimeout, node, p.component("gateway")); err != nil {
		return err
	}
	p.closes(p.gateway.Close)
	return nil
}

// gatewayURL is where the gateway is, "" without one.
func (p *Daemon) gatewayURL() string {
	if p.gateway == nil {
		return ""
	}
	return p.gateway.URL()
}

// runGateway serves the gateway, where there is one, until ctx ends.
func (p *Daemon) runGateway(ctx context.Context) error {
	if p.gateway == nil {
		<-ctx.Done()
		return nil
	}
	return p.gateway.Run(ctx)
}

// runNode returns once ctx ends, or the embedded node cannot be written any more.
func (p *Daemon) runNode(ctx context.Context) error {
	switch n := p.node.(type) {
	case *embedded.Node:
		return n.Run(ctx)
	case *kubo.Node:
		return p.connectSwarm(ctx, n)
	}
	<-ctx.Done()
	return nil
}

// external tells whether the IPFS node is a Kubo daemon, which its owner shares with us.
func (p *Daemon) external() bool { return p.c.IPFSConnector.Kubo.NodeMultiaddress != "" }

// ipfsID identifies the node without waiting for it.
func (p *Daemon) ipfsID() api.IPFSID {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	id, err := p.node.ID(ctx)
	if err != nil {
		id.Error = err.Error()
	}
	return id
}
