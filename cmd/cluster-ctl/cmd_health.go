package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/client"
)

func newHealth(c *ctl) *cobra.Command {
	cmd := parent("health", "Tell whether the cluster is well", newMetrics(c), newAlerts(c), newGraph(c), newBandwidth(c))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cl, err := c.client()
		if err != nil {
			return err
		}
		if err := cl.Health(cmd.Context()); err != nil {
			return err
		}
		repair, err := cl.Repair(cmd.Context())
		if err != nil {
			return err
		}
		if c.enc() == encJSON {
			return newPrinter(c.out, encJSON).json(repair)
		}
		fmt.Fprintln(c.out, "the peer is up")
		if repair.Below > 0 {
			_, err = fmt.Fprintf(c.out, "%d pins have fewer copies than their minimum: %s\n", repair.Below, cmp.Or(repair.Cause, repair.Paused, "repair is on its way"))
		}
		return err
	}
	return cmd
}

func newMetrics(c *ctl) *cobra.Command {
	return &cobra.Command{Use: "metrics [NAME]", Short: "List the metrics, or what peers last published of one", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			if len(args) == 0 {
				names, err := cl.MetricNames(cmd.Context())
				if err != nil {
					return err
				}
				if c.enc() == encJSON {
					return newPrinter(c.out, encJSON).json(names)
				}
				for _, n := range names {
					fmt.Fprintln(c.out, n)
				}
				return nil
			}
			metrics, err := cl.Metrics(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if len(metrics) == 0 {
				return unknownMetric(cmd.Context(), cl, args[0])
			}
			if c.enc() == encJSON {
				return newPrinter(c.out, encJSON).json(metrics)
			}
			names := c.names(cmd.Context())
			return c.show(func(p *printer) error {
				for _, m := range metrics {
					if err := p.metric(m, names, time.Now()); err != nil {
						return err
					}
				}
				return nil
			})
		}}
}

// unknownMetric tells which names there are. The API answers with no metrics.
func unknownMetric(ctx context.Context, cl *client.Client, name string) error {
	names, err := cl.MetricNames(ctx)
	if err != nil {
		return err
	}
	slices.Sort(names)
	there := "the names are: " + strings.Join(names, ", ")
	if len(names) == 0 {
		there = "none has been heard of yet"
	}
	return &api.Error{Code: http.StatusNotFound, Message: fmt.Sprintf("no peer publishes a metric %q now; %s", name, there)}
}

func newAlerts(c *ctl) *cobra.Command {
	return &cobra.Command{Use: "alerts", Short: "List the peers that went silent", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			alerts, err := cl.Alerts(cmd.Context())
			if err != nil {
				return err
			}
			if c.enc() == encJSON {
				return newPrinter(c.out, encJSON).json(alerts)
			}
			names := c.names(cmd.Context())
			return c.show(func(p *printer) error {
				for _, a := range alerts {
					if err := p.alert(a, names, time.Now()); err != nil {
						return err
					}
				}
				return nil
			})
		}}
}

func newIPFS(c *ctl) *cobra.Command {
	var local bool
	gc := &cobra.Command{Use: "gc", Short: "Remove blocks that nothing keeps", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			all, err := cl.GC(cmd.Context(), local)
			if err != nil {
				return err
			}
			if c.enc() == encJSON {
				return newPrinter(c.out, encJSON).json(all)
			}
			for _, id := range slices.Sorted(maps.Keys(all.PeerMap)) {
				printGC(c, id, all.PeerMap[id])
			}
			return nil
		}}
	gc.Flags().BoolVar(&local, "local", false, "only on the peer that answers")
	return parent("ipfs", "Care for the peers' IPFS nodes", gc)
}

func printGC(c *ctl, id string, r api.RepoGC) {
	name := r.PeerName
	if name == "" {
		name = id
	}
	if r.Error != "" {
		fmt.Fprintf(c.out, "%-15s | ERROR: %s\n", printable(name), printable(r.Error))
		return
	}
	fmt.Fprintf(c.out, "%-15s\n  > CIDs:\n", printable(name))
	for _, k := range r.Keys {
		if k.Error != "" {
			fmt.Fprintf(c.out, "    - ERROR: %s\n", printable(k.Error))
			continue
		}
		fmt.Fprintf(c.out, "    - %s\n", k.Key)
	}
}
