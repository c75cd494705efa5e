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

const (
	// resumeFor is how long a stream that broke off is asked for again, each resumePause:
	// longer than a peer takes to start anew.
	resumeFor   = time.Minute
	resumePause = 300 * time.Millisecond
	// settled is how long a stream lasts at least that came about at all.
	settled = 5 * time.Second
)

func newEvents(c *ctl) *cobra.Command {
	var types []string
	var after uint64
	cmd := &cobra.Command{Use: "events", Short: "Tell what happens, until interrupted", Args: cobra.NoArgs,
		Long: "Tell what happens, until interrupted. A stream that breaks off is taken up again where it was.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			names := c.names(ctx)
			var until time.Time // of asking again
			for {
				began := time.Now()
				last, err := c.listen(ctx, after, types, names)
				if last != after || time.Since(began) > settled {
					until = time.Now().Add(resumeFor)
				}
				if ctx.Err() != nil || !broken(err) || !time.Now().Before(until) {
					return err
				}
				if last != after {
					c.warn(fmt.Sprintf("%s; going on from event %d", err, last))
				}
				after = last
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(resumePause):
				}
			}
		}}
	cmd.Flags().StringSliceVar(&types, "types", nil, "types of events, with commas: "+strings.Join(api.EventTypes, ", "))
	cmd.Flags().Uint64Var(&after, "after", 0, "go on from the event with this `INDEX`")
	return cmd
}

// listen prints events until the stream ends, and gives the index of the last one.
func (c *ctl) listen(ctx context.Context, after uint64, types []string, names map[string]string) (last uint64, err error) {
	cl, err := c.client()
	if err != nil {
		return after, err
	}
	for e, err := range cl.Events(ctx, after, types...) {
		if err != nil {
			return after, err
		}
		if c.enc() == encJSON {
			err = newPrinter(c.out, encJSON).json(e)
		} else {
			_, err = fmt.Fprintln(c.out, eventText(e, names))
		}
		if err != nil {
			return after, unprinted{err}
		}
		after = e.Index
	}
	return after, nil
}

// unprinted is an error of where the output goes.
type unprinted struct{ error }

// broken tells whether a stream may be taken up again after err: neither was it refused
// nor was the time up, nor is there nobody to read what it tells.
func broken(err error) bool {
	return err != nil && !errors.As(err, new(*api.Error)) && !errors.As(err, new(unprinted)) && !errors.Is(err, context.DeadlineExceeded)
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
