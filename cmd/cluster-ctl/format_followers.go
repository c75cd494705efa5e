package main

import (
	"fmt"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/pinfold-cluster/pinfold/api"
)

func (p *printer) follower(f api.Follower) error {
	switch p.enc {
	case encJSON:
		return p.json(f)
	case encTable:
		return p.row("FOLLOWER\tNAME\tPINNED\tFOUND\tHEARD\tSTATE", f.ID.String(), cut(f.Name), fmt.Sprintf("%d/%d", f.Pinned, f.Wanted), found(f),
			silence(f), followerState(f))
	}
	_, err := fmt.Fprintf(p.w, "%s | %s | %s\n"+
		"  > version %s, index %d, digest %s\n"+
		"  > holds %s: %d of %d pins, %s\n"+
		"  > challenges: %d proven, %d failed, %d unanswered\n"+
		"  > found %s of what it claims; heard %s\n",
		f.ID, printable(f.Name), printable(followerState(f)),
		printable(f.Version), f.Index, agreement(f),
		printable(holding(f)), f.Pinned, f.Wanted, humanize.IBytes(f.Bytes),
		f.Proven, f.Lied, f.Unanswered,
		found(f), stamp(f.Asked, "never"))
	return err
}

// cut shortens a name, which a stranger chose, for a table.
func cut(name string) string {
	const most = 12
	if r := []rune(name); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return name
}

// silence is for how long a follower was not heard.
func silence(f api.Follower) string {
	if f.Asked.IsZero() {
		return "never"
	}
	return time.Since(f.Asked).Round(time.Second).String()
}

// found is how much of what it claims a follower was found to have.
func found(f api.Follower) string {
	if f.Found == nil {
		return "unknown"
	}
	return fmt.Sprintf("%d%%", *f.Found)
}

// agreement tells whether a follower has the cluster's pinset.
func agreement(f api.Follower) string {
	switch {
	case f.Agrees == nil:
		return "unknown"
	case *f.Agrees:
		return "equal"
	}
	return "DIFFERS"
}

// holding is what a follower means to hold.
func holding(f api.Follower) string {
	if f.Capacity == 0 {
		return f.Hold
	}
	return f.Hold + " up to " + humanize.IBytes(f.Capacity)
}

// followerState is how a follower is, in few words.
func followerState(f api.Follower) string {
	switch {
	case f.Error != "":
		return "ERROR: " + f.Error
	case f.Stopped != "":
		return "STOPPED: " + f.Stopped
	case f.Lied > 0:
		return "LIED: it has not what it says"
	case f.Agrees != nil && !*f.Agrees:
		return "DIFFERS"
	case f.Index == 0:
		return "syncing"
	case f.Index < f.Latest:
		return fmt.Sprintf("behind by %d", f.Latest-f.Index)
	case f.Failed > 0:
		return fmt.Sprintf("%d pins failed", f.Failed)
	case f.Pinned < f.Wanted:
		return "fetching"
	}
	return "ok"
}
