package main

import (
	"fmt"
	"net/http"

	"github.com/multiformats/go-multiaddr"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/web"
	"github.com/pinfold-cluster/pinfold/p2p"
)

// listenLibp2p has a door answer HTTP over libp2p: on a host of its own where its
// options name one, else, if it may, on the cluster host.
func (p *Daemon) listenLibp2p(door *web.Server, o web.Options, cluster bool) error {
	if len(o.Libp2pListenMultiaddress) == 0 {
		if !cluster {
			return nil
		}
		l, err := p.host.ListenClients(p2p.HTTPProtocol)
		if err != nil {
			return err
		}
		door.Also(l)
		return nil
	}
	id, err := p2p.ParseIdentity(o.ID, o.PrivateKey)
	if err != nil {
		return fmt.Errorf("id and private_key of HTTP over libp2p: %w", err)
	}
	var listen []api.Multiaddr
	for _, a := range o.Libp2pListenMultiaddress {
		m, err := multiaddr.NewMultiaddr(a)
		if err != nil {
			return err
		}
		listen = append(listen, m)
	}
	l, err := p2p.ListenDoor(id, listen)
	if err != nil {
		return err
	}
	door.Also(l)
	return nil
}

// readOnlyForStrangers lets who comes over libp2p and knows nothing but the swarm's
// secret, as followers do, only read. It is enough for more where it is to join; where the
// door asks for credentials, they decide.
func (p *Daemon) readOnlyForStrangers(next http.Handler) http.Handler {
	if p.c.API.REST.BasicAuthCredentials != nil || len(p.c.API.REST.Libp2pListenMultiaddress) > 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, err := api.ParsePeerID(r.RemoteAddr)
		if err == nil && r.Method != http.MethodGet && p.members.secretIsEnough() != nil && p.host.Check(r.Context(), from) != nil {
			web.WriteError(w, api.Denied.Errorf("over libp2p, the swarm's secret alone is enough to read and not to change: "+
				"set api.restapi.basic_auth_credentials and come with a password or token"))
			return
		}
		next.ServeHTTP(w, r)
	})
}
