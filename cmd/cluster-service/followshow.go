package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/client"
	"github.com/pinfold-cluster/pinfold/config"
	"github.com/pinfold-cluster/pinfold/feed"
	"github.com/pinfold-cluster/pinfold/p2p"
	"github.com/pinfold-cluster/pinfold/state"
)

// known fails for a name that is not followed.
func (d followed) known() error {
	there, err := d.initialised()
	if err != nil {
		return fmt.Errorf("looking at the directory: %w", err)
	}
	if !there {
		return d.errUnknown()
	}
	return nil
}

// info tells how the follower is.
func (d followed) info(ctx context.Context, out io.Writer) error {
	if err := d.known(); err != nil {
		return err
	}
	link, err := d.loadLink()
	if err != nil {
		return fmt.Errorf("reading the link: %w", err)
	}
	c, _, err := config.LoadFollower(string(d.directory), os.Environ())
	if err != nil {
		return fmt.Errorf("reading the settings: %w", err)
	}
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-12s%s\n", name, fmt.Sprintf(format, args...))
	}
	line("Cluster", "%q", link.Name)
	line("Directory", "%s", d.directory)
	if c.Follow.Source != "" {
		line("Link from", "%s (%s)", c.Follow.Source, d.served(ctx, c.Follow.Source, link))
	}
	cl, err := d.client()
	if err != nil {
		return err
	}
	defer cl.Close()
	if cl.Health(ctx) != nil {
		line("Running", "no; 'cluster-service follow %s run' goes on following", d.name)
		_, err := io.WriteString(out, b.String())
		return err
	}
	if err := d.infoOnline(ctx, cl, line); err != nil {
		return fmt.Errorf("asking the follower: %w", err)
	}
	_, err = io.WriteString(out, b.String())
	return err
}

// infoOnline tells what the follower that runs says of itself.
func (d followed) infoOnline(ctx context.Context, cl *client.Client, line func(name, format string, args ...any)) error {
	self, err := cl.ID(ctx)
	if err != nil {
		return err
	}
	line("Running", "yes, as %s, peer %s", self.PeerName, self.ID)
	if self.Gateway != "" {
		line("Content", "%s/ipfs/CID", self.Gateway)
	}
	for f, err := range cl.Followers(ctx, true) {
		if err != nil {
			return err
		}
		s := f.FollowerStatus
		holds := s.Hold
		if s.Capacity > 0 {
			holds += fmt.Sprintf(", %s at most", humanize.IBytes(s.Capacity))
		}
		line("Holds", "%s", holds)
		known := humanize.Comma(int64(s.Known))
		if s.Total > 0 {
			known += " of " + humanize.Comma(int64(s.Total))
		}
		line("Pinset", "%s pins, at index %d; neighbours: %d; a member was heard %s", known, s.Index, s.Neighbours, ago(s.Heard))
		line("Here", "%s of %s pins, %s; room for %s more", humanize.Comma(int64(s.Pinned)), humanize.Comma(int64(s.Wanted)), humanize.IBytes(s.Bytes), humanize.IBytes(s.Free))
		line("State", "%s", progress(s, d.name, lonelyAfter+1))
	}
	return nil
}

func ago(t time.Time) string {
	if t.IsZero() {
		return "never yet"
	}
	return humanize.Time(t)
}

// served tells what is to be had where the link comes from.
func (d followed) served(ctx context.Context, source string, kept p2p.Link) string {
	link, err := readLink(ctx, source)
	if err != nil {
		return "cannot be read now: " + err.Error()
	}
	switch err := compareLinks(kept, link); {
	case errors.Is(err, errAnother):
		return fmt.Sprintf("it leads to another cluster now, %q: %s cannot start by it; ask the people of %q for a new link and say 'cluster-service follow %s LINK'", link.Name, d.name, kept.Name, d.name)
	case err != nil:
		return fmt.Sprintf("readable, but %v", err)
	case link.Incarnation != kept.Incarnation:
		return "readable: the cluster was started anew, which counts from the next start"
	}
	return "readable"
}

// list prints the pins: of a follower that runs with what became of each, else from its
// disk.
func (d followed) list(ctx context.Context, out io.Writer) error {
	if err := d.known(); err != nil {
		return err
	}
	cl, err := d.client()
	if err != nil {
		return err
	}
	defer cl.Close()
	if cl.Health(ctx) != nil {
		return d.listOffline(ctx, out)
	}
	for info, err := range cl.Statuses(ctx, client.StatusList{}) {
		if err != nil {
			return fmt.Errorf("asking the follower: %w; 'cluster-service follow %s' tells how it is", err, d.name)
		}
		for _, p := range info.PeerMap {
			if err := listed(out, p.Status.String(), info.Cid, info.Name, p.Error); err != nil {
				return err
			}
		}
	}
	return nil
}

