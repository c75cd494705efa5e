package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/client"
)

const (
	// waitStep is how long a server is asked to wait at a time: what it tells then is
	// shown, and a failure ends the wait.
	waitStep = time.Second
	// waitPeriod is the time between two looks at a status where a server cannot wait.
	waitPeriod = 250 * time.Millisecond
)

// await returns once limit peers (0: all) report target for the pin, or an error once
// one of them failed. A timeout below a second is none. On a terminal it shows how far
// the peers are.
func (c *ctl) await(ctx context.Context, pin api.Pin, target api.TrackerStatus, limit int, timeout time.Duration) (api.GlobalPinInfo, error) {
	cl, err := c.client()
	if err != nil {
		return api.GlobalPinInfo{}, err
	}
	if timeout >= time.Second {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	var late error = tooLate{what: fmt.Sprintf("waiting for %s to be %s: not", pin.Cid, target), limit: timeout, flag: "--wait-timeout"}
	b := newBar(c.errw, 0, bytesOf, c.enc() != encJSON)
	defer b.clear()
	began := time.Now()
	for {
		asked := time.Now()
		info, err := look(ctx, cl, pin.Cid, target)
		var pause time.Duration
		if time.Since(asked) < waitPeriod {
			pause = waitPeriod
		}
		if err == nil {
			done, err := reached(info, target, limit)
			if done || err != nil {
				return info, err
			}
			b.note(waitText(info, target, pin.Size, time.Since(began)))
		} else if ctx.Err() == nil {
			return info, err
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return info, late
			}
			return info, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// look asks for the status, and has the server wait a little for a pin.
func look(ctx context.Context, cl *client.Client, id api.Cid, target api.TrackerStatus) (api.GlobalPinInfo, error) {
	if target != api.StatusPinned {
		return cl.Status(ctx, id, false)
	}
	info, err := cl.AwaitPinned(ctx, id, waitStep)
	var refused *api.Error
	if errors.As(err, &refused) && refused.Code == http.StatusServiceUnavailable { // too many wait already
		return cl.Status(ctx, id, false)
	}
	return info, err
}

// waitText is a line of how far the peers are that shall have the pin, or let go of it.
// size is that of the pin in bytes, 0 where it is not known.
func waitText(info api.GlobalPinInfo, target api.TrackerStatus, size uint64, waited time.Duration) string {
	var there, of int
	var arrived, rate uint64
	for _, p := range info.PeerMap {
		if target == api.StatusPinned && p.Status == api.StatusRemote {
			continue
		}
		of++
		if p.Status == target {
			there++
			continue
		}
		arrived += p.Bytes
		rate += p.Rate
	}
	parts := []string{fmt.Sprintf("%d of %d peers %s", there, of, target)}
	if target == api.StatusPinned && arrived > 0 {
		total := size * uint64(of-there) // on those that do not have it yet
		amount := bytesOf(arrived)
		if total > arrived {
			amount += " of " + bytesOf(total)
		}
		parts = append(parts, amount, bytesOf(rate)+"/s")
		if total > arrived && rate > 0 {
			parts = append(parts, (time.Duration((total-arrived)/rate)*time.Second).String()+" left")
		}
	}
	return strings.Join(append(parts, waited.Round(time.Second).String()), "  ")
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
