package main

import (
	"context"
	"sync/atomic"

	blocks "github.com/ipfs/go-block-format"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/ipfsconn"
)

// traded counts what the peer asks of its node since it runs.
type traded struct {
	pins, pinErrors          atomic.Uint64
	puts, putErrors          atomic.Uint64 // of some blocks each
	blocksAdded, bytesOfAdds atomic.Uint64
}

// counted is the node to those who have it pin and store, whose requests count.
type counted struct {
	ipfsconn.Connector
	to *traded
}

// Pin implements ipfsconn.Connector.
func (c counted) Pin(ctx context.Context, p api.Pin, progress func(uint64)) error {
	c.to.pins.Add(1)
	err := c.Connector.Pin(ctx, p, progress)
	if err != nil {
		c.to.pinErrors.Add(1)
	}
	return err
}

// OpenAdd implements ipfsconn.Connector.
func (c counted) OpenAdd(ctx context.Context, size uint64) (ipfsconn.Add, error) {
	add, err := c.Connector.OpenAdd(ctx, size)
	if err != nil {
		return nil, err
	}
	return countedAdd{add, c.to}, nil
}

type countedAdd struct {
	ipfsconn.Add
	to *traded
}

func (a countedAdd) Put(ctx context.Context, bs []blocks.Block) error {
	a.to.puts.Add(1)
	if err := a.Add.Put(ctx, bs); err != nil {
		a.to.putErrors.Add(1)
		return err
	}
	a.to.blocksAdded.Add(uint64(len(bs)))
	for _, b := range bs {
		a.to.bytesOfAdds.Add(uint64(len(b.RawData())))
	}
	return nil
}
