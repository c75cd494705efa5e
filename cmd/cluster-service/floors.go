package main

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"
)

// runFloors runs all functions; once ctx ends or one of them does, it stops the floors
// from the last to the first, each when the one above has ended. It returns the first
// error.
func runFloors(ctx context.Context, floors [][]func(context.Context) error) error {
	if len(floors) == 0 {
		<-ctx.Done()
		return nil
	}
	// The lower floor runs on while the upper ones stop.
	below, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g, floor := errgroup.WithContext(below)
	for _, f := range floors[0] {
		g.Go(func() error {
			err := f(floor)
			if err == nil && floor.Err() == nil {
				err = errors.New("a part of the peer ended by itself")
			}
			return err
		})
	}
	above, stopAbove := context.WithCancel(ctx)
	defer stopAbove()
	defer context.AfterFunc(floor, stopAbove)()
	err := runFloors(above, floors[1:])
	stop()
	if own := g.Wait(); own != nil && !errors.Is(own, context.Canceled) {
		return own
	}
	return err
}
