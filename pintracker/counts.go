package pintracker

import "github.com/pinfold-cluster/pinfold/api"

// Counts tells how many operations on this peer are in each status. What is pinned and
// needs nothing is not among them.
func (t *Tracker) Counts() map[api.TrackerStatus]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := &t.ops
	queued, running := s.ready.Len()+s.found.Len(), s.finding+len(s.fetching)
	unpins := s.byCid.Len() - s.pins
	return map[api.TrackerStatus]int{
		api.StatusPinQueued:   queued + t.backlog.count.queued,
		api.StatusPinning:     running,
		api.StatusPinError:    max(0, s.pins-queued-running) + t.backlog.count.failed,
		api.StatusUnpinQueued: s.unpins.Len(),
		api.StatusUnpinning:   s.unpinning,
		api.StatusUnpinError:  max(0, unpins-s.unpins.Len()-s.unpinning),
	}
}
