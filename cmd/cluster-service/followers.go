package main

import "github.com/pinfold-cluster/pinfold/api"

// followers knows the followers that this peer serves.
type followers struct{ p *Daemon }

// List gives the followers connected with this peer.
func (f followers) List() []api.Follower { return nil }
