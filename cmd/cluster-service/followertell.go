package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/config"
)

const (
	tellEvery = 2 * time.Second
	// lonelyAfter is how long a follower may be without neighbours before that is told.
	lonelyAfter = 10 * time.Second
	// quietAfter is how long no member may have been heard before that is told: there is
	// a word every few seconds.
	quietAfter = 2 * time.Minute
)

// tell writes to out what the follower's owner wants to see, until ctx ends: a line
// whenever there is something new.
func (f *Follower) tell(ctx context.Context, out io.Writer) error {
	if _, err := io.WriteString(out, f.greeting()); err != nil {
		return err
	}
	began, last := time.Now(), ""
	for {
		line := progress(f.status(ctx), f.d.name, time.Since(began))
		if line != last && line != "" && ctx.Err() == nil {
			last = line
			if _, err := fmt.Fprintln(out, line); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(tellEvery):
		}
	}
}

func (f *Follower) greeting() string {
	var b strings.Builder
	fmt.Fprintf(&b, "following %q as %s, peer %s\n", f.link.Name, f.c.Cluster.PeerName, f.ids.cluster.ID)
	switch f.hold {
	case config.HoldAll:
		b.WriteString("  holds   everything")
	case config.HoldAllocated:
		b.WriteString("  holds   what names this follower")
	case config.HoldShare:
		b.WriteString("  holds   a share of everything")
	}
	if c := f.c.Follow.Capacity; c > 0 {
		fmt.Fprintf(&b, ", %s at most", humanize.IBytes(c))
	}
	if r := f.c.Embedded.Data.MaxBandwidth; r > 0 {
		fmt.Fprintf(&b, ", at %s/s each way", humanize.IBytes(r))
	}
	b.WriteByte('\n')
	if url := f.gatewayURL(); url != "" {
		fmt.Fprintf(&b, "  content %s/ipfs/CID\n", url)
	}
	fmt.Fprintf(&b, "  more    cluster-service follow %s info, or list; limits in %s\n", f.d.name, f.d.path(config.FollowerFile))
	return b.String()
}

// progress is how far the follower is, in a line; up is for how long it has run.
func progress(s api.FollowerStatus, name string, up time.Duration) string {
	switch {
	case s.Stopped != "":
		return fmt.Sprintf("STOPPED at index %d: %s\n  what is here stays; %s", s.Index, s.Stopped, goOn(s.StoppedFor, name))
	case s.Neighbours == 0 && s.Latest > s.Index:
		return fmt.Sprintf("no peer of the cluster has a place for this follower now, or can be reached: it is at index %d of %d; still trying", s.Index, s.Latest)
	case s.Neighbours == 0 && up > lonelyAfter:
		return "no peer of the cluster can be reached; still trying (is this machine on line? is the link an old one?)"
	case s.Neighbours == 0:
		return "looking for the cluster"
	case s.Astray && s.Index > 0:
		return fmt.Sprintf("the peers that can be reached have lost touch with the cluster themselves: what is here, up to index %d, may be old (%d neighbours; others are tried)", s.Index, s.Neighbours)
	case unheard(s.Heard, up) > quietAfter:
		return fmt.Sprintf("no member of the cluster has been heard for %s: what is here may be old (%d neighbours; others are tried)", unheard(s.Heard, up).Round(time.Minute), s.Neighbours)
	case s.Index == 0:
		return fetching(s)
	case s.Choosing:
		return fmt.Sprintf("choosing what to hold of the cluster's %s pins", humanize.Comma(int64(s.Known)))
	}
	held := fmt.Sprintf("%s here", humanize.IBytes(s.Bytes))
	if s.Pinned < s.Wanted {
		line := fmt.Sprintf("fetching content: %s of %s pins, %s", humanize.Comma(int64(s.Pinned)), humanize.Comma(int64(s.Wanted)), held)
		if s.Rate > 0 && s.Failed == 0 { // what fails may for long, and the rate makes each line another
			line += fmt.Sprintf(", %s/s", humanize.IBytes(s.Rate))
		}
		return line + failures(s)
	}
	if s.Index < s.Latest {
		return fmt.Sprintf("catching up: at index %d of %d", s.Index, s.Latest)
	}
	return fmt.Sprintf("up to date: holds %s of the cluster's %s pins, %s%s%s", humanize.Comma(int64(s.Wanted)), humanize.Comma(int64(s.Known)), held, failures(s), tooLarge(s.TooLarge))
}

// goOn tells what makes a follower go on that stopped.
func goOn(why api.StopKind, name string) string {
	if why == api.StopContradiction {
		return fmt.Sprintf("ask the cluster's people, and when they have found who lied, stop the follower and say: cluster-service follow %s resume", name)
	}
	return fmt.Sprintf("ask the cluster's people for a new link, stop the follower and say: cluster-service follow %s LINK", name)
}

// unheard is for how long no member has been heard, by a follower that has run for up.
func unheard(heard time.Time, up time.Duration) time.Duration {
	if heard.IsZero() {
		return up
	}
	return time.Since(heard)
}

// fetching tells how far the pinset is that is fetched.
func fetching(s api.FollowerStatus) string {
	if s.Total == 0 { // between two copies, or before the first
		return fmt.Sprintf("fetching the pinset: %s pins so far", humanize.Comma(int64(s.Known)))
	}
	line := fmt.Sprintf("fetching the pinset: synced %s of %s pins", humanize.Comma(int64(min(s.Known, s.Total))), humanize.Comma(int64(s.Total)))
	if s.KnownRate > 0 {
		line += fmt.Sprintf(", %s/s", humanize.Comma(int64(s.KnownRate)))
	}
	return line
}

// failures tells how many pins cannot be had now, why, and what to do.
func failures(s api.FollowerStatus) string {
	if s.Failed == 0 {
		return ""
	}
	text := fmt.Sprintf("; %s cannot be had now", humanize.Comma(int64(s.Failed)))
	if s.Trouble != "" {
		text += fmt.Sprintf(" (%s)", s.Trouble)
	}
	if s.Trouble == api.CauseDiskFull {
		return text + ": " + noRoom(s)
	}
	return text + ", tried again by itself"
}

// tooLarge tells why pins are left out of a share.
func tooLarge(l *api.LargePins) string {
	if l == nil {
		return ""
	}
	return fmt.Sprintf("; %s too large for the share (%s at least, room for %s)", humanize.Comma(int64(l.Pins)), humanize.IBytes(l.Least), humanize.IBytes(l.Room))
}

// noRoom tells what makes room where there is none.
func noRoom(s api.FollowerStatus) string {
	switch {
	case s.Capacity == 0:
		return "the disk is full; free space there, or lower embedded.disk_reserve"
	case s.Bytes+s.Free < s.Capacity-s.Capacity/gcRoom: // the disk has not as much
		return "the disk is full before follow.capacity is used; free space there, or lower follow.capacity"
	}
	return "there is no room left; raise follow.capacity"
}
