package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	"github.com/spf13/cobra"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/rpc"
	"github.com/pinfold-cluster/pinfold/config"
	"github.com/pinfold-cluster/pinfold/p2p"
)

const (
	joinTimeout   = 30 * time.Second
	maxTokenInput = 64 << 10 // bytes; more than a token has
)

func newJoin(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "join TOKEN",
		Short: "Join a cluster and run the peer; from then on 'daemon' starts it",
		Long: "Join a cluster and run the peer; from then on 'daemon' starts it. TOKEN is what 'cluster-ctl peers invite' printed.\n" +
			"Others on this machine can see the arguments of a program: with '-' the token is read from standard input.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			log, err := g.logger()
			if err != nil {
				return err
			}
			libraryLogs(log)
			token := args[0]
			if token == "-" {
				text, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), maxTokenInput))
				if err != nil {
					return fmt.Errorf("joining: reading the token: %w", err)
				}
				token = string(text)
			}
			if err := joinCluster(cmd.Context(), directory(g.dir), token, os.Environ(), cmd.OutOrStdout(), log); err != nil {
				return fmt.Errorf("joining: %w", err)
			}
			return runDaemon(cmd.Context(), g, nil)
		},
	}
}

// joinCluster makes d the directory of a new member of the token's cluster.
func joinCluster(ctx context.Context, d directory, text string, environ []string, out io.Writer, log *slog.Logger) error {
	token, err := p2p.ParseToken(text)
	if err != nil {
		return err
	}
	if !time.Now().Before(token.Expires) {
		return fmt.Errorf("token: it ended %s; make a new one with 'cluster-ctl peers invite'", token.Expires.UTC().Format(time.RFC3339))
	}
	members, err := token.Peers()
	if err != nil {
		return err
	}
	c, err := newSettings(d, environ, log)
	if err != nil {
		return err
	}
	c.Cluster.ClusterName, c.Cluster.Host.Secret = token.Name, token.Secret
	known := &p2p.Cluster{Name: token.Name, Key: token.Key, Incarnation: token.Incarnation}
	return joinAs(ctx, d, c, known, members, token.Credential, environ, out, log)
}

// joinBySecret makes d the directory of a new member of the cluster of the peer at
// addr, where the operator lets those in who know the swarm secret.
func joinBySecret(ctx context.Context, d directory, addr string, environ []string, out io.Writer, log *slog.Logger) error {
	a, err := multiaddr.NewMultiaddr(addr)
	if err != nil {
		return fmt.Errorf("reading --bootstrap: %w", err)
	}
	info, err := peer.AddrInfoFromP2pAddr(a)
	if err != nil {
		return fmt.Errorf("reading --bootstrap: %q must end in /p2p/ and a peer's ID: %w", addr, err)
	}
	c, err := newSettings(d, environ, log)
	if err != nil {
		return err
	}
	if len(c.Cluster.Host.Secret) == 0 {
		return errors.New("set CLUSTER_SECRET to the cluster's swarm secret, or join with a token")
	}
	known := &p2p.Cluster{Name: c.Cluster.ClusterName}
	return joinAs(ctx, d, c, known, []peer.AddrInfo{*info}, nil, environ, out, log)
}

// joinAs asks members to let this peer in and writes down what they answer. Until the
// last step, the configuration, the directory is not initialised: what fails can be
// tried again, by the same peer with the same token.
func joinAs(ctx context.Context, d directory, c config.Config, known *p2p.Cluster, members []peer.AddrInfo, credential []byte, environ []string, out io.Writer, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	ids, err := d.begin(environ, out)
	if err != nil {
		return err
	}
	host, err := p2p.NewHost(ids.cluster, known, p2p.Roster{}, c.Cluster.Host, log)
	if err != nil {
		return err
	}
	defer host.Close()
	calls := rpc.NewClient(host)
	defer calls.Close()
	req := api.JoinRequest{Credential: credential, DataID: ids.data.ID, Name: c.Cluster.PeerName}
	for _, a := range host.Addrs() {
		info, err := peer.AddrInfoFromP2pAddr(a)
		if err != nil {
			return err
		}
		req.Addresses = append(req.Addresses, info.Addrs...)
	}
	answer, err := bootstrapJoin(ctx, host, calls, members, req)
	if err != nil {
		return err
	}
	if err := known.Accept(answer.ClusterKey, answer.Incarnation, answer.Certificate, ids.cluster.ID, ids.data.ID); err != nil {
		return err
	}
	if err := known.Save(d.cluster()); err != nil {
		return err
	}
	if err := saveKnown(d, answer.Members, ids.cluster.ID); err != nil {
		return err
	}
	return d.saveConfig(c, out)
}

// saveKnown writes the members' addresses to the peerstore file.
func saveKnown(d directory, members []api.Member, self api.PeerID) error {
	var known []peer.AddrInfo
	for _, m := range members {
		if m.ID != self {
			known = append(known, peer.AddrInfo{ID: m.ID, Addrs: m.Addresses})
		}
	}
	f, err := os.OpenFile(d.path("peerstore"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(p2p.WriteAddresses(f, known), f.Sync(), f.Close())
}
