package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/client"
)

// waitPeriod is the time between two looks at a status.
const waitPeriod = 250 * time.Millisecond

func newStatus(c *ctl) *cobra.Command {
	var local bool
	var filter string
	cmd := &cobra.Command{Use: "status [CID...]", Short: "Show who has what, and why not where not", RunE: func(cmd *cobra.Command, args []string) error {
		f, err := api.ParseStatusFilter(filter)
		if err != nil {
			return fmt.Errorf("reading --filter: %w", err)
		}
		cids, err := parseCids(args)
		if err != nil {
			return err
		}
		cl, err := c.client()
		if err != nil {
			return err
		}
		if len(cids) == 1 {
			info, err := cl.Status(cmd.Context(), cids[0], local)
			if err != nil {
				return err
			}
			return c.show(func(p *printer) error { return p.status(info) })
		}
		return c.showStatuses(cl.Statuses(cmd.Context(), client.StatusList{Filter: f, Cids: cids, Local: local}))
	}}
	cmd.Flags().BoolVar(&local, "local", false, "ask only the peer that answers")
	cmd.Flags().StringVar(&filter, "filter", "", "statuses to show, with commas: pinned, pinning, queued, error, ...")
	return cmd
}

func newRecover(c *ctl) *cobra.Command {
	var local bool
	cmd := &cobra.Command{Use: "recover [CID]", Short: "Try failed pins again at once", Args: cobra.MaximumNArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		cids, err := parseCids(args)
		if err != nil {
			return err
		}
		cl, err := c.client()
		if err != nil {
			return err
		}
		if len(cids) == 0 {
			return c.showStatuses(cl.RecoverAll(cmd.Context(), local))
		}
		info, err := cl.Recover(cmd.Context(), cids[0], local)
		if err != nil {
			return err
		}
		return c.show(func(p *printer) error { return p.status(info) })
	}}
	cmd.Flags().BoolVar(&local, "local", false, "only on the peer that answers")
	return cmd
}

func (c *ctl) showStatuses(all iter.Seq2[api.GlobalPinInfo, error]) error {
	return c.show(func(p *printer) error {
		for info, err := range all {
			if err != nil {
				return err
			}
			if err := p.status(info); err != nil {
				return err
			}
		}
		return nil
	})
}

func parseCids(args []string) ([]api.Cid, error) {
	cids := make([]api.Cid, 0, len(args))
	for _, a := range args {
		id, err := api.ParseCid(a)
		if err != nil {
			return nil, fmt.Errorf("%w: %q", err, a)
		}
		cids = append(cids, id)
	}
	return cids, nil
}

// waitStatus returns once limit peers (0: all) report target for the CID, or an error
// once one of them failed. A timeout below a second is none.
func waitStatus(ctx context.Context, cl *client.Client, id api.Cid, target api.TrackerStatus, limit int, timeout time.Duration) (api.GlobalPinInfo, error) {
	if timeout >= time.Second {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	var late error = tooLate{what: fmt.Sprintf("waiting for %s to be %s: not", id, target), limit: timeout, flag: "--wait-timeout"}
	for {
		info, err := cl.Status(ctx, id, false)
		if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return info, late
		}
		if err != nil {
			return info, err
		}
		done, err := reached(info, target, limit)
		if done || err != nil {
			return info, err
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return info, late
			}
			return info, ctx.Err()
		case <-time.After(waitPeriod):
		}
	}
}

// reached tells whether enough peers have the status. Peers that need not hold the
// content do not count where it is to be pinned.
func reached(info api.GlobalPinInfo, target api.TrackerStatus, limit int) (bool, error) {
	there, of := 0, 0
	for id, p := range info.PeerMap {
		if p.Status == target {
			there++
		}
		if target == api.StatusPinned && p.Status == api.StatusRemote {
			continue
		}
		of++
		if p.Status.Match(api.StatusError) {
			return false, errors.New("waiting: on " + nameOf(id, map[string]string{id: p.PeerName}) + ": " + p.Status.String() + ": " + p.Error)
		}
	}
	if limit <= 0 || limit > of {
		limit = of
	}
	return there >= limit && there > 0, nil
}
