package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinfold-cluster/pinfold/api"
)

func newPin(c *ctl) *cobra.Command {
	return parent("pin", "Pin, unpin and list", newPinAdd(c), newPinRm(c), newPinLs(c), newPinUpdate(c))
}

// optionFlags are the flags that become pin options.
type optionFlags struct {
	replication, rmin, rmax int
	name, mode              string
	expireIn                time.Duration
	metadata                []string
	allocations, followers  []string
}

func (o *optionFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.IntVarP(&o.replication, "replication", "r", 0, "number of copies; -1 is one on every peer, 0 the cluster's default")
	o.registerRest(cmd)
	f.StringVar(&o.mode, "mode", "recursive", "recursive, or direct for the root block only")
}

// registerRest registers what add has too.
func (o *optionFlags) registerRest(cmd *cobra.Command) {
	f := cmd.Flags()
	f.IntVar(&o.rmin, "replication-min", 0, "fewest copies")
	f.IntVar(&o.rmin, "rmin", 0, "short for --replication-min")
	f.IntVar(&o.rmax, "replication-max", 0, "most copies")
	f.IntVar(&o.rmax, "rmax", 0, "short for --replication-max")
	f.StringVarP(&o.name, "name", "n", "", "a name for the pin")
	f.DurationVar(&o.expireIn, "expire-in", 0, "unpin after this time, such as 72h; 0 never")
	f.StringArrayVar(&o.metadata, "metadata", nil, "`KEY=VALUE` to keep with the pin; may be given several times")
	f.StringSliceVar(&o.allocations, "allocations", nil, "IDs of peers that shall hold it first")
	f.StringSliceVar(&o.allocations, "allocs", nil, "short for --allocations")
	f.StringSliceVar(&o.followers, "follower-allocations", nil, "IDs of followers that shall hold it too, beyond the copies on peers")
}

// options reads the flags. What is wrong with them is said before anything is sent.
func (o *optionFlags) options() (api.PinOptions, error) {
	out := api.PinOptions{ReplicationFactorMin: o.rmin, ReplicationFactorMax: o.rmax, Name: o.name}
	if o.replication != 0 {
		if o.rmin != 0 || o.rmax != 0 {
			return out, errors.New("reading --replication: it sets both --replication-min and --replication-max; give it or them")
		}
		out.ReplicationFactorMin, out.ReplicationFactorMax = o.replication, o.replication
	}
	if o.rmin > 0 && o.rmax > 0 && o.rmin > o.rmax {
		return out, fmt.Errorf("reading --replication-min: %d is more than --replication-max, %d", o.rmin, o.rmax)
	}
	if o.mode != "" {
		mode, err := api.ParsePinMode(o.mode)
		if err != nil {
			return out, fmt.Errorf("reading --mode: %w", err)
		}
		out.Mode = mode
	}
	if o.expireIn != 0 {
		if o.expireIn < time.Second {
			return out, fmt.Errorf("reading --expire-in: %s is less than a second", o.expireIn)
		}
		out.ExpireAt = time.Now().Add(o.expireIn)
	}
	var err error
	if out.Metadata, err = parsePairs("--metadata", o.metadata); err != nil {
		return out, err
	}
	for _, s := range o.allocations {
		id, err := api.ParsePeerID(strings.TrimSpace(s))
		if err != nil {
			return out, fmt.Errorf("reading --allocations: %w", err)
		}
		out.UserAllocations = append(out.UserAllocations, id)
	}
	for _, s := range o.followers {
		id, err := api.ParsePeerID(s)
		if err != nil {
			return out, fmt.Errorf("reading --follower-allocations: %w", err)
		}
		out.Followers = append(out.Followers, id)
	}
	return out, nil
}

// parsePairs reads the values of a flag that are KEY=VALUE, nil for none.
func parsePairs(flag string, pairs []string) (map[string]string, error) {
	var out map[string]string
	for _, pair := range pairs {
		k, v, ok := strings.Cut(pair, "=")
		if !ok || k == "" {
			return nil, fmt.Errorf("reading %s: %q is not KEY=VALUE", flag, pair)
		}
		if out == nil {
			out = map[string]string{}
		}
		out[k] = v
	}
	return out, nil
}

// waitFlags say what to do after a write: show the status, or wait for it.
type waitFlags struct {
	noStatus, wait bool
	limit          int
	timeout        time.Duration
}

func (w *waitFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&w.noStatus, "no-status", false, "print the pin, not its status")
	f.BoolVar(&w.noStatus, "ns", false, "short for --no-status")
	f.BoolVarP(&w.wait, "wait", "w", false, "return once it is done, or has failed on a peer")
	f.IntVar(&w.limit, "wait-limit", 0, "with --wait: done on so many peers is enough; 0 is the fewest copies for a pin, all for an unpin")
	f.IntVar(&w.limit, "wl", 0, "short for --wait-limit")
	f.DurationVar(&w.timeout, "wait-timeout", 0, "with --wait: give up after this time; 0 never")
	f.DurationVar(&w.timeout, "wt", 0, "short for --wait-timeout")
}

