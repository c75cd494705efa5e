package main

import (
	"fmt"
	"iter"

	"github.com/spf13/cobra"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/client"
)

func newStatus(c *ctl) *cobra.Command {
	var local, followers bool
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
		if followers && len(cids) == 0 {
			return fmt.Errorf("--followers needs the CIDs to ask followers about")
		}
		if len(cids) == 1 {
			status := cl.Status
			if followers {
				status = cl.Copies
			}
			info, err := status(cmd.Context(), cids[0], local)
			if err != nil {
				return err
			}
			return c.show(func(p *printer) error { return p.status(info) })
		}
		return c.showStatuses(cl.Statuses(cmd.Context(), client.StatusList{Filter: f, Cids: cids, Local: local, Copies: followers}))
	}}
	cmd.Flags().BoolVar(&local, "local", false, "ask only the peer that answers")
	cmd.Flags().BoolVar(&followers, "followers", false, "ask connected followers for their copies, too, and show these apart; needs CIDs")
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
