package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pinfold-cluster/pinfold/api"
)

func newEvents(c *ctl) *cobra.Command {
	var types []string
	var after uint64
	cmd := &cobra.Command{Use: "events", Short: "Tell what happens, until interrupted", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			names := c.names(cmd.Context())
			for e, err := range cl.Events(cmd.Context(), after, types...) {
				if err != nil {
					return err
				}
				if c.enc() == encJSON {
					err = newPrinter(c.out, encJSON).json(e)
				} else {
					_, err = fmt.Fprintln(c.out, eventText(e, names))
				}
				if err != nil {
					return err
				}
			}
			return nil
		}}
	cmd.Flags().StringSliceVar(&types, "types", nil, "types of events, with commas: "+strings.Join(api.EventTypes, ", "))
	cmd.Flags().Uint64Var(&after, "after", 0, "go on from the event with this `INDEX`")
	return cmd
}

// eventText is one line of an event: time, index, type, and what there is to tell.
func eventText(e api.Event, names map[string]string) string {
	parts := []string{e.Time.Local().Format("15:04:05.000"), fmt.Sprint(e.Index), e.Type}
	if e.Cid.Defined() {
		parts = append(parts, e.Cid.String())
	}
	if e.Name != "" {
		parts = append(parts, printable(e.Name))
	}
	if e.Peer != "" {
		parts = append(parts, "on "+nameOf(e.Peer.String(), names))
	}
	if e.Bytes > 0 {
		parts = append(parts, fmt.Sprintf("%d bytes", e.Bytes))
	}
	if e.Error != "" {
		parts = append(parts, printable(e.Error))
	}
	return strings.Join(parts, "  ")
}
