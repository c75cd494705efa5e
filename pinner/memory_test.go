package pinner

import (
	"context"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/pinfold-cluster/pinfold/api"
)

// batch is how a cluster writes to its state.
type batch interface {
	Get(api.Cid) (api.Pin, bool, error)
	Put(api.Pin) error
	Delete(api.Cid) error
	Session(api.PeerID) (id, acked uint64, ok bool)
	OpenSession(p api.PeerID, id uint64)
	Outcome(p api.PeerID, seq uint64) (uint64, bool, error)
	SetOutcome(p api.PeerID, seq, index, acked uint64) error
	PutMember(api.Member) error
	RemoveMember(api.PeerID) error
	Commit(index uint64) error
}

// store is the state of a cluster.
type store interface {
	Pinset
	Applied() uint64
	begin() batch
}

// memory is a state for tests in a synctest bubble: a database's own goroutines and
// files do not go well with a clock that only moves when all wait.
type memory struct {
	mu       sync.Mutex
	index    uint64
	pins     map[api.Cid]api.Pin
	members  map[api.PeerID]bool
	sessions map[api.PeerID]*session
}

type session struct {
	id, acked uint64
	outcomes  map[uint64]uint64
}

func newMemory() *memory {
	return &memory{pins: map[api.Cid]api.Pin{}, members: map[api.PeerID]bool{}, sessions: map[api.PeerID]*session{}}
}

func (m *memory) Applied() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.index
}

func (m *memory) Get(_ context.Context, c api.Cid) (api.Pin, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.pins[c]
	if !ok {
		return p, api.NotFound.Errorf("pin is not part of the pinset")
	}
	return p, nil
}

func (m *memory) sorted(keep func(api.Pin) bool, less func(a, b api.Pin) int) iter.Seq2[api.Pin, error] {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []api.Pin
	for _, p := range m.pins {
		if keep(p) {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, less)
	return func(yield func(api.Pin, error) bool) {
		for _, p := range list {
			if !yield(p, nil) {
				return
			}
		}
	}
}

func byCid(a, b api.Pin) int { return strings.Compare(a.Cid.KeyString(), b.Cid.KeyString()) }

func past(p api.Pin, after api.Cid) bool {
	return !after.Defined() || p.Cid.KeyString() > after.KeyString()
}

func (m *memory) List(_ context.Context, after api.Cid) iter.Seq2[api.Pin, error] {
	return m.sorted(func(p api.Pin) bool { return past(p, after) }, byCid)
}

func (m *memory) Allocated(_ context.Context, id api.PeerID, after api.Cid) iter.Seq2[api.Pin, error] {
	return m.sorted(func(p api.Pin) bool { return past(p, after) && p.HeldBy(id) }, byCid)
}

func (m *memory) Expiring(context.Context) iter.Seq2[api.Pin, error] {
	return m.sorted(api.Pin.Expires, func(a, b api.Pin) int { return a.ExpireAt.Compare(b.ExpireAt) })
}

func (m *memory) Totals() (pins, bytes uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.pins {
		bytes += p.Size
	}
	return uint64(len(m.pins)), bytes
}

func (m *memory) Members() (list []api.Member, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id := range m.members {
		list = append(list, api.Member{ID: id})
	}
	return list, nil
}

func (m *memory) Session(p api.PeerID) (id, acked uint64, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return memoryBatch{m}.Session(p)
}

func (m *memory) Outcome(p api.PeerID, session, seq uint64) (uint64, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.sessions[p]; s == nil || s.id != session {
		return 0, false, nil
	}
	return memoryBatch{m}.Outcome(p, seq)
}

// begin locks the memory until Commit.
func (m *memory) begin() batch {
	m.mu.Lock()
	return memoryBatch{m}
}

type memoryBatch struct{ *memory }

func (b memoryBatch) Get(c api.Cid) (api.Pin, bool, error) {
	p, ok := b.pins[c]
	return p, ok, nil
}

func (b memoryBatch) Put(p api.Pin) error {
	p.Allocations = append([]api.PeerID{}, p.Allocations...)
	p.Leaving = slices.Clone(p.Leaving)
	b.pins[p.Cid] = p
	return nil
}

func (b memoryBatch) Delete(c api.Cid) error {
	delete(b.pins, c)
	return nil
}

func (b memoryBatch) Session(p api.PeerID) (id, acked uint64, ok bool) {
	if s := b.sessions[p]; s != nil {
		return s.id, s.acked, true
	}
	return 0, 0, false
}

func (b memoryBatch) OpenSession(p api.PeerID, id uint64) {
	b.sessions[p] = &session{id: id, outcomes: map[uint64]uint64{}}
}

func (b memoryBatch) Outcome(p api.PeerID, seq uint64) (uint64, bool, error) {
	index, ok := b.sessions[p].outcomes[seq]
	return index, ok, nil
}

func (b memoryBatch) SetOutcome(p api.PeerID, seq, index, acked uint64) error {
	s := b.sessions[p]
	s.outcomes[seq], s.acked = index, max(s.acked, acked)
	maps.DeleteFunc(s.outcomes, func(n, _ uint64) bool { return n < s.acked })
	return nil
}

func (b memoryBatch) PutMember(m api.Member) error {
	b.members[m.ID] = true
	return nil
}

func (b memoryBatch) RemoveMember(p api.PeerID) error {
	delete(b.members, p)
	delete(b.sessions, p)
	return nil
}

func (b memoryBatch) Commit(index uint64) error {
	b.index = index
	b.mu.Unlock()
	return nil
}
