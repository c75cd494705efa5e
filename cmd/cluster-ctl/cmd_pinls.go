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

// listFlags choose pins of the pinset.
type listFlags struct {
	types, name, prefix, contains string
	status, peer, since, before   string
	metadata                      []string
}

func (l *listFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&l.types, "filter", "all", "types to list, with commas: pin, meta-pin, clusterdag-pin, shard-pin, all")
	f.StringVarP(&l.name, "name", "n", "", "only pins of this name")
	f.StringVar(&l.prefix, "name-prefix", "", "only pins whose name begins with `TEXT`")
	f.StringVar(&l.contains, "name-contains", "", "only pins whose name has `TEXT` in it")
	f.StringArrayVar(&l.metadata, "meta", nil, "only pins with this pair in their metadata, `KEY=VALUE`; may be repeated")
	f.StringVar(&l.peer, "peer", "", "only pins that the peer of this `ID` holds, or is to")
	f.StringVar(&l.since, "since", "", "only pins created at this `TIME` or later: 2026-01-31T12:00:00Z, 2026-01-31, or 72h ago as 72h")
	f.StringVar(&l.before, "before", "", "only pins created before this `TIME`")
	f.StringVar(&l.status, "status", "", "show the statuses of pins that have one of these on any peer, with commas: pinned, pinning, queued, error, ...")
}

// filter reads them. any tells whether one that chooses among pins was given.
func (l *listFlags) filter(now time.Time) (f api.PinFilter, any bool, err error) {
	f = api.PinFilter{Name: l.name, NamePrefix: l.prefix, NameContains: l.contains}
	if f.Metadata, err = parsePairs("--meta", l.metadata); err != nil {
		return f, false, err
	}
	if l.peer != "" {
		if f.Peer, err = api.ParsePeerID(l.peer); err != nil {
			return f, false, fmt.Errorf("reading --peer: %w", err)
		}
	}
	if f.Since, err = parseTime("--since", l.since, now); err != nil {
		return f, false, err
	}
	if f.Before, err = parseTime("--before", l.before, now); err != nil {
		return f, false, err
	}
	return f, !f.All() || l.status != "", nil
}

// parseTime reads the value of a flag: a time, a day, or how long ago it is.
func parseTime(flag, s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t, nil
	}
	if t, err := time.ParseInLocation(time.DateOnly, s, time.Local); err == nil {
		return t, nil
	}
	if ago, err := time.ParseDuration(s); err == nil && ago > 0 {
		return now.Add(-ago), nil
	}
	return time.Time{}, fmt.Errorf("reading %s: %q is no time such as 2026-01-31T12:00:00Z, no day such as 2026-01-31, and no duration such as 72h", flag, s)
}

func newPinLs(c *ctl) *cobra.Command {
	var l listFlags
	cmd := &cobra.Command{Use: "ls [CID]", Short: "List the pinset", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, chooses, err := l.filter(time.Now())
			if err != nil {
				return err
			}
			if len(args) == 1 {
				if chooses {
					return errors.New("reading the command: with a CID there is nothing left to choose by flags")
				}
				return c.showPin(cmd.Context(), args[0])
			}
			return c.showPins(cmd.Context(), f, l)
		}}
	l.register(cmd)
	return cmd
}

func (c *ctl) showPin(ctx context.Context, arg string) error {
	id, err := api.ParseCid(arg)
	if err != nil {
		return err
	}
	cl, err := c.client()
	if err != nil {
		return err
	}
	pin, err := cl.Allocation(ctx, id)
	if err != nil {
		return err
	}
	names := c.names(ctx)
	return c.show(func(p *printer) error { return p.pin(pin, names) })
}

func (c *ctl) showPins(ctx context.Context, f api.PinFilter, l listFlags) error {
	types, err := parseTypes(l.types)
	if err != nil {
		return err
	}
	if l.status != "" && len(types) > 0 {
		return errors.New("reading --filter: statuses are listed of all types; give it or --status")
	}
	status, err := api.ParseStatusFilter(l.status)
	if err != nil {
		return fmt.Errorf("reading --status: %w", err)
	}
	cl, err := c.client()
	if err != nil {
		return err
	}
	if l.status != "" {
		return c.showStatuses(cl.SelectStatuses(ctx, f, status))
	}
	names := c.names(ctx)
	return c.show(func(p *printer) error {
		for pin, err := range cl.Select(ctx, f, types...) {
			if err != nil {
				return err
			}
			if err := p.pin(pin, names); err != nil {
				return err
			}
		}
		return nil
	})
}

// parseTypes reads a list of pin types; none is all.
func parseTypes(list string) ([]api.PinType, error) {
	var types []api.PinType
	for part := range strings.SplitSeq(list, ",") {
		switch part = strings.TrimSpace(part); part {
		case "all":
			return nil, nil
		case "":
			continue
		}
		t, err := api.ParsePinType(part)
		if err != nil {
			return nil, fmt.Errorf("reading --filter: %w", err)
		}
		types = append(types, t)
	}
	return types, nil
}