// listed prints a pin as ipfs-cluster-follow does.
func listed(out io.Writer, status string, c api.Cid, name, trouble string) error {
	line := fmt.Sprintf("%-20s %s %s", status, c, printable(name))
	if trouble != "" {
		line += " (" + printable(trouble) + ")"
	}
	_, err := fmt.Fprintln(out, strings.TrimRight(line, " "))
	return err
}

// printable keeps what could move a terminal's cursor out of a line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '�'
		}
		return r
	}, s)
}

// listOffline prints the pinset as it is on disk.
func (d followed) listOffline(ctx context.Context, out io.Writer) error {
	never := fmt.Errorf("listing: the pinset of %s was never fetched; 'cluster-service follow %s run' does so", d.name, d.name)
	if _, err := os.Stat(d.state()); errors.Is(err, fs.ErrNotExist) {
		return never
	}
	st, release, err := d.openState(ctx)
	if err != nil {
		return err
	}
	defer release()
	switch {
	case st.Applied() == 0 && st.Stats().Pins == 0: // it ran, and found nobody
		return never
	case st.Applied() == 0:
		fmt.Fprintln(out, "the pinset is not whole yet; these pins are known so far:")
	}
	for p, err := range st.List(ctx, state.Query{By: state.ByCid}) {
		if err != nil {
			return fmt.Errorf("reading the pinset: %w", err)
		}
		if err := listed(out, "offline", p.Cid, p.Name, ""); err != nil {
			return err
		}
	}
	return nil
}

// openState opens the pinset of a follower that does not run.
func (d followed) openState(ctx context.Context) (*state.State, func(), error) {
	c, _, err := config.LoadFollower(string(d.directory), os.Environ())
	if err != nil {
		return nil, nil, fmt.Errorf("reading the settings: %w", err)
	}
	release, err := d.lockSoon(ctx)
	if err != nil {
		return nil, nil, err
	}
	st, err := state.Open(d.state(), c.State, slog.New(slog.DiscardHandler))
	if err != nil {
		release()
		return nil, nil, fmt.Errorf("opening the pinset: %w", err)
	}
	return st, func() { _ = st.Close(); release() }, nil // it was only read
}

// leave removes the follower and what it holds.
func (d followed) leave(cmd *cobra.Command, g *globals) error {
	if err := d.known(); err != nil {
		return err
	}
	release, err := d.lock()
	if err != nil {
		return fmt.Errorf("leaving: %s runs; stop it first: %w", d.name, err)
	}
	defer release()
	if err := g.confirm(cmd, fmt.Sprintf("%s and all content in it will be removed. Go on?", d.directory)); err != nil {
		return err
	}
	// The settings first: what is left of a removal that breaks off is no follower.
	if err := os.Remove(d.path(config.FollowerFile)); err != nil {
		return fmt.Errorf("leaving: %w", err)
	}
	if err := os.RemoveAll(string(d.directory)); err != nil {
		return fmt.Errorf("leaving: %w", err)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s is not followed any more; its content is gone from here\n", d.name)
	return nil
}

// resume lets a follower go on that has stopped because members contradicted each other.
func (d followed) resume(ctx context.Context, out io.Writer) error {
	if err := d.known(); err != nil {
		return err
	}
	link, err := d.loadLink()
	if err != nil {
		return fmt.Errorf("reading the link: %w", err)
	}
	st, release, err := d.openState(ctx)
	if err != nil {
		return fmt.Errorf("resuming: stop the follower first: %w", err)
	}
	defer release()
	f, err := feed.NewFollower(nil, p2p.NewVerifier(link.Key, link.Incarnation), st, d.feed(), nil, feed.FollowerOptions{SureKey: link.Cluster().Number()}, slog.New(slog.DiscardHandler))
	if err != nil {
		return fmt.Errorf("resuming: %w", err)
	}
	if err := f.Resume(); err != nil {
		return fmt.Errorf("resuming: %w", err)
	}
	fmt.Fprintf(out, "%s takes the pinset anew when it runs; the evidence is kept in %s\n", d.name, d.feed())
	return nil
}
