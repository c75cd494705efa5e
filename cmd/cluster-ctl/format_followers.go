package main

import (
	"fmt"

	"github.com/dustin/go-humanize"

	"github.com/pinfold-cluster/pinfold/api"
)

func (p *printer) follower(f api.Follower) error {
	switch p.enc {
	case encJSON:
		return p.json(f)
	case encTable:
		return p.row("FOLLOWER\tNAME\tSTATE\tINDEX\tHOLDS\tPINNED\tSIZE\tPROVEN\tLIED\tHEARD", f.ID.String(), f.Name, followerState(f), fmt.Sprint(f.Index), f.Hold,
			fmt.Sprintf("%d/%d", f.Pinned, f.Wanted), humanize.IBytes(f.Bytes), fmt.Sprint(f.Proven), fmt.Sprint(f.Lied), stamp(f.Asked, "never"))
	}
	_, err := fmt.Fprintf(p.w, "%s | %s | %s | index %d | holds %s: %d of %d pins, %s | challenges: %d proven, %d failed, %d unanswered | heard %s\n",
		f.ID, printable(f.Name), printable(followerState(f)), f.Index, printable(f.Hold), f.Pinned, f.Wanted, humanize.IBytes(f.Bytes),
		f.Proven, f.Lied, f.Unanswered, stamp(f.Asked, "never"))
	return err
}

// followerState is how a follower is, in few words.
func followerState(f api.Follower) string {
	switch {
	case f.Error != "":
		return "ERROR: " + f.Error
	case f.Stopped != "":
		return "STOPPED: " + f.Stopped
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
