package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinfold-cluster/pinfold/api"
)

func newID(c *ctl) *cobra.Command {
	return &cobra.Command{Use: "id", Short: "Show the peer that answers", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			id, err := cl.ID(cmd.Context())
			if err != nil {
				return err
			}
			return c.show(func(p *printer) error { return p.peer(id, nil) })
		}}
}

func newVersion(c *ctl) *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Show the version of the peer that answers", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			v, err := cl.Version(cmd.Context())
			if err != nil {
				return err
			}
			if c.enc() == encJSON {
				return newPrinter(c.out, encJSON).json(v)
			}
			_, err = fmt.Fprintln(c.out, v.Version)
			return err
		}}
}

func newPeers(c *ctl) *cobra.Command {
	return parent("peers", "List, invite and remove peers", newPeersLs(c), newPeersRm(c), newPeersInvite(c))
}

func newPeersLs(c *ctl) *cobra.Command {
	return &cobra.Command{Use: "ls", Short: "List the peers of the cluster", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			// They come as they answer; a list that changes its order is hard to read.
			var all []api.Peer
			for id, err := range cl.Peers(cmd.Context()) {
				if err != nil {
					return err
				}
				all = append(all, id)
			}
			slices.SortFunc(all, func(a, b api.Peer) int {
				return cmp.Or(cmp.Compare(a.PeerName, b.PeerName), cmp.Compare(a.ID, b.ID))
			})
			return c.show(func(p *printer) error {
				for _, id := range all {
					if err := p.peer(id, nil); err != nil {
						return err
					}
				}
				return nil
			})
		}}
}

func newPeersRm(c *ctl) *cobra.Command {
	var revoke bool
	cmd := &cobra.Command{Use: "rm PEER-ID", Short: "Remove a peer; what it holds is placed anew",
		Long: "Remove a peer; what it holds is placed anew.\n" +
			"With --revoke the cluster gets a new key besides: for a peer that was taken over, whose disk somebody may have\n" +
			"read, or whom you do not trust any more. It may have been removed before. Invitations that were not used and all\n" +
			"tokens are void then: make them again. Followers hear of the new key from those they meet, and go on. All peers must\n" +
			"run a version that has --revoke: older ones stop.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := api.ParsePeerID(args[0])
			if err != nil {
				return err
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			if !revoke {
				return cl.RemovePeer(cmd.Context(), id)
			}
			return cl.RevokePeer(cmd.Context(), id)
		}}
	cmd.Flags().BoolVar(&revoke, "revoke", false, "renew the cluster's key, which the peer knows")
	return cmd
}

func newPeersInvite(c *ctl) *cobra.Command {
	var ttl time.Duration
	cmd := &cobra.Command{Use: "invite", Short: "Print a token with which one peer can join",
		Long: "Print a token with which one peer can join, and nothing else. It holds the cluster's secret:\n" +
			"hand it over as you would a password.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if ttl < 0 {
				return errors.New("reading --ttl: it must not be negative")
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			token, err := cl.Invite(cmd.Context(), ttl)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.out, token)
			return err
		}}
	cmd.Flags().DurationVar(&ttl, "ttl", 0, "how long the token can be used, such as 1h; 0 is a day")
	return cmd
}
