package main

import (
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/pinfold-cluster/pinfold/api"
)

func newGraph(c *ctl) *cobra.Command {
	var file string
	var everyNode bool
	cmd := &cobra.Command{Use: "graph", Short: "Draw who is connected with whom, for Graphviz's dot", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			g, err := cl.Graph(cmd.Context())
			if err != nil {
				return err
			}
			drawing := dot(g, everyNode)
			if file == "" {
				_, err = fmt.Fprint(c.out, drawing)
				return err
			}
			if err := os.WriteFile(file, []byte(drawing), 0o644); err != nil {
				return fmt.Errorf("writing the graph: %w", err)
			}
			return nil
		}}
	cmd.Flags().StringVarP(&file, "file", "f", "", "write to `FILE`")
	cmd.Flags().BoolVar(&everyNode, "all-ipfs-peers", false, "draw the IPFS nodes outside the cluster too that its nodes are connected with")
	return cmd
}

func newBandwidth(c *ctl) *cobra.Command {
	return &cobra.Command{Use: "bandwidth", Short: "Tell what the answering peer's protocols have carried", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			carried, err := cl.Bandwidth(cmd.Context())
			if err != nil {
				return err
			}
			return c.show(func(p *printer) error {
				if p.enc == encJSON {
					return p.json(carried)
				}
				for _, proto := range slices.Sorted(maps.Keys(carried)) {
					if err := p.bandwidth(proto, carried[proto]); err != nil {
						return err
					}
				}
				return nil
			})
		}}
}

func (p *printer) bandwidth(proto string, b api.Bandwidth) error {
	in, out := humanize.Bytes(uint64(max(0, b.TotalIn))), humanize.Bytes(uint64(max(0, b.TotalOut)))
	rateIn, rateOut := fmt.Sprintf("%.2fB/s", b.RateIn), fmt.Sprintf("%.2fB/s", b.RateOut)
	if p.enc == encTable {
		return p.row("PROTOCOL\tIN\tOUT\tRATE IN\tRATE OUT", proto, in, out, rateIn, rateOut)
	}
	_, err := fmt.Fprintf(p.w, "%25s: In: %7s. Out: %7s. RateIn: %s. RateOut: %s\n", printable(proto), in, out, rateIn, rateOut)
	return err
}
