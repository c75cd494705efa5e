package main

import (
	"context"

	"github.com/pinfold-cluster/pinfold/api"
)

// alone is where a peer asks the others that has none: they are never asked.
type alone struct{}

var errAlone = api.Unsupported.Errorf("there are no other peers")

func (alone) Status(context.Context, api.PeerID, api.Cid) (api.PinInfo, error) {
	return api.PinInfo{}, errAlone
}

func (alone) Statuses(context.Context, api.PeerID, api.StatusQuery) (api.StatusPage, error) {
	return api.StatusPage{}, errAlone
}

func (alone) Recover(context.Context, api.PeerID, api.Cid) (api.PinInfo, error) {
	return api.PinInfo{}, errAlone
}

func (alone) RecoverAll(context.Context, api.PeerID, api.StatusQuery) (api.StatusPage, error) {
	return api.StatusPage{}, errAlone
}

func (alone) News(context.Context, api.PeerID, api.NewsQuery) (api.NewsPage, error) {
	return api.NewsPage{}, errAlone
}
