package pintracker

import (
	"context"
	"sync"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

// unpin takes o's pin off the node, if after all that may have happened since it was
// queued it is still right to.
func (t *Tracker) unpin(ctx context.Context, o *op) verdict {
	t.mu.Lock()
	asked, surplus := o.asked, o.surplus
	t.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, t.o.Stall)
	defer cancel()
	if err := t.current(ctx); err != nil {
		t.log.Debug("unpins wait: the state of this peer may be old", "err", err)
		t.mu.Lock()
		t.unhold = time.Now().Add(t.o.Backoff)
		t.mu.Unlock()
		return verdict{next: later}
	}
	// Marks before the state: a mark goes only once the state has the pin.
	since, marked, err := t.marks.get(ctx, t.node, o.cid, asked)
	if err != nil {
		return failing(err)
	}
	_, held, err := t.wanted(ctx, o.cid)
	if err != nil {
		return failing(err)
	}
	if held || marked && t.protects(since, asked, surplus) {
		return verdict{next: gone}
	}
	if err := t.node.Unpin(ctx, o.cid); err != nil {
		return failing(err)
	}
	if marked {
		if err := t.node.ClearMark(ctx, o.cid); err != nil {
			return failing(err)
		}
	}
	return verdict{next: done}
}

// protects tells whether an add's mark keeps a pin from an unpin that was asked for at
// that time: the add's pin may be on its way into the state. While a pin was under way
// that the state then asked to unpin, the mark may be of its own add, so only one made
// since counts; against a surplus pin, every mark does that is not too old.
func (t *Tracker) protects(since time.Time, asked int64, surplus bool) bool {
	if surplus {
		return time.Since(since) < t.o.MarkAge
	}
	return since.UnixNano() > asked
}

// markCache holds the node's marks, so that a thousand unpins do not read them a
// thousand times.
type markCache struct {
	mu    sync.Mutex
	read  time.Time
	marks map[api.Cid]time.Time
}

// markCacheAge bounds the age of a cached reading.
const markCacheAge = time.Second

// get tells of the mark of c from a reading that is later than asked (Unix ns).
func (m *markCache) get(ctx context.Context, node Node, c api.Cid, asked int64) (since time.Time, ok bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.marks == nil || m.read.UnixNano() <= asked || time.Since(m.read) >= markCacheAge {
		read, marks := time.Now(), map[api.Cid]time.Time{}
		for mark, err := range node.Marks(ctx) {
			if err != nil {
				return since, false, err
			}
			marks[mark.Cid] = mark.Since
		}
		m.read, m.marks = read, marks
	}
	since, ok = m.marks[c]
	return since, ok, nil
}
