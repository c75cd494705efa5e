package pinner

import (
	"context"
	"errors"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	// commitLimit ends the wait for a commit, and with it the lock of its CIDs. It does
	// not end with the caller: a retry must find the first try decided.
	commitLimit = 30 * time.Second
	// staleLimit is how often a change is decided again because its record moved on.
	staleLimit = 16
)

// A change is one record's, from a request or by this leader's own will.
type change struct {
	cid api.Cid
	by  api.Op // Peer, Session, Seq and Acked of the request, if it comes from one
	// decide says what becomes of the record, which is the zero Pin where there is none.
	decide func(ctx context.Context, old api.Pin, v *view) (verdict, error)

	res     api.Result
	verdict verdict
	stale   int
}

// A verdict is a decision: the record to put, or to delete as it was.
type verdict struct {
	pin    api.Pin
	delete bool
	old    api.Pin      // the record it was decided on
	had    []api.PeerID // peers that have the bytes already
}

// unchanged is the decision that nothing is to be done.
const unchanged api.Kind = "unchanged"

// Serve decides and commits what peer from forwards, as the leader. Each request has
// its own result, in order, whatever becomes of the others. The error is Invalid for
// a batch that no Pinner sends.
func (p *Pinner) Serve(ctx context.Context, from api.PeerID, b api.Batch) (api.Committed, error) {
	if b.Session == 0 || len(b.Requests) > batchRequests {
		return api.Committed{}, api.Invalid.Errorf("a batch has a session and at most %d requests", batchRequests)
	}
	changes := make([]*change, len(b.Requests))
	for i, r := range b.Requests {
		if r.Seq == 0 {
			return api.Committed{}, api.Invalid.Errorf("request %d has no number", i)
		}
		changes[i] = p.asked(r, api.Op{Peer: from, Session: b.Session, Seq: r.Seq, Acked: b.Acked})
	}
	err := p.openSession(ctx, from, b.Session)
	if err == nil {
		p.settle(ctx, changes)
	}
	answer := api.Committed{Results: make([]api.Result, len(changes))}
	for i, c := range changes {
		if err != nil {
			c.res = api.Result{Fault: api.FaultOf(err)}
		}
		answer.Results[i] = c.res
	}
	return answer, nil
}

func (p *Pinner) asked(r api.Request, by api.Op) *change {
	c := &change{cid: r.Pin.Cid, by: by}
	switch r.Type {
	case api.RequestPin:
		c.decide = func(ctx context.Context, old api.Pin, v *view) (verdict, error) {
			return p.decidePin(ctx, r.Pin, old, r.Drop, v)
		}
	case api.RequestUnpin:
		c.decide = func(_ context.Context, old api.Pin, _ *view) (verdict, error) {
			if r.Drop != nil {
				return dropRequest(old, *r.Drop)
			}
			return decideUnpin(old)
		}
	default:
		c.decide = func(context.Context, api.Pin, *view) (verdict, error) {
			return verdict{}, api.Invalid.Errorf("unknown request type %d", r.Type)
		}
	}
	return c
}

// openSession makes id the session of peer in the state. The error is sessionEnded
// where a later one is open already, else retry or Unknown.
func (p *Pinner) openSession(ctx context.Context, peer api.PeerID, id uint64) error {
	if _, err := p.cons.Ready(ctx); err != nil {
		return retry.Errorf("%w", err)
	}
	key := "session of " + string(peer)
	for {
		if done, err := p.sessionOpen(peer, id); done || err != nil {
			return err
		}
		busy := p.locks.try(key)
		if busy == nil {
			break
		}
		if !waitFor(ctx, busy) {
			return retry.Errorf("session of peer %s: %w", peer, ctx.Err())
		}
	}
	defer p.locks.release(key)
	if done, err := p.sessionOpen(peer, id); done || err != nil {
		return err
	}
	out, err := p.commit(ctx, []api.Op{{Type: api.OpSession, Peer: peer, Session: id}})
	if err != nil {
		return err
	}
	if s := out[0].Status; s != api.OpApplied && s != api.OpRepeated {
		return sessionEnded.Errorf("peer %s may not open session %d", peer, id)
	}
	return nil
}

func (p *Pinner) sessionOpen(peer api.PeerID, id uint64) (bool, error) {
	now, _, open := p.pins.Session(peer)
	if open && now > id {
		return false, sessionEnded.Errorf("peer %s has opened another session", peer)
	}
	return open && now == id, nil
}

// settle decides and commits changes, each under the lock of its CID, and fills in
// their results. Changes of one CID are made in the order given.
func (p *Pinner) settle(ctx context.Context, changes []*change) {
	if _, err := p.cons.Ready(ctx); err != nil {
		fail(changes, retry.Errorf("%w", err))
		return
	}
	v, err := p.look(time.Now())
	if err != nil {
		fail(changes, err)
		return
	}
	for len(changes) > 0 {
		mine, others, busy := p.lock(changes)
		if len(mine) == 0 {
			if !waitFor(ctx, busy) {
				fail(others, retry.Errorf("waiting for another change: %w", ctx.Err()))
				return
			}
			changes = others
			continue
		}
		stale, err := p.round(ctx, mine, v)
		for _, c := range mine {
			p.locks.release(c.cid.KeyString())
		}
		if err != nil {
			fail(others, retry.Errorf("%w", err))
			return
		}
		changes = append(stale, others...)
	}
}

// lock takes what can be locked now, in order, and holds nothing while it waits.
func (p *Pinner) lock(changes []*change) (mine, others []*change, busy <-chan struct{}) {
	for _, c := range changes {
		behind := false // an earlier change of the same CID did not get the lock
		for _, o := range others {
			behind = behind || o.cid == c.cid
		}
		if !behind {
			ch := p.locks.try(c.cid.KeyString())
			if ch == nil {
				mine = append(mine, c)
				continue
			}
			busy = ch
		}
		others = append(others, c)
	}
	return mine, others, busy
}

