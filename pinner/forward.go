package pinner

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// What the leader's side says of one request besides an answer. Neither leaves this package.
const (
	retry        api.Kind = "to be sent again" // nothing happened; the text says why
	sessionEnded api.Kind = "session ended"    // nothing happened in this try
)

// leaderPoll is how often a call in flight looks whether it still goes to the leader.
const leaderPoll = 50 * time.Millisecond

// wait returns the answer to c, or gives it up when ctx ends.
func (p *Pinner) wait(ctx context.Context, c *call) api.Result {
	select {
	case <-c.done:
	case <-ctx.Done():
		p.queue.giveUp(c, ctx.Err())
	}
	return c.res
}

// forward carries requests to the leader, call after call, until ctx ends.
func (p *Pinner) forward(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.queue.wake:
		}
		if calls := p.queue.take(); len(calls) > 0 {
			p.carry(ctx, calls)
		}
	}
}

// carry sends calls, again and again where needed, until all are over.
func (p *Pinner) carry(ctx context.Context, calls []*call) {
	for pause := p.o.Resend; ; pause = min(2*pause, 16*p.o.Resend) {
		calls = p.send(ctx, calls)
		if len(calls) == 0 {
			return
		}
		if !sleep(ctx, pause) {
			for _, c := range calls {
				p.queue.giveUp(c, ctx.Err())
			}
			return
		}
	}
}

// send makes one call to the leader and hands out what it answers. It returns those
// that are to be sent again.
func (p *Pinner) send(ctx context.Context, calls []*call) []*call {
	leader, err := p.cons.WaitLeader(ctx)
	if err != nil {
		for _, c := range calls {
			p.queue.missed(c, err, false)
		}
		return p.queue.left(calls)
	}
	b, calls := p.queue.batch(calls)
	if len(calls) == 0 {
		return nil
	}
	answer, err := p.callLeader(ctx, leader, b)
	if err == nil && len(answer.Results) != len(calls) {
		err = api.Internal.Errorf("peer %s answered %d requests with %d results", leader, len(calls), len(answer.Results))
	}
	if err != nil {
		for _, c := range calls {
			p.queue.missed(c, err, !nothingHappened(err))
		}
		return p.queue.left(calls)
	}
	for i, c := range calls {
		res := answer.Results[i]
		switch kind := api.KindOf(res.Fault.Err()); kind {
		case retry:
			p.queue.missed(c, api.Unavailable.Errorf("%s", res.Fault.Message), false)
		case api.Unknown:
			p.queue.missed(c, res.Fault.Err(), true)
		case sessionEnded:
			p.queue.ended(c)
		default:
			p.queue.answer(c, res)
		}
	}
	return p.queue.left(calls)
}

// callLeader hands b to the pinner of leader, for as long as it is that.
func (p *Pinner) callLeader(ctx context.Context, leader api.PeerID, b api.Batch) (api.Committed, error) {
	ctx, cancel := context.WithTimeout(ctx, p.o.CallLimit)
	defer cancel()
	if leader == p.self {
		return p.Serve(ctx, p.self, b)
	}
	var watch sync.WaitGroup
	watch.Go(func() { p.whileLeader(ctx, leader); cancel() })
	defer watch.Wait()
	defer cancel()
	return p.fwd.Commit(ctx, leader, b)
}

// whileLeader returns once another peer leads, or ctx ends: a leader that is gone does
// not always say so.
func (p *Pinner) whileLeader(ctx context.Context, leader api.PeerID) {
	for sleep(ctx, leaderPoll) {
		if now, ok := p.cons.Leader(); ok && now != leader {
			return
		}
	}
}

// nothingHappened tells whether err says so; the end of a context does not.
func nothingHappened(err error) bool {
	return errors.Is(err, api.Unavailable) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

// sleep waits for d. It returns false where ctx ended before.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
