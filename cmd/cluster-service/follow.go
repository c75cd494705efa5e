package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/pinfold-cluster/pinfold/config"
)

// followFlags are what a volunteer says at the first start.
type followFlags struct {
	hold, capacity, bandwidth, name string
	pins                            int
	init                            string
}

func newFollow(g *globals) *cobra.Command {
	var f followFlags
	cmd := &cobra.Command{
		Use:   "follow [NAME [LINK | URL | COMMAND]]",
		Short: "Hold a copy of somebody's cluster, or a part of it",
		Long: `Hold a copy of somebody's cluster, or a part of it, without being a member: a follower reads the pinset, keeps
content and passes it on; it cannot change anything. NAME is what you call the cluster here; several can be followed.

  follow                        lists the clusters followed on this machine
  follow NAME LINK              follows a cluster from now on: LINK is what its 'cluster-ctl follow-link' printed, the
                                URL of that document, or - to read either from standard input
  follow NAME run               goes on following it
  follow NAME [info]            tells how far it is, what it holds, and what is wrong
  follow NAME list              lists the pins and what became of each
  follow NAME leave             gives it up and removes what it holds
  follow NAME init LINK         prepares it only, so that follower.json can be edited first
  follow NAME resume            goes on after members have contradicted each other

A follower's directory is ~/.pinfold-follow/NAME; -c or IPFS_CLUSTER_PATH names another place for all of them.
Sizes are such as 50GiB or 200GB.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 3 {
				return fmt.Errorf("reading the command: %q is too much; see 'cluster-service help follow'", args[3])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			base, err := followBase(cmd, g)
			if err != nil {
				return err
			}
			return follow(cmd, g, base, args, f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.hold, "hold", "", "which pins: `all`, allocated (those that name this follower) or share (as many as --capacity has room for)")
	flags.StringVar(&f.capacity, "capacity", "", "hold at most this `SIZE`; without --hold it is a share")
	flags.StringVar(&f.bandwidth, "max-bandwidth", "", "take and give at most this `SIZE` a second of content")
	flags.IntVar(&f.pins, "concurrent-pins", 0, "fetch so many pins at once; 10")
	flags.StringVar(&f.name, "peername", "", "what the cluster's people see of you; the machine's name")
	flags.StringVar(&f.init, "init", "", "with run: the `LINK` to begin with, where it is not followed yet")
	return cmd
}

// followBase is the directory of the followers' directories.
func followBase(cmd *cobra.Command, g *globals) (string, error) {
	if cmd.Flags().Changed("config") || os.Getenv("IPFS_CLUSTER_PATH") != "" {
		return g.dir, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("finding the directory: %w; name one with -c", err)
	}
	return filepath.Join(home, ".pinfold-follow"), nil
}

// follow runs a command line that begins with follow.
func follow(cmd *cobra.Command, g *globals, base string, args []string, f followFlags) error {
	out := cmd.OutOrStdout()
	if len(args) == 0 {
		return listFollowed(base, out)
	}
	d, err := followedIn(base, args[0])
	if err != nil {
		return err
	}
	command := "info"
	if len(args) > 1 {
		command = plain(args[1])
	}
	switch command {
	case "info", "list", "leave", "run", "resume":
		if len(args) > 2 {
			return fmt.Errorf("reading the command: %s takes nothing more than the name, not %q", command, args[2])
		}
	}
	switch command {
	case "info":
		return d.info(cmd.Context(), out)
	case "list":
		return d.list(cmd.Context(), out)
	case "leave":
		return d.leave(cmd, g)
	case "resume":
		return d.resume(cmd.Context(), out)
	case "init":
		if len(args) < 3 {
			return errors.New("reading the command: init takes the link or URL to follow")
		}
		return f.begin(cmd, g, d, plain(args[2]))
	case "run":
		if there, err := f.known(d); err != nil {
			return err
		} else if !there && f.init != "" {
			if err := f.begin(cmd, g, d, plain(f.init)); err != nil {
				return err
			}
		}
	default:
		if !looksLikeLink(command) {
			return unknownFollow(command)
		}
		if len(args) > 2 {
			return fmt.Errorf("reading the command: %q after the link is too much", args[2])
		}
		if err := f.beginOrRenew(cmd, g, d, command); err != nil {
			return err
		}
	}
	return runFollower(cmd.Context(), g, d, out)
}

// unknownFollow is the error of a command that is none.
func unknownFollow(command string) error {
	return fmt.Errorf("%w: it is no command, no link and no URL, which begins with http:// or https://; see 'cluster-service help follow'",
		unknownCommand("follow NAME "+command))
}

func looksLikeLink(s string) bool {
	return s == "-" || strings.HasPrefix(s, "pinfold") || strings.HasPrefix(s, "{") || isURL(s)
}

// plain is a text without white space around it and a byte order mark before it.
func plain(text string) string {
	return strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(text), "\ufeff"))
}

func isURL(s string) bool {
	return strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://")
}

// begin makes d the directory of a follower of source, a link or URL.
func (f followFlags) begin(cmd *cobra.Command, g *globals, d followed, source string) error {
	log, err := g.logger()
	if err != nil {
		return err
	}
	if source, err = given(cmd, source); err != nil {
		return err
	}
	c, warnings, err := config.FollowerFromEnv(os.Environ())
	for _, w := range warnings {
		log.Warn(w)
	}
	if err != nil {
		return fmt.Errorf("reading the settings: %w", err)
	}
	if err := f.apply(&c); err != nil {
		return err
	}
	return d.init(cmd.Context(), source, c, cmd.OutOrStdout())
}

// given is the source that a command line says, where it is - what standard input does.
func given(cmd *cobra.Command, source string) (string, error) {
	if source != "-" {
		return source, nil
	}
	text, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), maxTokenInput))
	if err != nil {
		return "", fmt.Errorf("reading the link: %w", err)
	}
	return plain(string(text)), nil
}

// beginOrRenew is begin where d is not followed yet; else source is where to find the
// cluster from now on.
func (f followFlags) beginOrRenew(cmd *cobra.Command, g *globals, d followed, source string) error {
	there, err := f.known(d)
	if err != nil {
		return err
	}
	if !there {
		return f.begin(cmd, g, d, source)
	}
	if source, err = given(cmd, source); err != nil {
		return err
	}
	return d.sameCluster(cmd.Context(), source, cmd.OutOrStdout())
}

// known tells whether d is followed already. It fails where it is, and the flags say other
// than its settings: they would change nothing.
func (f followFlags) known(d followed) (bool, error) {
	there, err := d.initialised()
	if err != nil {
		return false, fmt.Errorf("looking at the directory: %w", err)
	}
	if !there || f == (followFlags{init: f.init}) {
		return there, nil
	}
	c, _, err := config.LoadFollower(string(d.directory), os.Environ())
	if err != nil {
		return true, fmt.Errorf("reading the settings: %w", err)
	}
	said := c
	if err := f.apply(&said); err != nil {
		return true, err
	}
	if !reflect.DeepEqual(said, c) {
		return true, fmt.Errorf("following %s: it is followed already, so flags change nothing; edit %s", d.name, d.path(config.FollowerFile))
	}
	return true, nil
}

// apply puts the flags over the settings.
func (f followFlags) apply(c *config.Follower) error {
	for _, s := range []struct {
		flag, text string
		to         *uint64
		least      uint64
	}{
		{"--capacity", f.capacity, &c.Follow.Capacity, 1 << 20},
		{"--max-bandwidth", f.bandwidth, &c.Embedded.Data.MaxBandwidth, 64 << 10},
	} {
		if s.text == "" {
			continue
		}
		n, err := config.ParseSize(s.text)
		if err != nil || n < s.least {
			return fmt.Errorf("reading %s: %q is not a size of %s or more, such as 50GiB", s.flag, s.text, humanize.IBytes(s.least))
		}
		*s.to = n
	}
	switch f.hold {
	case "", config.HoldAll, config.HoldAllocated, config.HoldShare:
	default:
		return fmt.Errorf("reading --hold: %q is not all, allocated or share", f.hold)
	}
	if f.hold != "" {
		c.Follow.Hold = f.hold
	}
	if c.Follow.Hold == config.HoldShare && c.Follow.Capacity == 0 {
		return errors.New("reading --hold: a share takes --capacity: how much may it be?")
	}
	if f.pins < 0 || f.pins > 100_000 {
		return fmt.Errorf("reading --concurrent-pins: %d is not between 1 and 100000", f.pins)
	}
	if f.pins > 0 {
		c.PinTracker.Stateless.Workers = f.pins
	}
	if f.name != "" {
		c.Cluster.PeerName = f.name
	}
	return nil
}

// listFollowed lists the clusters followed below base.
func listFollowed(base string, out io.Writer) error {
	entries, err := os.ReadDir(base)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("looking for followers: %w", err)
	}
	var all []followed
	for _, e := range entries {
		d, err := followedIn(base, e.Name())
		if err != nil {
			continue // not a name of ours
		}
		if there, err := d.initialised(); err == nil && there {
			all = append(all, d)
		}
	}
	if len(all) == 0 {
		fmt.Fprintf(out, "No cluster is followed here (%s). To follow one: cluster-service follow NAME LINK\n", base)
		return nil
	}
	fmt.Fprintf(out, "Configurations found for %d follower peers in %s:\n", len(all), base)
	for _, d := range all {
		state := "not running"
		if d.running(context.Background()) {
			state = "running"
		}
		fmt.Fprintf(out, "  %s (%s)\n", d.name, state)
	}
	fmt.Fprintln(out, "More on one: cluster-service follow NAME info; to run it: cluster-service follow NAME run")
	return nil
}