// round decides and commits locked changes. It returns those whose record has moved
// on, to be decided again. The error says that this peer may lead no longer.
func (p *Pinner) round(ctx context.Context, mine []*change, v *view) (stale []*change, err error) {
	var ops []api.Op
	var sent, refused []*change
	for _, c := range mine {
		op, err := p.decide(ctx, c, v)
		if err != nil {
			c.res.Fault = api.FaultOf(err)
			if !errors.Is(err, unchanged) {
				refused = append(refused, c)
			}
			continue
		}
		ops, sent = append(ops, op), append(sent, c)
	}
	if err := p.refuse(ctx, refused); err != nil {
		fail(sent, retry.Errorf("%w", err))
		return nil, err
	}
	if len(ops) == 0 {
		return nil, nil
	}
	out, err := p.commit(ctx, ops)
	if err != nil {
		fail(sent, err)
		return nil, err
	}
	for i, c := range sent {
		if !p.outcome(ctx, c, out[i]) {
			stale = append(stale, c)
		}
	}
	return stale, nil
}

func (p *Pinner) decide(ctx context.Context, c *change, v *view) (api.Op, error) {
	if !c.cid.Defined() {
		return api.Op{}, api.Invalid.Errorf("a CID is required")
	}
	old, err := p.pins.Get(ctx, c.cid)
	if err != nil && !errors.Is(err, api.NotFound) {
		return api.Op{}, err
	}
	c.verdict, err = c.decide(ctx, old, v)
	c.verdict.old = old
	if err != nil {
		return api.Op{}, err
	}
	op := c.by
	op.Revision = old.Revision
	if c.verdict.delete {
		op.Type, op.Cid = api.OpUnpin, c.cid
	} else {
		op.Type, op.Pin = api.OpPin, &c.verdict.pin
	}
	return op, nil
}

// outcome fills in the result of c. It returns false where c is to be decided again.
func (p *Pinner) outcome(ctx context.Context, c *change, o api.Outcome) bool {
	switch o.Status {
	case api.OpApplied:
		if !c.verdict.delete {
			c.verdict.pin.Revision = o.Index
			p.promises.kept(c.verdict, o.Index, p.meanSize)
		}
		c.res = api.Result{Pin: c.verdict.pin, Index: o.Index}
	case api.OpRepeated:
		c.res = p.repeated(ctx, c, o.Index)
	case api.OpStale:
		if c.stale++; c.stale < staleLimit {
			return false
		}
		c.res.Fault = api.FaultOf(api.Unavailable.Errorf("the record of %s keeps changing", c.cid))
	case api.OpNoSession:
		c.res.Fault = api.FaultOf(sessionEnded.Errorf("the session of peer %s has ended", c.by.Peer))
	case api.OpAnswered:
		c.res.Fault = api.FaultOf(api.Conflict.Errorf("request %d has been answered before", c.by.Seq))
	default:
		c.res.Fault = api.FaultOf(api.Internal.Errorf("change of %s: outcome %d", c.cid, o.Status))
	}
	return true
}

// refuse lets refusals stand only where they are those of the leader, and of requests
// that have not been carried out before.
func (p *Pinner) refuse(ctx context.Context, refused []*change) error {
	verify := false
	for _, c := range refused {
		if c.by.Session != 0 {
			index, done, err := p.pins.Outcome(c.by.Peer, c.by.Session, c.by.Seq)
			if err != nil {
				return err
			}
			if done {
				c.res = p.repeated(ctx, c, index)
				continue
			}
		}
		verify = verify || c.res.Fault.Kind == api.NotFound || c.res.Fault.Kind == api.Conflict
	}
	if !verify {
		return nil
	}
	// A peer that was deposed without knowing may refuse what is right by now.
	if _, err := p.cons.ReadIndex(ctx); err != nil {
		fail(refused, retry.Errorf("%w", err))
		return err
	}
	return nil
}

// repeated answers a request that was carried out at index before. Of an unpin the
// record is gone, so only its CID is told.
func (p *Pinner) repeated(ctx context.Context, c *change, index uint64) api.Result {
	pin, err := p.pins.Get(ctx, c.cid)
	if errors.Is(err, api.NotFound) {
		pin, err = api.Pin{Cid: c.cid}, nil
	}
	if err != nil {
		return api.Result{Fault: api.FaultOf(retry.Errorf("%w", err))}
	}
	return api.Result{Pin: pin, Index: index}
}

// commit puts ops into the log. The error is retry where nothing
// happened, Internal where the log takes no such op, else Unknown.
func (p *Pinner) commit(ctx context.Context, ops []api.Op) ([]api.Outcome, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitLimit)
	defer cancel()
	out, err := p.cons.Commit(ctx, ops)
	switch {
	case err == nil && len(out) != len(ops):
		return nil, api.Unknown.Errorf("%d changes have %d outcomes", len(ops), len(out))
	case err == nil:
		return out, nil
	case nothingHappened(err):
		return nil, retry.Errorf("%w", err)
	case errors.Is(err, api.Invalid), errors.Is(err, api.TooLarge):
		return nil, api.Internal.Errorf("a change that was checked is refused: %w", err)
	default:
		return nil, api.Unknown.Errorf("commit: %w", err)
	}
}

func fail(changes []*change, err error) {
	for _, c := range changes {
		c.res.Fault = api.FaultOf(err)
	}
}

// waitFor waits for ch to close. It returns false where ctx ended before.
func waitFor(ctx context.Context, ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	case <-ctx.Done():
		return false
	}
}
