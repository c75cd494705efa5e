package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pinfold-cluster/pinfold/api"
)

func newFollowLink(c *ctl) *cobra.Command {
	var serve string
	var document bool
	cmd := &cobra.Command{Use: "follow-link", Short: "Print a link with which anybody can follow the cluster",
		Long: "Print a link with which anybody can follow the cluster: 'cluster-service follow NAME LINK'. Followers read the\n" +
			"pinset and hold content; they change nothing. The link holds the swarm's secret, so it lets who has it connect,\n" +
			"and from the first link on that secret alone makes nobody a member. With --serve the link is served as a JSON\n" +
			"document at ADDRESS until interrupted, made anew every 10 seconds at most: followers are given its URL and stay\n" +
			"up to date.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			link, err := cl.FollowLink(cmd.Context())
			switch {
			case err != nil:
				return err
			case serve != "":
				return c.serveLink(cmd, serve)
			case document:
				text, err := json.MarshalIndent(link.Document, "", "  ")
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(c.out, "%s\n", text)
				return err
			case c.enc() == encJSON:
				return newPrinter(c.out, encJSON).json(link)
			}
			_, err = fmt.Fprintln(c.out, link.Link)
			return err
		}}
	cmd.Flags().StringVar(&serve, "serve", "", "serve the document at `ADDRESS`, host:port, until interrupted; without a host it is this machine's loopback")
	cmd.Flags().BoolVar(&document, "document", false, "print the JSON document, to be put on a web server")
	return cmd
}

// serveLink serves the link's document until the command's context ends.
func (c *ctl) serveLink(cmd *cobra.Command, address string) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	if strings.HasPrefix(address, ":") {
		address = "127.0.0.1" + address
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("serving the link: %w", err)
	}
	if _, err := fmt.Fprintf(c.errw, "serving http://%s/follow.json until interrupted; whoever reads it can follow the cluster\n", l.Addr()); err != nil {
		return err
	}
	return serveDocument(cmd.Context(), l, cl.FollowLink, c.errw)
}

func newFollowers(c *ctl) *cobra.Command {
	return parent("followers", "List followers", newFollowersLs(c))
}

func newFollowersLs(c *ctl) *cobra.Command {
	var local bool
	cmd := &cobra.Command{Use: "ls [ID]", Short: "List the followers that peers know, or show one",
		Long: "List the followers that are connected with a peer of the cluster, or were, or show one: what they tell of themselves,\n" +
			"and what they proved when they were asked for blocks of what they say they hold. Most followers of a large cluster\n" +
			"are connected with others alone, and only now and then with a peer.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			list := cl.Followers(cmd.Context(), local)
			if len(args) == 1 {
				id, err := api.ParsePeerID(args[0])
				if err != nil {
					return err
				}
				f, err := cl.Follower(cmd.Context(), id, local)
				if err != nil {
					return err
				}
				list = func(yield func(api.Follower, error) bool) { yield(f, nil) }
				c.encoding = cmp.Or(c.encoding, string(encText)) // which tells more than a row
			}
			return c.show(func(p *printer) error {
				for f, err := range list {
					if err != nil {
						return err
					}
					if err := p.follower(f); err != nil {
						return err
					}
				}
				return nil
			})
		}}
	cmd.Flags().BoolVar(&local, "local", false, "ask only the peer that answers")
	return cmd
}
