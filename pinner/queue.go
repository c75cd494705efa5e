package pinner

import (
	"slices"
	"sync"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// Bounds of one call to the leader, and of what may be unanswered.
const (
	batchRequests = 256
	batchBytes    = 64 << 10
	window        = 1 << 14 // numbers in use: what the log keeps outcomes for
)

// A call is one request on its way to an answer.
type call struct {
	req  api.Request
	done chan struct{} // closed once res is there
	res  api.Result

	// guarded by queue.mu
	session uint64 // 0 until it has a number
	next    *call  // the one after this of the same CID
	turn    bool   // those before it of the same CID are over
	sent    bool   // in a call to the leader now
	maybe   bool   // an earlier try may have been carried out
	over    bool   // answered, or given up
	last    error  // why the last try failed
}

// queue holds the requests that wait to be forwarded, and numbers them.
type queue struct {
	wake chan struct{} // one waiting signal at most

	mu      sync.Mutex
	waiting []*call
	last    map[api.Cid]*call // of each CID, the last one not over
	current func() uint64     // the session that the state has of this peer, 0 none
	session uint64
	next    uint64              // the next number
	acked   uint64              // all numbers below it are answered
	open    map[uint64]struct{} // numbers from acked on that are not
}

func newQueue(current func() uint64) *queue {
	q := &queue{wake: make(chan struct{}, 1), last: map[api.Cid]*call{}, current: current}
	q.renew(0)
	return q
}

// renew opens another session, unless old is not the present one any more. Sessions
// of a peer rise, also across a restart: a late retry cannot open an ended one again.
func (q *queue) renew(old uint64) {
	if q.session != old {
		return
	}
	q.session = max(uint64(time.Now().UnixNano()), old+1, q.current()+1)
	q.next, q.acked, q.open = 1, 1, map[uint64]struct{}{}
	q.signal() // what waited for a number has one now
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// add queues r behind what waits, and behind an unanswered request of the same CID. What
// the leader could not even read is answered here: it would take all of its call with it.
func (q *queue) add(r api.Request) *call {
	c := &call{req: r, done: make(chan struct{})}
	if err := checkWords(r.Pin); err != nil {
		c.over, c.res.Fault = true, api.FaultOf(err)
		close(c.done)
		return c
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	before := q.last[r.Pin.Cid]
	q.last[r.Pin.Cid] = c
	if before != nil {
		before.next = c
		return c
	}
	q.ready(c)
	return c
}

func (q *queue) ready(c *call) {
	c.turn = true
	q.waiting = append(q.waiting, c)
	q.signal()
}

// take returns the next requests to forward in one call; none where nothing waits.
func (q *queue) take() []*call {
	q.mu.Lock()
	defer q.mu.Unlock()
	var calls []*call
	size, n := 0, 0
	for _, c := range q.waiting {
		if c.over {
			n++
			continue
		}
		size += approximateSize(c.req.Pin)
		if len(calls) == batchRequests || len(calls) > 0 && size > batchBytes || q.next-q.acked >= window {
			break
		}
		q.number(c)
		calls = append(calls, c)
		n++
	}
	q.waiting = q.waiting[n:]
	if len(q.waiting) == 0 {
		q.waiting = nil // let go of the array
	} else if q.next-q.acked < window {
		q.signal()
	}
	return calls
}

func (q *queue) number(c *call) {
	c.session, c.req.Seq = q.session, q.next
	q.open[q.next] = struct{}{}
	q.next++
}

// batch returns those of calls that are not over, as they go into a call to the
// leader now. Calls of an ended session get numbers of the present one.
func (q *queue) batch(calls []*call) (api.Batch, []*call) {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := api.Batch{Session: q.session, Requests: make([]api.Request, 0, len(calls))}
	left := make([]*call, 0, len(calls))
	for _, c := range calls {
		if c.over {
			continue
		}
		if c.session != q.session {
			q.number(c)
		}
		c.sent = true
		left, b.Requests = append(left, c), append(b.Requests, c.req)
	}
	b.Acked = q.acked
	return b, left
}

// left returns those of calls that are not over.
func (q *queue) left(calls []*call) []*call {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.DeleteFunc(calls, func(c *call) bool { return c.over })
}

// answer ends c with res, unless the caller has given it up.
func (q *queue) answer(c *call, res api.Result) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !c.over {
		c.res = res
		q.finish(c)
	}
}

// missed notes that a try of c came to nothing for the reason err. maybe tells that
// it may have been carried out all the same.
func (q *queue) missed(c *call, err error, maybe bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	c.sent, c.last, c.maybe = false, err, c.maybe || maybe
}

// ended notes that the session of c is. Where an earlier try may have been carried
// out that can no longer be found out.
func (q *queue) ended(c *call) {
	q.mu.Lock()
	defer q.mu.Unlock()
	c.sent = false
	q.renew(c.session)
	if c.maybe && !c.over {
		c.res.Fault = api.FaultOf(api.Unknown.Errorf("outcome unknown: this peer's session ended meanwhile"))
		q.finish(c)
	}
}

// giveUp ends c for the reason err, where it has no answer yet.
func (q *queue) giveUp(c *call, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if c.over {
		return
	}
	why := err
	if c.last != nil {
		why = c.last
	}
	if c.sent || c.maybe {
		err = api.Unknown.Errorf("outcome unknown: no answer in time (%v): %w", err, why)
	} else if c.last != nil {
		err = api.KindOf(c.last).Errorf("%w", c.last)
	} else {
		err = api.Unavailable.Errorf("timed out waiting for leader: %w", err)
	}
	c.res.Fault = api.FaultOf(err)
	q.finish(c)
}

func (q *queue) finish(c *call) {
	c.over = true
	close(c.done)
	if c.session == q.session {
		blocked := q.next-q.acked >= window
		delete(q.open, c.req.Seq)
		for q.acked < q.next && !has(q.open, q.acked) {
			q.acked++
		}
		if blocked {
			q.signal()
		}
	}
	if c.turn {
		q.pass(c)
	}
}

// pass gives the turn to the next one of c's CID that is still wanted.
func (q *queue) pass(c *call) {
	for n := c.next; n != nil; n = n.next {
		if !n.over {
			q.ready(n)
			return
		}
	}
	delete(q.last, c.req.Pin.Cid)
}

func has(m map[uint64]struct{}, k uint64) bool { _, ok := m[k]; return ok }

// approximateSize is close to the bytes of p's record.
func approximateSize(p api.Pin) int {
	n := 128 + len(p.Name) + p.Cid.ByteLen() + p.Reference.ByteLen() + p.PinUpdate.ByteLen() +
		44*(len(p.Allocations)+len(p.Leaving)+len(p.UserAllocations)+len(p.Followers))
	for _, o := range p.Origins {
		n += len(o.Bytes()) + 8
	}
	for k, v := range p.Metadata {
		n += len(k) + len(v) + 8
	}
	for _, r := range p.Requests {
		n += 64 + approximateSize(api.Pin{PinOptions: api.PinOptions{Name: r.Name, Metadata: r.Metadata, Origins: r.Origins}})
	}
	return n
}
