package pintracker

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	// newsKept is how many changes a Tracker remembers for those who follow it.
	newsKept = 4096
	// newsPage bounds the changes of one answer, so that it stays far below what a call
	// may carry.
	newsPage = 1024
	// newsWait is how long a question waits for something to tell.
	newsWait = 10 * time.Second
)

// news is what became of operations lately: a ring of the last newsKept changes.
type news struct {
	epoch uint64

	mu    sync.Mutex
	ring  []api.PinInfo // the change numbered n is at n%newsKept
	last  uint64        // number of the last change; the first is 1
	asked time.Time     // when somebody last asked
	came  chan struct{} // closed at the next change; nil while nobody waits
}

func newNews() *news {
	return &news{epoch: rand.Uint64() | 1, ring: make([]api.PinInfo, 1)} // there is no change 0
}

// tell appends a change. It does not block.
func (n *news) tell(i api.PinInfo) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last++
	if len(n.ring) < newsKept {
		n.ring = append(n.ring, i)
	} else {
		n.ring[n.last%newsKept] = i
	}
	if n.came != nil {
		close(n.came)
		n.came = nil
	}
}

// followed tells whether somebody asked lately.
func (n *news) followed() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return time.Since(n.asked) < 2*newsWait
}

// page answers q with what there is; where that is nothing, with a channel that is
// closed once there is something.
func (n *news) page(q api.NewsQuery) (p api.NewsPage, came <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = time.Now()
	p = api.NewsPage{Epoch: n.epoch, Last: n.last}
	if q.Epoch != n.epoch || q.After > n.last {
		p.Lost = true
		return p, nil
	}
	if q.After == n.last {
		if n.came == nil {
			n.came = make(chan struct{})
		}
		return p, n.came
	}
	if n.last-q.After > newsKept {
		p.Lost, q.After = true, n.last-newsKept
	}
	p.Last = min(n.last, q.After+newsPage)
	for i := q.After + 1; i <= p.Last; i++ {
		p.Items = append(p.Items, n.ring[i%newsKept])
	}
	return p, nil
}

// News tells what became of operations on this peer since the last answer. Where that
// is nothing it waits for something, ten seconds at most. A first question is answered
// at once. While nobody asks, progress is not remembered, only beginnings and ends.
func (t *Tracker) News(ctx context.Context, q api.NewsQuery) (api.NewsPage, error) {
	limit := time.NewTimer(newsWait)
	defer limit.Stop()
	for {
		p, came := t.news.page(q)
		if came == nil {
			return p, nil
		}
		select {
		case <-came:
		case <-limit.C:
			return p, nil
		case <-ctx.Done():
			return p, ctx.Err()
		}
	}
}

// tellOf tells followers how o stands. Under mu.
func (t *Tracker) tellOf(o *op) {
	t.news.tell(api.PinInfo{Cid: o.cid, Peer: t.self.ID, PinInfoShort: t.opInfo(api.Pin{Cid: o.cid}, o.glimpse()).PinInfoShort})
}

// tellEnd tells followers that an operation has ended with the pin in status s.
func (t *Tracker) tellEnd(c api.Cid, s api.TrackerStatus) {
	t.news.tell(api.PinInfo{Cid: c, Peer: t.self.ID, PinInfoShort: api.PinInfoShort{Status: s, Timestamp: time.Now()}})
}