// check refuses what nobody can mean, and tells of what does nothing: scripts for the
// incumbent give such flags without --wait, too.
func (w *waitFlags) check(c *ctl) error {
	if w.limit < 0 {
		return fmt.Errorf("reading --wait-limit: %d is less than 0", w.limit)
	}
	if w.timeout < 0 {
		return fmt.Errorf("reading --wait-timeout: %s is less than 0", w.timeout)
	}
	if !w.wait && (w.limit > 0 || w.timeout > 0) {
		c.warn("this does not wait: --wait-limit and --wait-timeout are without effect unless --wait is given")
	}
	return nil
}

// finish shows what became of a write: the record, or the status, at once or when the
// target is reached.
func (w *waitFlags) finish(ctx context.Context, c *ctl, pin api.Pin, target api.TrackerStatus) error {
	var info api.GlobalPinInfo
	var err error
	if w.wait {
		limit := w.limit
		if limit == 0 && target == api.StatusPinned {
			limit = pin.ReplicationFactorMin
		}
		if info, err = c.await(ctx, pin, target, limit, w.timeout); err != nil {
			return err
		}
	}
	if w.noStatus {
		names := c.names(ctx)
		return c.show(func(p *printer) error { return p.pin(pin, names) })
	}
	if !w.wait {
		cl, err := c.client()
		if err != nil {
			return err
		}
		if info, err = cl.Status(ctx, pin.Cid, false); err != nil {
			return err
		}
	}
	return c.show(func(p *printer) error { return p.status(info) })
}

func newPinAdd(c *ctl) *cobra.Command {
	var o optionFlags
	var w waitFlags
	var file string
	cmd := &cobra.Command{Use: "add CID-OR-PATH", Short: "Keep copies of what a CID or path names", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts, err := o.options()
			if err != nil {
				return err
			}
			if err := w.fits(c, args, file); err != nil {
				return err
			}
			if file != "" {
				return c.bulk(cmd, file, api.BulkOp{PinOptions: opts})
			}
			return c.pinThen(cmd.Context(), args[0], opts, w)
		}}
	o.register(cmd)
	w.register(cmd)
	cmd.Flags().StringVar(&file, "file", "", "pin what the lines of `FILE` say, - for standard input: a CID, or a JSON object as POST /pins takes,\nwhich has what the flags say where it does not say it")
	return cmd
}

// fits checks the flags against what is to be changed: one pin, or what a file lists.
func (w *waitFlags) fits(c *ctl, args []string, file string) error {
	if (file == "") == (len(args) == 0) {
		return errors.New("reading the command: give either a CID or path, or --file")
	}
	if file != "" && w.wait {
		return errors.New("reading --wait: it waits for one pin, not for those of --file; 'cluster-ctl events' tells of them")
	}
	return w.check(c)
}

// pinThen pins what arg names and shows the result as w says.
func (c *ctl) pinThen(ctx context.Context, arg string, opts api.PinOptions, w waitFlags) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	var pin api.Pin
	if strings.HasPrefix(arg, "/") {
		pin, err = cl.PinPath(ctx, arg, opts)
	} else {
		var id api.Cid
		if id, err = api.ParseCid(arg); err != nil {
			return err
		}
		pin, err = cl.Pin(ctx, id, opts)
	}
	if err != nil {
		return err
	}
	return w.finish(ctx, c, pin, api.StatusPinned)
}

func newPinRm(c *ctl) *cobra.Command {
	var w waitFlags
	var file string
	cmd := &cobra.Command{Use: "rm CID-OR-PATH", Short: "Let go of a pin", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := w.fits(c, args, file); err != nil {
				return err
			}
			if file != "" {
				return c.bulk(cmd, file, api.BulkOp{Op: api.BulkUnpin})
			}
			pin, err := c.unpin(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return w.finish(cmd.Context(), c, pin, api.StatusUnpinned)
		}}
	w.register(cmd)
	cmd.Flags().StringVar(&file, "file", "", "let go of what the lines of `FILE` name, - for standard input")
	return cmd
}

func (c *ctl) unpin(ctx context.Context, arg string) (api.Pin, error) {
	cl, err := c.client()
	if err != nil {
		return api.Pin{}, err
	}
	if strings.HasPrefix(arg, "/") {
		return cl.UnpinPath(ctx, arg)
	}
	id, err := api.ParseCid(arg)
	if err != nil {
		return api.Pin{}, err
	}
	return cl.Unpin(ctx, id)
}

func newPinUpdate(c *ctl) *cobra.Command {
	var o optionFlags
	var w waitFlags
	cmd := &cobra.Command{Use: "update EXISTING-CID NEW-CID-OR-PATH", Short: "Pin something on the terms of an existing pin, which stays",
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			from, err := api.ParseCid(args[0])
			if err != nil {
				return err
			}
			opts, err := o.options()
			if err != nil {
				return err
			}
			if err := w.check(c); err != nil {
				return err
			}
			opts.PinUpdate = from
			return c.pinThen(cmd.Context(), args[1], opts, w)
		}}
	f := cmd.Flags()
	f.StringVarP(&o.name, "name", "n", "", "a name for the new pin; default: that of the existing one")
	f.DurationVar(&o.expireIn, "expire-in", 0, "unpin after this time, such as 72h; 0 is as the existing one")
	w.register(cmd)
	return cmd
}
