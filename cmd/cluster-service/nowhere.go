package main

import (
	"context"

	blocks "github.com/ipfs/go-block-format"

	"github.com/pinfold-cluster/pinfold/adder"
	"github.com/pinfold-cluster/pinfold/api"
)

// nowhere is the placer, the sender and the destination of adds that only tell which
// CIDs there would be.
type nowhere struct{ self api.PeerID }

func (n nowhere) Place(context.Context, api.PinOptions, uint64) (api.Placement, error) {
	return api.Placement{Peers: []api.PeerID{n.self}, Min: 1}, nil
}

func (nowhere) Pin(context.Context, api.Pin) (api.Pin, uint64, error) {
	return api.Pin{}, 0, api.Unsupported.Errorf("what is only hashed is not pinned")
}

func (n nowhere) Send(context.Context, api.PeerID, uint64) (adder.Destination, error) { return n, nil }
func (nowhere) Put(context.Context, []blocks.Block) error                             { return nil }
func (nowhere) Commit(context.Context, api.Cid) error                                 { return nil }
func (nowhere) Abort() error                                                          { return nil }
