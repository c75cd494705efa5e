package pintracker

import (
	"context"
	"errors"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// unexpected is the error text of a pin that should be there and is not.
const unexpected = "the item should be pinned but it is not"

// recoverable are the statuses that Recover does something about.
const recoverable = api.StatusPinError | api.StatusUnpinError | api.StatusUnexpectedlyUnpinned

// Status tells how far along c is on this peer. What goes wrong in finding out is in
// the answer, as StatusClusterError.
func (t *Tracker) Status(ctx context.Context, c api.Cid) api.PinInfo {
	info := t.status(ctx, c)
	info.PinInfoShort = of(t.who(), info.PinInfoShort)
	return info
}

func (t *Tracker) status(ctx context.Context, c api.Cid) api.PinInfo {
	o, busy := t.glimpse(c)
	p, err := t.pins.Get(ctx, c)
	switch {
	case errors.Is(err, api.NotFound):
		p = api.Pin{Cid: c}
		if !busy {
			return t.info(p, api.StatusUnpinned)
		}
	case err != nil:
		return t.trouble(api.Pin{Cid: c}, err)
	}
	if busy {
		return t.opInfo(p, o)
	}
	if s := t.known(p); s != api.StatusUndefined {
		return t.info(p, s)
	}
	return t.heldStatus(ctx, p)
}

// known gives the status of a pin that says itself what it is on this peer, else
// StatusUndefined.
func (t *Tracker) known(p api.Pin) api.TrackerStatus {
	switch {
	case p.Type == api.PinMeta:
		return api.StatusSharded
	case !p.HeldBy(t.self.ID):
		return api.StatusRemote
	}
	return api.StatusUndefined
}

// heldStatus asks the node about a pin that this peer is to hold.
func (t *Tracker) heldStatus(ctx context.Context, p api.Pin) api.PinInfo {
	pinned, err := t.pinnedAs(ctx, p)
	switch {
	case err != nil:
		return t.trouble(p, err)
	case pinned:
		return t.info(p, api.StatusPinned)
	}
	return t.missingInfo(p)
}

// missingInfo is for a pin that the node lacked a moment ago.
func (t *Tracker) missingInfo(p api.Pin) api.PinInfo {
	if o, busy := t.glimpse(p.Cid); busy {
		return t.opInfo(p, o)
	}
	if p.Revision > t.seen.Load() { // in the state, about to be tracked
		return t.info(p, api.StatusPinQueued)
	}
	if info, left := t.leftInfo(p); left {
		return info
	}
	info := t.info(p, api.StatusUnexpectedlyUnpinned)
	info.Error = unexpected
	return info
}

func (t *Tracker) trouble(p api.Pin, err error) api.PinInfo {
	info := t.info(p, api.StatusClusterError)
	info.Error = err.Error()
	return info
}

// info says that p is in status s on this peer. Name and node of the peer are left to
// who answers: they take longer to find than the rest, and a page needs them once.
func (t *Tracker) info(p api.Pin, s api.TrackerStatus) api.PinInfo {
	info := describe(p)
	info.Peer = t.self.ID
	info.Status = s
	if info.Timestamp = info.Created; info.Timestamp.IsZero() {
		info.Timestamp = time.Now()
	}
	return info
}

// who tells who this peer is, and nothing else.
func (t *Tracker) who() api.PinInfoShort {
	who := api.PinInfoShort{PeerName: t.self.Name}
	if t.self.IPFS != nil {
		id := t.self.IPFS()
		who.IPFS, who.IPFSAddresses = id.ID, id.Addresses
	}
	return who
}

// of is short, told of the peer who.
func of(who, short api.PinInfoShort) api.PinInfoShort {
	short.PeerName, short.IPFS, short.IPFSAddresses = who.PeerName, who.IPFS, who.IPFSAddresses
	return short
}

// describe is the part of a PinInfo that all peers have in common. Of a CID without a
// record little is known.
func describe(p api.Pin) api.PinInfo {
	if p.Type != 0 && p.Allocations == nil {
		p.Allocations = []api.PeerID{}
	}
	if p.Type != 0 && p.Origins == nil {
		p.Origins = []api.Multiaddr{}
	}
	return api.PinInfo{Cid: p.Cid, Name: p.Name, Allocations: p.Allocations, Origins: p.Origins, Created: p.Timestamp, Metadata: p.Metadata}
}

// glimpsed is what is told of an operation.
type glimpsed struct {
	cid      api.Cid
	status   api.TrackerStatus
	at, next int64
	attempts int
	fail     *failure
	bytes    uint64
	rate     uint64
}

// glimpse tells of the operation about c, if there is one.
func (t *Tracker) glimpse(c api.Cid) (glimpsed, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if o := t.ops.get(c); o != nil {
		return o.glimpse(), true
	}
	return glimpsed{}, false
}

func (o *op) glimpse() glimpsed {
	g := glimpsed{cid: o.cid, status: o.status(), at: o.at, attempts: int(o.attempts), fail: o.fail}
	if o.phase == parked {
		g.next = o.next
	}
	if o.fail != nil {
		g.bytes = o.fail.bytes
	}
	if r := o.run; r != nil {
		g.bytes, g.rate = max(g.bytes, r.bytes.Load()), r.rate
	}
	return g
}

// opInfo tells of p, about which an operation is under way.
func (t *Tracker) opInfo(p api.Pin, o glimpsed) api.PinInfo {
	info := t.info(p, o.status)
	info.Timestamp = time.Unix(0, o.at)
	info.AttemptCount, info.Bytes, info.Rate = o.attempts, o.bytes, o.rate
	if o.fail != nil {
		info.Cause = o.fail.cause
		if o.status.Match(api.StatusError) {
			info.Error = o.fail.text
		}
	}
	if o.next != 0 {
		info.NextTry = time.Unix(0, o.next)
	}
	return info
}

// Recover tries c again at once where it failed or is missing, and tells its status.
func (t *Tracker) Recover(ctx context.Context, c api.Cid) (api.PinInfo, error) {
	info := t.Status(ctx, c)
	if !info.Status.Match(recoverable) {
		return info, nil
	}
	p, held, err := t.wanted(ctx, c)
	if err != nil {
		return info, err
	}
	r, err := t.failed(c)
	if err != nil {
		return info, err
	}
	t.mu.Lock()
	if o := t.ops.get(c); o != nil {
		t.hasten(o)
	} else if held {
		switch o := t.want(c, pinOp, p.Size); {
		case o == nil:
			t.hurry()
		case r != nil:
			o.recall(*r)
			o.rank = 0
		}
	}
	t.mu.Unlock()
	return t.Status(ctx, c), nil
}

// RecoverAll does what Recover does for those of a page of statuses that need it, and
// returns these. Its filter narrows them further.
func (t *Tracker) RecoverAll(ctx context.Context, q api.StatusQuery) (api.StatusPage, error) {
	if q.Filter == api.StatusUndefined {
		q.Filter = recoverable
	}
	if q.Filter &= recoverable; q.Filter == api.StatusUndefined {
		return api.StatusPage{}, nil
	}
	page, err := t.StatusPage(ctx, q)
	if err != nil {
		return page, err
	}
	for i, item := range page.Items {
		info, err := t.Recover(ctx, item.Cid)
		if err != nil {
			return page, err
		}
		if q.Brief {
			info = brief(info)
		}
		page.Items[i] = info
	}
	return page, nil
}
