package pinsvc

import (
	"context"
	"slices"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
)

const (
	// unfinished are the statuses of pins about which a peer has something to do. Peers
	// tell these from memory; what they do not tell of is there.
	unfinished = api.StatusPinQueued | api.StatusPinning | api.StatusPinError
	// largeBusy is from how many of them on what was heard serves several lists, for at
	// most busyAge.
	largeBusy = 10_000
	busyAge   = 2 * time.Second
	// listAskTime bounds what one list asks peers about single pins.
	listAskTime = 5 * time.Second
)

// standing is one peer's report about one pin, in little memory.
type standing struct {
	peer      api.PeerID
	status    api.TrackerStatus
	attempts  int32
	permanent bool
}

// busy is what all peers have to do.
type busy map[api.Cid][]standing

// busyCache keeps the last one.
type busyCache struct {
	lock chan struct{} // of one place, so that waiting for it ends with a context
	at   time.Time
	last busy
}

// unfinished asks all peers what they have to do.
func (h *handler) unfinished(ctx context.Context) (busy, error) {
	c := &h.busy
	select {
	case c.lock <- struct{}{}:
		defer func() { <-c.lock }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if len(c.last) >= largeBusy && time.Since(c.at) < busyAge {
		return c.last, nil
	}
	start := time.Now()
	ids := map[string]api.PeerID{}
	all := busy{}
	for info, err := range h.Tracker.List(ctx, unfinished) {
		if err != nil {
			return nil, err
		}
		for name, s := range info.PeerMap {
			if !s.Status.Match(unfinished) {
				continue
			}
			id, ok := ids[name]
			if !ok {
				if id, err = api.ParsePeerID(name); err != nil {
					return nil, err
				}
				ids[name] = id
			}
			all[info.Cid] = append(all[info.Cid], standing{peer: id, status: s.Status, attempts: int32(min(s.AttemptCount, 1<<30)),
				permanent: slices.Contains(permanent, s.Cause)})
		}
	}
	c.at, c.last = start, nil
	if len(all) >= largeBusy {
		c.last = all
	}
	return all, nil
}

// survey is what one list knows of all pins' progress.
type survey struct {
	h     *handler
	busy  busy
	peers map[api.PeerID]api.PeerHealth
	until time.Time // peers are asked about single pins
}

func (h *handler) survey(ctx context.Context) (*survey, error) {
	s := &survey{h: h, peers: map[api.PeerID]api.PeerHealth{}, until: time.Now().Add(listAskTime)}
	for _, p := range h.Peers.Health() {
		s.peers[p.ID] = p
	}
	var err error
	s.busy, err = h.unfinished(ctx)
	return s, err
}

// progress tells how far p is. A pin that a holder may not have heard of yet is asked
// about.
func (s *survey) progress(ctx context.Context, p api.Pin) progress {
	known := s.busy[p.Cid]
	var reports []report
	recent := false
	holders := slices.Concat(p.Allocations, p.Leaving)
	if p.Everywhere() {
		holders = nil
		for id, peer := range s.peers {
			if peer.Alive {
				holders = append(holders, id)
			}
		}
	}
	for _, id := range holders {
		r := report{status: api.StatusPinned}
		if i := slices.IndexFunc(known, func(k standing) bool { return k.peer == id }); i >= 0 {
			r.status, r.attempts = known[i].status, int(known[i].attempts)
			if known[i].permanent {
				r.cause = permanent[0]
			}
		} else if peer := s.peers[id]; peer.Alive && peer.Index < p.Revision {
			recent = true
		}
		reports = append(reports, r)
	}
	if recent || len(reports) == 0 {
		if time.Now().After(s.until) {
			return progress{status: queued, size: p.Size}
		}
		return s.h.now(ctx, p)
	}
	out := judge(p, reports)
	out.details = ""
	return out
}

// detailed is progress, with what its failures are.
func (s *survey) detailed(ctx context.Context, p api.Pin, was progress) progress {
	if _, there := s.busy[p.Cid]; !there || was.status == pinned || time.Now().After(s.until) {
		return was
	}
	if is := s.h.now(ctx, p); is.status == was.status {
		return is
	}
	return was
}
