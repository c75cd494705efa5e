// Package events tells clients what happens in the cluster, as it happens.
//
// A Hub keeps the last events, and each client reads them at its own pace: nothing is
// kept for one, and one that falls behind what is kept is cut off. Events of the log come
// from consensus, peers that come and go from the monitor, and what becomes of pins from
// the trackers of all peers, which are asked only while somebody listens and a minute
// longer.
package events

import (
	"context"
	"sync"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	// kept is how many events are remembered.
	kept = 8192
	// maxStreams is how many clients listen at once.
	maxStreams = 256
	// linger is how long the peers are asked on after the last client has gone: it may
	// come back and go on.
	linger = time.Minute
	// chunk is how many events a client takes at once.
	chunk = 256
)

// Feed tells what becomes of pins on all peers, until stop is called. An undefined CID
// means that changes on a peer may have been missed.
type Feed interface {
	Follow(f func(api.PinInfo)) (stop func())
}

// A Hub is safe for concurrent use. Its methods that tell it of something never block.
type Hub struct {
	feed Feed

	following sync.Mutex // guards attaching to feed; taken before mu
	stop      func()     // nil while detached

	mu      sync.Mutex
	index   uint64      // of the last entry
	floor   uint64      // events at this index and later are all kept
	ring    []api.Event // event n is at n%kept
	next    uint64      // number of the next event
	came    chan struct{}
	streams int
	gone    time.Time           // when the last stream ended
	fresh   map[api.PeerID]bool // peers that have begun to tell since attaching
}

// New returns a Hub for a peer whose state has the log up to index.
func New(index uint64, feed Feed) *Hub {
	return &Hub{feed: feed, index: index, floor: index + 1, came: make(chan struct{})}
}

// Track tells that p is in the pinset now.
func (h *Hub) Track(p api.Pin) {
	e := api.Event{Index: p.Revision, Type: api.EventPin, Cid: p.Cid, Name: p.Name, Allocations: p.Allocations, Leaving: p.Leaving}
	if len(p.Leaving) > 0 {
		e.Type = api.EventRepair
	}
	h.tell(e)
}

// Untrack tells that p, the record as it was, is not in the pinset any more.
func (h *Hub) Untrack(p api.Pin) {
	h.tell(api.Event{Type: api.EventUnpin, Cid: p.Cid, Name: p.Name})
}

// Reload tells that everything may be different.
func (h *Hub) Reload() { h.lost() }

// Peer tells that a peer came or went.
func (h *Hub) Peer(id api.PeerID, alive bool) {
	e := api.Event{Type: api.EventPeerDown, Peer: id}
	if alive {
		e.Type = api.EventPeerUp
	}
	h.tell(e)
}

// lost tells all that there is a hole here.
func (h *Hub) lost() {
	h.tell(api.Event{Type: api.EventGap})
	h.mu.Lock()
	defer h.mu.Unlock()
	h.floor = h.index + 1
}

// status tells what became of a pin on a peer.
func (h *Hub) status(i api.PinInfo) {
	e := api.Event{Cid: i.Cid, Peer: i.Peer, Status: i.Status, Cause: i.Cause, Error: i.Error, Attempts: i.AttemptCount, NextTry: i.NextTry, Bytes: i.Bytes, Rate: i.Rate}
	switch {
	case !i.Cid.Defined():
		h.mu.Lock()
		first := !h.fresh[i.Peer]
		h.fresh[i.Peer] = true
		h.mu.Unlock()
		if first {
			return
		}
		e.Type = api.EventGap
	case i.Status == api.StatusPinned:
		e.Type = api.EventPinned
	case i.Status == api.StatusUnpinned:
		e.Type = api.EventUnpinned
	case i.Status == api.StatusPinning:
		e.Type = api.EventProgress
	case i.Status.Match(api.StatusPinError | api.StatusUnpinError):
		e.Type = api.EventFailed
	default:
		return
	}
	h.tell(e)
}

// tell appends e, at its index or else the last one.
func (h *Hub) tell(e api.Event) {
	e.Time = time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.index = max(h.index, e.Index)
	e.Index = h.index
	if len(h.ring) < kept {
		h.ring = append(h.ring, e)
	} else {
		h.floor = max(h.floor, h.ring[h.next%kept].Index+1)
		h.ring[h.next%kept] = e
	}
	h.next++
	close(h.came)
	h.came = make(chan struct{})
}

// A Stream is one client's place among the events.
type Stream struct {
	h   *Hub
	gap uint64 // tell of a gap up to here first
	at  uint64 // number of the next event
}

// Open begins a stream: of what comes, or, with resume, of what came after an event with
// the index after. Events at that very index are told again, as there may be others of it.
// Where not all of them are kept a gap is told first. The error is Unavailable for too
// many streams. The caller closes it.
func (h *Hub) Open(after uint64, resume bool) (*Stream, error) {
	h.attach()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.streams >= maxStreams {
		return nil, api.Unavailable.Errorf("%d clients listen to events already", maxStreams)
	}
	h.streams++
	s := &Stream{h: h, at: h.next}
	if !resume {
		return s, nil
	}
	if after < h.floor {
		s.gap = h.floor
	}
	for s.at > h.oldest() && h.ring[(s.at-1)%kept].Index >= after {
		s.at--
	}
	return s, nil
}

// oldest is the number of the first event that is kept. Under mu.
func (h *Hub) oldest() uint64 { return h.next - uint64(len(h.ring)) }

// attach has the peers tell what becomes of pins.
func (h *Hub) attach() {
	h.following.Lock()
	defer h.following.Unlock()
	if h.stop != nil {
		return
	}
	h.mu.Lock()
	h.fresh = map[api.PeerID]bool{}
	h.floor = h.index + 1
	h.mu.Unlock()
	h.stop = h.feed.Follow(h.status)
}

// Close ends the stream.
func (s *Stream) Close() {
	h := s.h
	h.mu.Lock()
	h.streams--
	h.gone = time.Now()
	last := h.streams == 0
	h.mu.Unlock()
	if last {
		time.AfterFunc(linger, h.detach)
	}
}

// detach lets the peers be, unless somebody listens or did lately.
func (h *Hub) detach() {
	h.following.Lock()
	defer h.following.Unlock()
	h.mu.Lock()
	wanted := h.streams > 0 || time.Since(h.gone) < linger
	h.mu.Unlock()
	if !wanted && h.stop != nil {
		h.stop()
		h.stop = nil
	}
}

// Next gives the events that came since, once there are any; none where ctx ends. The
// error is Unavailable for a client that has fallen too far behind.
func (s *Stream) Next(ctx context.Context) ([]api.Event, error) {
	h := s.h
	for {
		h.mu.Lock()
		came := h.came
		if s.gap > 0 {
			e := api.Event{Index: s.gap, Type: api.EventGap, Time: time.Now()}
			e.Index = min(e.Index, h.index)
			s.gap = 0
			h.mu.Unlock()
			return []api.Event{e}, nil
		}
		if s.at < h.oldest() {
			h.mu.Unlock()
			return nil, api.Unavailable.Errorf("the client is too slow: it is %d events behind", kept)
		}
		var some []api.Event
		for ; s.at < h.next && len(some) < chunk; s.at++ {
			some = append(some, h.ring[s.at%kept])
		}
		h.mu.Unlock()
		if len(some) > 0 {
			return some, nil
		}
		select {
		case <-came:
		case <-ctx.Done():
			return nil, nil
		}
	}
}
